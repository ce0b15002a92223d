"""Workers killed with -9 in the midst of commands and transfers, and links that are cut."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text
from tests.faults.local_worker import LocalWorker
from tests.faults.proxy import Proxy, proxied
from tests.local_steps import Bench, transfer_bench
from tests.sftp_server import SftpServer
from tests.site import Mill
from tests.step_site import StepSite

from tidemill.db.database import Database
from tidemill.db.models import Batch, BatchItem, Item
from tidemill.executors.contract import Done, Unavailable
from tidemill.pipelines import apps, pipelines
from tidemill.pipelines.apps import AppFacts, AppSettings
from tidemill.pipelines.pipelines import StepWish
from tidemill.runner import runs
from tidemill.storage.documents import DocumentStore

pytestmark = pytest.mark.fault

MB = 1024 * 1024

STEP = """
import os, pathlib, subprocess, sys, time
item, marks = sys.argv[1:]
mark = pathlib.Path(marks, item)
first = not mark.exists()
with mark.open("a") as file:
    file.write("begun\\n")
if first:
    # Children that a kill of this process, or of its group, would not reach.
    subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)", marks], start_new_session=True)
    print("ready", flush=True)
    time.sleep(600)
print('{"times": %d}' % len(mark.read_text().splitlines()))
"""


async def started(mill: Mill, kind: str, options: dict[str, Any], items: list[str]) -> int:
    """A run of these items through one step."""
    async with mill.database.begin() as session:
        await apps.register(session, AppSettings("app", f"{kind}:app", kind, options=options, backoff=0), AppFacts())
        await pipelines.define(session, "chain", [StepWish("app")])
        rows, batch = [Item(name=name) for name in items], Batch(name="all")
        session.add_all([*rows, batch])
        await session.flush()
        session.add_all(BatchItem(batch_id=batch.id, position=n, item_id=row.id) for n, row in enumerate(rows))
    async with mill.database.begin() as session:
        return await runs.start(session, mill.documents, runs.Start("all", "chain"))


def running(mark: str) -> list[int]:
    """Processes that have this text in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and any(mark in word for word in process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


async def test_a_killed_worker_takes_its_commands_along_and_they_are_done_once_more(
    mill: Mill, database_url: str, tmp_path: Path
) -> None:
    marks, code = tmp_path / "marks", tmp_path / "step.py"
    marks.mkdir()
    code.write_text(STEP)
    options = {"command": [sys.executable, "-I", "{code}", "{item}", str(marks)], "inputs": {"code": str(code)}}
    run = await started(mill, "command", options, ["a", "b"])
    worker = LocalWorker(database_url, tmp_path)
    await until(lambda: len(list(marks.iterdir())) == 2 and len(running(str(marks))) >= 4)
    worker.kill()
    await until(lambda: not running(str(marks)))
    worker = LocalWorker(database_url, tmp_path)
    try:
        await mill.until(mill.finished(run))
        assert not list((tmp_path / "work").glob("*/*")), "nothing is left of the killed attempts"
    finally:
        worker.kill()
    for name in ("a", "b"):
        assert [one["outcome"] for one in await mill.attempts(run, name)] == ["lost", "done"]
    outputs = [document["process"][0]["output"] for document in await mill.final_documents(run)]
    assert outputs == [{"times": 2}, {"times": 2}]
    assert not running(str(marks))


CHILD_STEP = """
import subprocess, sys, time
from tidemill import step

SLEEPS = [sys.executable, "-I", "-c", "import time; time.sleep(600)", "{mark}"]

@step(run_in="process")
def starts(item, task):
    if task.key.endswith("-1"):
        subprocess.Popen(SLEEPS)
        # One that a kill of the step's process, or of its group, would not reach.
        subprocess.Popen(SLEEPS, start_new_session=True)
        time.sleep(600)
    return {{"second": True}}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process that its parent was killed")
async def test_a_killed_worker_takes_along_what_its_steps_in_python_have_started(
    database: Database, documents: DocumentStore, database_url: str, tmp_path: Path
) -> None:
    site, mark = StepSite(database, documents, tmp_path), f"mark-{os.getpid()}-child"
    await site.load(CHILD_STEP.format(mark=mark))
    async with database.begin() as session:
        await session.execute(text("update app set backoff = 0"))
    await site.item("one")
    run = await site.begin(["one"], "starts")
    worker = LocalWorker(database_url, tmp_path, tmp_path / "mysteps.py")
    await until(lambda: len(running(mark)) == 2)
    worker.kill()
    await until(lambda: not running(mark))
    worker = LocalWorker(database_url, tmp_path, tmp_path / "mysteps.py")
    try:
        await site.until(site.finished(run))
    finally:
        worker.kill()
    assert [one["outcome"] for one in await site.attempts(run)] == ["lost", "done"]


async def test_a_killed_transfer_goes_on_and_no_half_file_ever_has_the_name(
    mill: Mill, database_url: str, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    data = os.urandom(MB) * 96
    (here / "big.root").write_bytes(data)
    options = {"from": here.as_uri(), "files": ["{item}.root"], "to": there.as_uri()}
    run = await started(mill, "transfer", options, ["big"])
    worker = LocalWorker(database_url, tmp_path, chunks=8)
    await until(lambda: any(part.stat().st_size > 24 * MB for part in there.glob(".*.part")))
    worker.kill()
    assert [path.name for path in there.iterdir() if not path.name.startswith(".")] == []
    (part,) = there.glob(".*.part")
    assert part.stat().st_size <= len(data)
    worker = LocalWorker(database_url, tmp_path)
    try:
        await mill.until(mill.finished(run))
    finally:
        worker.kill()
    assert [path.name for path in there.iterdir()] == ["big.root"]
    assert (there / "big.root").read_bytes() == data
    lost, done = await mill.attempts(run)
    assert (lost["outcome"], done["outcome"]) == ("lost", "done")
    assert "copied from byte" in done["log"]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.root"
    path.write_bytes(os.urandom(MB) * 24)
    return path


async def test_a_cut_link_is_told_and_the_transfer_goes_on_over_a_new_one(tmp_path: Path, big: Path) -> None:
    bench, passed = transfer_bench(), 0
    there = tmp_path / "there"
    there.mkdir()

    def after_some_megabytes(chunk: bytes) -> bool:
        nonlocal passed
        passed += len(chunk)
        return passed > 14 * MB

    with SftpServer(tmp_path / "server", "asyncssh") as server:
        async with proxied(server.url("/")) as proxy:
            proxy.cut_after = after_some_megabytes
            bench.record([big])
            cut = await bench.do(_to(server, there, proxy))
            assert isinstance(cut, Unavailable)
            assert "cannot be reached: the connection was lost" in cut.reason
            assert "of it was done" in cut.reason
            assert not (there / "big.root").exists()
            proxy.cut_after = lambda _: False
            await _goes_on(bench, _to(server, there, proxy), big, there)


async def test_a_killed_server_is_told_and_the_transfer_goes_on_when_it_is_back(tmp_path: Path, big: Path) -> None:
    bench = transfer_bench()
    there = tmp_path / "there"
    there.mkdir()
    server = SftpServer(tmp_path / "server", "asyncssh")
    server.start()
    bench.record([big])
    killed = False

    def kill(progress: Any) -> None:
        nonlocal killed
        if not killed and (progress.fraction or 0) > 0.3:
            killed = True
            server.kill()

    cut = await bench.executor.submit(bench.work(_to(server, there)), kill)
    assert isinstance(cut, Unavailable)
    assert "cannot be reached" in cut.reason
    refused = await bench.do(_to(server, there))
    assert isinstance(refused, Unavailable)
    assert "connection refused" in refused.reason
    assert not (there / "big.root").exists()
    with server:
        await _goes_on(bench, _to(server, there), big, there)


def _to(server: SftpServer, there: Path, proxy: Proxy | None = None) -> dict[str, Any]:
    url = server.url(there) if proxy is None else f"{proxy.url.rstrip('/')}{there}"
    return {"to": url, **server.login}


async def _goes_on(bench: Bench, options: dict[str, Any], big: Path, there: Path) -> None:
    outcome = await bench.do(options)
    assert isinstance(outcome, Done), outcome
    assert "copied from byte" in outcome.log
    assert [path.name for path in there.iterdir()] == ["big.root"]
    assert (there / "big.root").read_bytes() == big.read_bytes()
    await bench.executor.close()
