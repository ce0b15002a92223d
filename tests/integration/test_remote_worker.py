"""A worker that has no database, only the site's URL and a token: what it does, and what it may not."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text
from tests.faults.audit import audit
from tests.faults.proxy import proxied
from tests.remote import far_worker, worker_token, working
from tests.site import Mill
from tests.webserver import Web, client_of, web_site

from tidemill.accounts import tokens
from tidemill.db.database import Database
from tidemill.errors import AccessRefused, InvalidInput, WrongProtocol
from tidemill.executors.contract import Done, KeptFile, Outcome, Report, Work
from tidemill.executors.workbench import Workbench
from tidemill.runner import runs
from tidemill.runner.remote_client import SiteClient

Json = dict[str, Any]


@pytest.fixture
async def mill(web: Web) -> Mill:
    return Mill(web.site.database, web.site.documents)


def trace(document: Json, parameters: Json) -> Json:
    return {**document, "path": [*document.get("path", []), parameters["name"]]}


def big(document: Json, parameters: Json) -> Json:
    return {**trace(document, parameters), "padding": "x" * 9000}


async def test_items_go_through_all_steps_over_http(web: Web, mill: Mill, tmp_path: Path) -> None:
    functions = {"f": trace, "big": big}
    run = await mill.start(items=30, steps=["a", "b", "c"], functions=functions, use=["f", "big", "f"])
    token = await worker_token(mill.database)
    async with working(far_worker(web.url, token, tmp_path / "spool", functions)):
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 30}
    assert all(d["path"] == ["a", "b", "c"] for d in await mill.final_documents(run))
    assert not list((tmp_path / "spool" / "results").iterdir()), "what the site has leaves the spool"
    assert not list((tmp_path / "spool" / "blobs").iterdir())


async def data_file(mill: Mill, item: str, folder: Path, content: bytes) -> str:
    """Give an item a file in a source that lies on the site's machine; its URL."""
    folder.mkdir(exist_ok=True)
    (folder / f"{item} é.dat").write_bytes(content)
    async with mill.database.begin() as session:
        await session.execute(
            text(
                "with s as (insert into source (name, url) values ('daq', :url) returning id),"
                " f as (insert into file (source_id, key, size) select id, :key, :size from s returning id)"
                " insert into item_file (item_id, file_id) select i.id, f.id from item i, f where i.name = :item"
            ),
            {"url": folder.as_uri(), "key": f"{item} é.dat", "size": len(content), "item": item},
        )
    return f"{folder.as_uri()}/{quote(f'{item} é.dat')}"


class Copier:
    """An engine that reads a file by way of its workbench and keeps a copy of it, as the engines for files do."""

    at_once: int | None = None

    def __init__(self, url: str) -> None:
        self.url = url
        self.bench: Workbench | None = None

    async def submit(self, work: Work, report: Report) -> Outcome:
        assert self.bench is not None
        async with self.bench.at(work.key) as place:
            read = await self.bench.files.fetch(self.url, place)
            (place / "out").mkdir()
            copy = (place / "out" / "copy ö.dat").resolve()
            copy.write_bytes(read.read_bytes()[::-1])
            kept = await self.bench.files.keep(copy, copy.name)
        return Done(work.document, files=(kept,), inputs=(KeptFile("here", 1, "0" * 64, "file:///etc/hostname"),))

    async def cancel(self, work: Work, handle: Any) -> None: ...

    async def close(self) -> None: ...


async def test_files_are_read_through_the_site_and_delivered_to_it(
    web: Web, mill: Mill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.runner.sending.PIECE", 100_000)
    content = os.urandom(1_000_000)
    run = await mill.start(items=1, steps=["copy"], functions={"f": trace}, use=["f"])
    url = await data_file(mill, "item-0", tmp_path / "daq", content)
    copier: Any = Copier(url)
    worker = far_worker(
        web.url, await worker_token(mill.database), tmp_path / "spool", {"f": trace}, {"python": copier}
    )
    copier.bench = worker._attempts._bench
    async with working(worker):
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 1}
    (attempt,) = await mill.attempts(run)
    (kept,) = attempt["files"]
    stored = await web.site.files.fetch(kept["url"], tmp_path)
    assert stored.read_bytes() == content[::-1]
    assert stored.is_relative_to(tmp_path / "site")
    assert (kept["name"], kept["size"]) == ("copy ö.dat", 1_000_000)
    assert attempt["inputs"][0]["url"].startswith("worker://"), "a path there is none of the site's"
    assert not list((tmp_path / "spool" / "blobs").iterdir())
    assert not list((web.site.settings.work_folder / "uploads").iterdir())


async def test_a_file_that_changes_while_it_comes_is_fetched_anew(web: Web, mill: Mill, tmp_path: Path) -> None:
    old, new = b"old " * 1_000_000, b"new " * 1_000_000
    run = await mill.start(items=1, steps=["copy"], functions={"f": trace}, use=["f"])
    url = await data_file(mill, "item-0", tmp_path / "daq", old)
    copier: Any = Copier(url)
    came = 0

    def cut(said: bytes) -> bool:
        nonlocal came
        came += len(said)
        if came < 2_000_000 or proxy.cuts:
            return False
        (tmp_path / "daq" / "item-0 é.dat").write_bytes(new)
        return True

    async with proxied(f"{web.url}/") as proxy:
        proxy.lose_answer = cut
        token = await worker_token(mill.database)
        worker = far_worker(proxy.url.rstrip("/"), token, tmp_path / "spool", {"f": trace}, {"python": copier})
        copier.bench = worker._attempts._bench
        async with working(worker):
            await mill.until(mill.finished(run))
        assert proxy.cuts == 1
    (attempt,) = await mill.attempts(run)
    (kept,) = attempt["files"]
    stored = await web.site.files.fetch(kept["url"], tmp_path)
    assert stored.read_bytes() == new[::-1]


