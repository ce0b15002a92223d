"""Workers behind a firewall: the link cut anywhere, the site or themselves killed, answers lost, spools damaged."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.faults.audit import audit, executed
from tests.faults.proxy import Proxy, proxied
from tests.program import Program, Started
from tests.remote import far_worker, worker_token, working
from tests.site import Mill
from tests.webserver import Web, until

from tidemill.accounts import tokens
from tidemill.db.database import Database, fetch
from tidemill.db.embedded_folder import free_port
from tidemill.errors import Conflict
from tidemill.runner import redo
from tidemill.runner.exchange import Abilities
from tidemill.runner.housekeeping import close_runs, expire
from tidemill.runner.processes import Process
from tidemill.runner.remote import RemoteExchange, RemoteLink
from tidemill.runner.remote_client import SiteClient
from tidemill.runner.spool import Spool
from tidemill.runner.worker import Worker
from tidemill.storage.documents import DocumentStore

pytestmark = pytest.mark.fault

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.runner.remote.LONGEST_PAUSE", 0.2)
    monkeypatch.setattr("tidemill.runner.outbox.TRY_AGAIN", 0.1)


@pytest.fixture
async def proxy(web: Web) -> AsyncIterator[Proxy]:
    async with proxied(f"{web.url}/") as made:
        yield made


@pytest.fixture
async def mill(web: Web) -> Mill:
    return Mill(web.site.database, web.site.documents)


def trace(document: Json, parameters: Json) -> Json:
    return {**document, "path": [*document.get("path", []), parameters["name"]]}


def big(document: Json, parameters: Json) -> Json:
    return {**trace(document, parameters), "padding": "x" * 50_000}


FUNCTIONS = {"f": trace, "big": big}


async def _is(value: bool) -> bool:
    return value


def idle(worker: Worker) -> bool:
    """Whether all that it has in hand is done, and only waits for the site."""
    return all(held.job is not None and held.job.done() for held in worker._held.values())


async def all_written(worker: Worker) -> None:
    """Return once all that it has in hand is done, and on disk."""
    assert worker._outbox is not None
    await until(lambda: idle(worker), "all in hand is done")
    await worker._outbox.written()


def results(spool: Path) -> int:
    return len(list((spool / "results").glob("*.spool")))


async def test_a_link_that_is_cut_again_and_again_loses_nothing(
    web: Web, mill: Mill, proxy: Proxy, tmp_path: Path
) -> None:
    run = await mill.start(
        items=60, steps=["a", "b", "c"], functions=FUNCTIONS, use=["f", "big", "f"], tries=100, backoff=0.01
    )
    left = 40
    proxy.lose_answer = lambda _: random.random() < 0.06 and proxy.cuts < left
    proxy.cut_after = lambda _: random.random() < 0.06 and proxy.cuts < left
    token = await worker_token(mill.database)
    async with working(far_worker(proxy.url.rstrip("/"), token, tmp_path / "spool", FUNCTIONS, slots=8)):
        await mill.until(mill.finished(run), seconds=60)
    assert proxy.cuts > 10
    assert await audit(mill.database, mill.documents, run) == {"done": 60}
    assert all(d["path"] == ["a", "b", "c"] for d in await mill.final_documents(run))
    assert Counter(a["outcome"] for a in await mill.attempts(run))["done"] == 180
    assert not results(tmp_path / "spool")


async def test_the_lost_answer_to_a_hand_in_changes_nothing(web: Web, mill: Mill, proxy: Proxy, tmp_path: Path) -> None:
    run = await mill.start(items=1, steps=["a", "b"], functions=FUNCTIONS, use=["f", "f"])
    proxy.lose_answer = lambda said: b'"moved":[{' in said and proxy.cuts < 2
    async with working(far_worker(proxy.url.rstrip("/"), await worker_token(mill.database), tmp_path / "s", FUNCTIONS)):
        await mill.until(mill.finished(run))
    assert proxy.cuts == 2
    assert await audit(mill.database, mill.documents, run) == {"done": 1}
    assert Counter(a["outcome"] for a in await mill.attempts(run))["done"] == 2


async def claims_by_hand(url: str, mill: Mill, spool: Path) -> RemoteExchange:
    """What a worker claims with, and no worker."""
    kept = Spool(spool)
    kept.open()
    link = RemoteLink(SiteClient(url, await worker_token(mill.database)), kept)
    exchange = link.exchange(30.0, Abilities(("python",), ("python:f",)))
    await exchange.register("far", Process.this(), 2)
    return exchange


async def test_a_claim_that_is_overtaken_on_its_way_comes_too_late(web: Web, mill: Mill, tmp_path: Path) -> None:
    run = await mill.start(items=2, steps=["a"], functions=FUNCTIONS, use=["f"])
    exchange = await claims_by_hand(web.url, mill, tmp_path / "spool")
    late = exchange._said | {"worker": exchange.worker, "n": 1}
    await exchange.disown([])
    with pytest.raises(Conflict, match="asked for something else since"):
        await exchange._link.client.post("/exchange", late)
    assert await mill.states(run) == {"waiting": 2}
    (_, claimed) = await exchange.finish_and_claim([], [], 1)
    assert len(claimed) == 1
    await exchange.close()


async def test_what_a_slow_claim_takes_after_all_is_given_back(web: Web, mill: Mill, tmp_path: Path) -> None:
    run = await mill.start(items=2, steps=["a"], functions=FUNCTIONS, use=["f"])
    exchange = await claims_by_hand(web.url, mill, tmp_path / "spool")
    async with mill.database.begin() as session:
        await session.execute(text("update app set concurrency = 100"))
    async with mill.database.begin() as session:
        await session.execute(text("select from app for no key update"))
        slow = asyncio.create_task(exchange.finish_and_claim([], [], 1))
        await mill.until(lambda: waiting_for_locks(mill.database, 1))
        unknown = asyncio.create_task(exchange.disown([]))
        await mill.until(lambda: waiting_for_locks(mill.database, 2))
    (_, claimed), given = await slow, await unknown
    assert [task["id"] for task in claimed] == [row["id"] for row in given]
    assert await mill.states(run) == {"waiting": 2}
    await exchange.close()


async def waiting_for_locks(database: Database, count: int) -> bool:
    waiting = text(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    async with database.begin() as session:
        return await session.scalar(waiting) == count


async def test_results_made_while_the_link_is_down_are_handed_in_when_it_is_back(
    web: Web, mill: Mill, proxy: Proxy, tmp_path: Path
) -> None:
    begun, go = asyncio.Semaphore(0), asyncio.Event()

    async def gated(document: Json, parameters: Json) -> Json:
        begun.release()
        await go.wait()
        return big(document, parameters)

    run = await mill.start(items=4, steps=["a"], functions={"f": gated}, use=["f"])
    worker = far_worker(proxy.url.rstrip("/"), await worker_token(mill.database), tmp_path / "spool", {"f": gated})
    async with working(worker):
        for _ in range(4):
            await begun.acquire()
        proxy.cut()
        go.set()
        await all_written(worker)
        assert results(tmp_path / "spool") > 0
        assert await mill.states(run) == {"running": 4}
        proxy.down = False
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 4}
    assert Counter(a["outcome"] for a in await mill.attempts(run)) == {"done": 4}


async def test_a_result_whose_lease_was_lost_arrives_late_and_can_be_promoted(
    web: Web, mill: Mill, proxy: Proxy, tmp_path: Path
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def gated(document: Json, parameters: Json) -> Json:
        begun.set()
        await go.wait()
        return big(document, parameters)

    run = await mill.start(items=1, steps=["a"], functions={"f": gated}, use=["f"])
    token = await worker_token(mill.database)
    async with working(far_worker(proxy.url.rstrip("/"), token, tmp_path / "spool", {"f": gated})):
        await asyncio.wait_for(begun.wait(), 60)
        proxy.cut()
        async with mill.database.begin() as session:
            await session.execute(text("update task set lease_until = now() - interval '1 second'"))
            await session.execute(text("update run set paused = true"))
        await expire(mill.database)
        go.set()
        await mill.until(lambda: _is(results(tmp_path / "spool") == 1))
        proxy.down = False

        async def late() -> bool:
            return [a["outcome"] for a in await mill.attempts(run)] == ["late"]

        await mill.until(late)
    assert not results(tmp_path / "spool")
    (attempt,) = await mill.attempts(run)
    async with mill.database.begin() as session:
        assert await redo.promote(session, attempt["task_id"], attempt["fence"]) == "done"
    await close_runs(mill.database)
    assert await audit(mill.database, mill.documents, run) == {"done": 1}


async def test_two_workers_with_a_copied_spool_apply_each_result_once(
    web: Web, mill: Mill, proxy: Proxy, tmp_path: Path
) -> None:
    begun, go = asyncio.Semaphore(0), asyncio.Event()

    async def gated(document: Json, parameters: Json) -> Json:
        begun.release()
        await go.wait()
        return big(document, parameters)

    run = await mill.start(items=3, steps=["a", "b"], functions={"f": gated}, use=["f", "f"])
    token = await worker_token(mill.database)
    url = proxy.url.rstrip("/")
    worker = far_worker(url, token, tmp_path / "spool", {"f": gated})
    async with working(worker):
        for _ in range(3):
            await begun.acquire()
        proxy.cut()
        go.set()
        await all_written(worker)
        shutil.copytree(tmp_path / "spool", tmp_path / "copy", ignore=shutil.ignore_patterns("lock", "work", "*.part"))
        proxy.down = False
        async with working(far_worker(url, token, tmp_path / "copy", {"f": gated})):
            await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 3}
    assert Counter(a["outcome"] for a in await mill.attempts(run)) == {"done": 6}
    assert not results(tmp_path / "spool")
    assert not results(tmp_path / "copy")


async def test_a_damaged_spool_file_is_set_aside_and_the_rest_handed_in(
    web: Web, mill: Mill, proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await mill.start(items=5, steps=["a"], functions=FUNCTIONS, use=["f"])
    token = await worker_token(mill.database)
    begun, go = asyncio.Semaphore(0), asyncio.Event()

    async def gated(document: Json, parameters: Json) -> Json:
        begun.release()
        await go.wait()
        return trace(document, parameters)

    worker = far_worker(proxy.url.rstrip("/"), token, tmp_path / "spool", {"f": gated})
    job = asyncio.create_task(worker.run())
    for _ in range(5):
        await begun.acquire()
    proxy.cut()
    go.set()
    await all_written(worker)
    worker.abandon()
    await asyncio.wait_for(job, 60)
    kept = sorted((tmp_path / "spool" / "results").glob("*.spool"))
    lines = kept[0].read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"done"', b'"dome"')
    kept[0].write_bytes(b"".join(lines))
    proxy.down = False
    async with working(far_worker(proxy.url.rstrip("/"), token, tmp_path / "spool", FUNCTIONS)):

        async def handed_in() -> bool:
            return (await mill.states(run)).get("done", 0) >= 4

        await mill.until(handed_in)
        async with mill.database.begin() as session:
            await session.execute(
                text("update task set lease_until = now() - interval '1 second' where state = 'running'")
            )
            await fetch(session, "tasks.expire")
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 5}
    assert len(list((tmp_path / "spool" / "aside").iterdir())) == 1
    assert "damaged" in capsys.readouterr().out


def steps_file(folder: Path) -> Path:
    path = folder / "mysteps.py"
    path.write_text(
        f"""
