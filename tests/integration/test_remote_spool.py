"""The spool of a worker without a database: what lies in it stays for as long as anything needs it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.faults.audit import audit
from tests.faults.proxy import proxied
from tests.remote import far_worker, worker_token, working
from tests.site import Mill
from tests.webserver import Web, web_site

from tidemill.db.database import Database
from tidemill.executors.contract import Done, Outcome, Progress, Report, Submitted, Work
from tidemill.executors.workbench import Workbench
from tidemill.runner import runs
from tidemill.runner.housekeeping import expire
from tidemill.runner.remote_client import SiteClient
from tidemill.runner.remote_uploads import Upload, Uploads
from tidemill.runner.spool import Spool

Json = dict[str, Any]


@pytest.fixture
async def mill(web: Web) -> Mill:
    return Mill(web.site.database, web.site.documents)


def same(document: Json, parameters: Json) -> Json:
    return document


class Twin:
    """An engine whose attempts all put out the same file and the same large document; `item-1` takes longer."""

    at_once: int | None = None

    def __init__(self) -> None:
        self.bench: Workbench | None = None
        self.kept, self.go = asyncio.Semaphore(0), asyncio.Event()

    async def submit(self, work: Work, report: Report) -> Outcome:
        assert self.bench is not None
        async with self.bench.at(work.key) as place:
            (place / "err.txt").touch()
            kept = await self.bench.files.keep(place / "err.txt", "err.txt")
        self.kept.release()
        if work.item == "item-1":
            await self.go.wait()
        return Done(b'{"padding": "%b"}' % (b"x" * 9000), files=(kept,))

    async def cancel(self, work: Work, handle: Any) -> None: ...

    async def close(self) -> None: ...


async def test_what_two_attempts_put_out_alike_stays_until_both_are_handed_in(
    web: Web, mill: Mill, tmp_path: Path
) -> None:
    run = await mill.start(items=2, steps=["a"], functions={"f": same}, use=["f"], tries=1)
    twin: Any = Twin()
    token = await worker_token(mill.database)
    worker = far_worker(web.url, token, tmp_path / "spool", {"f": same}, {"python": twin})
    twin.bench = worker._attempts._bench
    async with working(worker):
        for _ in range(2):
            await twin.kept.acquire()

        async def one_is_let_go() -> bool:
            done = (await mill.states(run)).get("done") == 1
            return done and not list((tmp_path / "spool" / "results").iterdir())

        await mill.until(one_is_let_go)
        twin.go.set()
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 2}
    assert not list((tmp_path / "spool" / "blobs").iterdir())


class Elsewhere:
    """An engine that hands `item-0` on to somewhere else, where it is `over` at some time; the rest waits for `go`."""

    at_once: int | None = None

    def __init__(self, *, over: bool) -> None:
        self.over = over
        self.begun, self.go = asyncio.Semaphore(0), asyncio.Event()

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        self.begun.release()
        if work.item == "item-0":
            return Submitted({"job": 1}, poll_after=0.01)
        await self.go.wait()
        return Done(work.document)

    async def poll(self, work: Work, handle: Any) -> Progress | None:
        return None if self.over else Progress(poll_after=0.05)

    async def collect(self, work: Work, handle: Any) -> Outcome:
        return Done(work.document)

    async def cancel(self, work: Work, handle: Any) -> None: ...

    async def close(self) -> None: ...


async def test_adopted_work_does_not_overwrite_what_an_earlier_process_left(
    web: Web, mill: Mill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await mill.start(items=2, steps=["a"], functions={"f": same}, use=["f"])
    token, spool = await worker_token(mill.database), tmp_path / "spool"
    first: Any = Elsewhere(over=False)
    async with proxied(f"{web.url}/") as proxy:
        worker = far_worker(proxy.url.rstrip("/"), token, spool, {"f": same}, {"python": first})
        job = asyncio.create_task(worker.run())
        for _ in range(2):
            await first.begun.acquire()

        async def submitted() -> bool:
            return await mill.states(run) == {"submitted": 1, "running": 1}

        await mill.until(submitted)
        proxy.cut()
        first.go.set()
        await mill.until(lambda: _is(bool(list((spool / "results").glob("*.spool")))))
        worker.abandon()
        await asyncio.wait_for(job, 60)
    async with mill.database.begin() as session:
        await session.execute(text("update task set lease_until = now() - interval '1 s' where state = 'submitted'"))
    (left,) = (spool / "results").iterdir()
    was, leftovers = left.read_bytes(), Spool.leftovers

    def slow(self: Spool) -> list[tuple[int, Any]]:
        """A large spool on a slow disk: whoever adopts meanwhile has his result."""
        ends = time.monotonic() + 1
        while left.read_bytes() == was and time.monotonic() < ends:
            time.sleep(0.01)
        return leftovers(self)

    monkeypatch.setattr(Spool, "leftovers", slow)
    second: Any = Elsewhere(over=True)
    async with working(far_worker(web.url, token, spool, {"f": same}, {"python": second})):
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 2}
    assert [a["outcome"] for a in await mill.attempts(run)] == ["done", "done"]


async def test_a_reboot_frees_what_was_in_hand_at_once(web: Web, mill: Mill, tmp_path: Path) -> None:
    """The lock of the spool is ours, so its last owner is gone, in whatever boot or container it ran."""
    run = await mill.start(items=1, steps=["a"], functions={"f": same}, use=["f"])
    token, spool, begun = await worker_token(mill.database), tmp_path / "spool", asyncio.Event()

    async def endless(document: Json, parameters: Json) -> Json:
        begun.set()
        await asyncio.Event().wait()
        return document

    async with proxied(f"{web.url}/") as proxy:
        worker = far_worker(proxy.url.rstrip("/"), token, spool, {"f": endless}, lease=3600.0)
        job = asyncio.create_task(worker.run())
        await asyncio.wait_for(begun.wait(), 60)
        proxy.cut()  # nobody hears of its end
        worker.abandon()
        await asyncio.wait_for(job, 60)
    assert await mill.states(run) == {"running": 1}
    noted = json.loads((spool / "worker.json").read_text())
    (spool / "worker.json").write_text(json.dumps(noted | {"process": "another-boot/pid:[4026531836]/1/200"}))
    async with working(far_worker(web.url, token, spool, {"f": same})):

        async def finished() -> bool:
            await expire(mill.database)  # as the site does every few seconds
            return await mill.finished(run)()

        await mill.until(finished, 20)
    assert await audit(mill.database, mill.documents, run) == {"done": 1}


async def test_what_is_being_delivered_outlives_trouble_of_the_spool(
    web: Web, mill: Mill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles, full = iter(range(3)), Spool.full

    def trouble(self: Spool, *, probe: bool) -> str:
        if next(troubles, None) is not None:
            raise OSError(errno.EIO, "Input/output error")
        return full(self, probe=probe)

    def big(document: Json, parameters: Json) -> Json:
        return {**document, "padding": "x" * 9000}

    monkeypatch.setattr(Spool, "full", trouble)
    run = await mill.start(items=6, steps=["a"], functions={"f": big}, use=["f"])
    worker = far_worker(web.url, await worker_token(mill.database), tmp_path / "spool", {"f": big}, slots=2)
    async with working(worker):
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 6}
    assert len(await mill.attempts(run)) == 6


async def test_a_part_that_the_site_damaged_is_sent_again_from_the_start(
    web: Web, mill: Mill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.runner.sending.PIECE", 4000)
    complete = Uploads._complete
    damaged: list[Path] = []

    async def after_a_crash(self: Uploads, upload: Upload, part: Path) -> None:
        if not damaged:
            damaged.append(part)
            part.write_bytes(bytes(part.stat().st_size))  # as a file system leaves what was not synced
        await complete(self, upload, part)

    monkeypatch.setattr(Uploads, "_complete", after_a_crash)

    def big(document: Json, parameters: Json) -> Json:
        return {**document, "padding": "x" * 9000}

    run = await mill.start(items=1, steps=["a"], functions={"f": big}, use=["f"], tries=1)
    async with working(far_worker(web.url, await worker_token(mill.database), tmp_path / "spool", {"f": big})):
        await mill.until(mill.finished(run))
    assert damaged
    assert await audit(mill.database, mill.documents, run) == {"done": 1}


async def test_a_part_that_cannot_be_swept_away_leaves_the_hints_going(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    odd = tmp_path / "site" / "work" / "uploads" / "odd.part"
    odd.mkdir(parents=True)  # a file of that age is swept away: this is none
    os.utime(odd, (0, 0))
    async with web_site(database, database_url, tmp_path / "site") as web:
        assert odd.parent == web.site.settings.work_folder / "uploads"
        client = SiteClient(web.url, await worker_token(database))
        position = "unknown"
        async with asyncio.timeout(60):
            while not (answer := await client.get("/notices", after=position, wait=1))["notices"] or (
                position == "unknown"
            ):
                position = answer["after"]
                async with database.begin() as session:
                    await runs.announce(session)
        await client.close()


def test_the_size_of_a_spool_leaves_out_what_has_just_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 1000)
    spool.open()
    spool.blob("a").symlink_to(tmp_path / "gone")
    spool.blob("b").write_bytes(b"x" * 999)
    assert not spool.full(probe=False)
    spool.blob("c").write_bytes(b"x")
    assert "limit of 1,000 bytes" in spool.full(probe=False)
    spool.close()


async def _is(value: bool) -> bool:
    return value