async def test_a_worker_is_given_tasks_of_its_tokens_apps_alone(web: Web, mill: Mill, tmp_path: Path) -> None:
    functions = {"mine": trace, "other": trace}
    run = await mill.start(items=3, steps=["a", "b"], functions=functions, use=["mine", "other"])
    token = await worker_token(mill.database, apps=("mine",))

    async def all_wait() -> bool:
        return {(t["state"], t["step"]) for t in await mill.tasks(run)} == {("waiting", 1)}

    async with working(far_worker(web.url, token, tmp_path / "spool", functions)) as worker:
        await mill.until(all_wait)
    assert worker.steps_finished == 3
    assert {a["step"] for a in await mill.attempts(run)} == {0}


async def test_progress_and_cancels_go_both_ways(web: Web, mill: Mill, tmp_path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(document: Json, parameters: Json) -> Json:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return document

    run = await mill.start(items=1, steps=["a"], functions={"f": slow}, use=["f"])
    async with working(far_worker(web.url, await worker_token(mill.database), tmp_path / "spool", {"f": slow})):
        await asyncio.wait_for(begun.wait(), 60)
        async with mill.database.begin() as session:
            await runs.cancel(session, run)
        await asyncio.wait_for(ended.wait(), 60)
    assert await mill.states(run) == {"cancelled": 1}


async def test_the_site_bounds_the_lease_and_its_clock_alone_counts(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    async with web_site(database, database_url, tmp_path / "site") as web:
        mill = Mill(database, web.site.documents)
        begun, go = asyncio.Event(), asyncio.Event()

        async def gated(document: Json, _: Json) -> Json:
            begun.set()
            await go.wait()
            return document

        run = await mill.start(items=1, steps=["a"], functions={"f": gated}, use=["f"])
        token = await worker_token(database)
        async with working(far_worker(web.url, token, tmp_path / "spool", {"f": gated}, lease=10_000_000.0)):
            await asyncio.wait_for(begun.wait(), 60)
            async with database.begin() as session:
                left = await session.scalar(text("select extract(epoch from lease_until - now()) from task"))
            assert left is not None
            assert 80_000 < float(left) <= 86_400
            go.set()
            await mill.until(mill.finished(run))


async def test_a_revoked_worker_finishes_keeps_its_results_and_stops(web: Web, mill: Mill, tmp_path: Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def gated(document: Json, parameters: Json) -> Json:
        begun.set()
        await go.wait()
        return trace(document, parameters)

    run = await mill.start(items=1, steps=["a"], functions={"f": gated}, use=["f"])
    token = await worker_token(mill.database, "lab")
    job = asyncio.create_task(far_worker(web.url, token, tmp_path / "spool", {"f": gated}).run())
    await asyncio.wait_for(begun.wait(), 60)
    async with mill.database.begin() as session:
        await tokens.revoke(session, "lab")
    await asyncio.sleep(1.2)  # the guard's memory
    go.set()
    with pytest.raises(AccessRefused, match="revoked"):
        await asyncio.wait_for(job, 60)
    assert len(list((tmp_path / "spool" / "results").glob("*.spool"))) == 1
    assert await mill.states(run) == {"running": 1}

    async with mill.database.begin() as session:
        renewed, _ = await tokens.renew(session, "lab")
    async with working(far_worker(web.url, renewed, tmp_path / "spool", {})):
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 1}
    assert len(await mill.attempts(run)) == 1


async def test_a_full_spool_stops_claims_and_not_results(
    web: Web, mill: Mill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = {"f": big}
    run = await mill.start(items=6, steps=["a"], functions=functions, use=["f"])
    worker = far_worker(web.url, await worker_token(mill.database), tmp_path / "spool", functions, slots=2)

    def no_room(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tidemill.runner.outbox.TRY_AGAIN", 0.1)
    monkeypatch.setattr("tidemill.runner.spool._write", no_room)
    async with working(worker):
        await mill.until(lambda: _is(bool(worker._link.outbox and worker._link.outbox.stuck)))
        assert (await mill.states(run)).get("done", 0) < 6
        monkeypatch.undo()
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 6}


async def _is(value: bool) -> bool:
    return value


async def test_a_worker_of_another_version_is_told_so(web: Web, database: Database) -> None:
    token = await worker_token(database)
    for version, words in (("2", "Bring the site up to date"), ("0", "Bring the worker up to date"), ("x", "")):
        headers = {"Authorization": f"Bearer {token}", "tidemill-worker": version}
        async with client_of(web.url, headers=headers) as client:
            answer = await client.post("/api/worker/register", json={"hostname": "h"})
        assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "WrongProtocol")
        assert words in (answer.json()["error"]["hint"] or "")
    client = SiteClient(web.url, token)
    client._http.headers["tidemill-worker"] = "7"
    with pytest.raises(WrongProtocol, match="version 7"):
        await client.post("/register", {"hostname": "h"})
    await client.close()


@pytest.mark.parametrize("url", ["http://mill.example.org", "ftp://x", "mill", "https://user@x", "http://x/?key=1"])
def test_an_address_that_is_not_private_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        SiteClient(url, "tm_x")