import os, time
from tidemill import step

@step(version="1")
def f(item, task):
    with open({str(folder / "log")!r}, "a") as log:
        log.write(f"{{item.name}}\\t{{task.parameters['name']}}\\t{{os.getpid()}}\\n")
    assert abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) > 500, "the clock is right"
    time.sleep(float(os.environ.get("STEP_SECONDS", "0.02")))
    task.output("out.txt").write_text(item.name * 1000)
    return {{"length": len(item.name), "padding": "x" * 5000}}
"""
    )
    return path


def wrong_clock(folder: Path) -> Path:
    """A folder for PYTHONPATH that puts a program's clock ten minutes back."""
    folder.joinpath("sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() - 600\n")
    return folder


def start_far(program: Program, url: str, token: str, steps: Path, spool: Path, seconds: float = 0.02) -> Started:
    settings = {
        "TIDEMILL_TOKEN": token,
        "TIDEMILL_POLL": "0.1",
        "PYTHONPATH": str(wrong_clock(steps.parent)),
        "STEP_SECONDS": str(seconds),
    }
    far = Program(program.site.parent / "nowhere", None, settings)
    return far.start("worker", "--url", url, "--steps", steps, "--spool", spool, "--slots", "4", "--lease", "3s")


async def test_the_site_and_its_far_worker_killed_lose_nothing(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """The real program on both sides: `tidemill up --no-worker`, and a worker with a wrong clock, a URL and a token."""
    settings = {"TIDEMILL_INLINE_LIMIT": "4096", "TIDEMILL_PORT": str(free_port(None))}
    program = Program(tmp_path / "site", database_url, settings)
    mill = Mill(database, DocumentStore((tmp_path / "site" / "documents").as_uri(), 4096))
    run = await mill.start(items=24, steps=["a", "b"], functions={"f": trace}, use=["f", "f"], tries=50, backoff=0.01)
    token, steps, spool = await worker_token(database), steps_file(tmp_path), tmp_path / "spool"
    url = f"http://127.0.0.1:{settings['TIDEMILL_PORT']}"
    site, far = program.start("up", "--no-worker"), start_far(program, url, token, steps, spool, 0.2)
    try:
        await mill.until(lambda: _is(executed(tmp_path / "log").total() >= 12), 60)
        site.process.kill()
        site.process.wait()
        await mill.until(lambda: _is(results(spool) > 0), 60)
        far.process.kill()  # with results in its spool, and the site away
        far.process.wait()
        site, far = program.start("up", "--no-worker"), start_far(program, url, token, steps, spool)
        await mill.until(mill.finished(run), 60)
        far.signal(signal.SIGTERM)
        assert await asyncio.to_thread(far.end) == 0
    finally:
        site.__exit__()
        far.__exit__()
    assert "handing in what an earlier worker left" in far.said
    assert await audit(mill.database, mill.documents, run) == {"done": 24}
    attempts = await mill.attempts(run)
    assert Counter(a["outcome"] for a in attempts)["done"] == 48
    interrupted = Counter((a["item"], "ab"[a["step"]]) for a in attempts if a["outcome"] in {"lost", "late"})
    twice = {step: times for step, times in executed(tmp_path / "log").items() if times > 1 + interrupted[step]}
    assert not twice, "done again though its result lay in the spool"
    assert all(len(a["files"]) == 1 for a in attempts if a["outcome"] == "done")
    async with database.begin() as session:
        span = text(
            "select extract(epoch from max(finished_at) - min(started_at)), max(finished_at) <= now() from attempt"
        )
        seconds, past = (await session.execute(span)).one()
    assert float(seconds) < 300
    assert past


def test_a_worker_with_a_wrong_token_or_site_says_so(tmp_path: Path) -> None:
    far = Program(tmp_path, None)
    url = ("worker", "--url", "http://127.0.0.1:1")
    (tmp_path / "token").write_text("tm_short")
    assert "cut short" in far(*url, "--token-file", tmp_path / "token", code=3).err
    (tmp_path / "token").write_text(tokens.new_secret())
    named = ("worker", "--token-file", tmp_path / "token", "--spool", tmp_path / "spool")
    assert "not private" in far(*named, "--url", "http://mill.example.org", code=3).err
