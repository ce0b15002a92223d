"""Workers killed with -9 at any moment, frozen beyond their lease, and two of them on one item."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.faults.audit import audit, executed
from tests.faults.worker_process import WorkerProcess, steps
from tests.site import Mill

from tidemill.db.database import Database, fetch
from tidemill.errors import Conflict
from tidemill.runner import redo, runs
from tidemill.storage.documents import DocumentStore

pytestmark = pytest.mark.fault

Json = dict[str, Any]
KILLS = 10


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


async def test_workers_killed_again_and_again_lose_nothing(mill: Mill, database_url: str, tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "documents"
    functions = steps(log, 0)
    run = await mill.start(
        items=200, steps=["a", "b", "c"], functions=functions, use=["f", "big", "f"], tries=100, backoff=0.01
    )
    workers = [WorkerProcess(database_url, folder, log) for _ in range(2)]
    finished = mill.finished(run)

    async def further(seen: int) -> bool:
        return executed(log).total() > seen + random.randrange(30) or await finished()

    try:
        for _ in range(KILLS):
            seen = executed(log).total()
            await mill.until(lambda seen=seen: further(seen))
            if await finished():  # before this one could be killed
                break
            workers.pop(random.randrange(2)).kill()
            workers.append(WorkerProcess(database_url, folder, log))
        await mill.until(finished, seconds=60)
    finally:
        for worker in workers:
            worker.kill()

    assert await audit(mill.database, mill.documents, run) == {"done": 200}
    assert all(d["path"] == ["a", "b", "c"] for d in await mill.final_documents(run))
    attempts = await mill.attempts(run)
    assert Counter(a["outcome"] for a in attempts)["done"] == 600
    interrupted = Counter((a["item"], "abc"[a["step"]]) for a in attempts if a["outcome"] in {"lost", "late"})
    twice = {step: times for step, times in executed(log).items() if times > 1 + interrupted[step]}
    assert not twice, "done again without a killed worker having had it in hand"


async def test_the_late_result_of_a_frozen_worker_is_kept_and_not_applied(
    mill: Mill, database_url: str, tmp_path: Path
) -> None:
    async def quick(document: Json, _: Json) -> Json:
        return {**document, "by": "another"}

    run, worker = await _frozen_in_a_step(mill, database_url, tmp_path)
    await mill.work({"f": quick}, until=mill.finished(run))
    assert await mill.states(run) == {"done": 1}
    await _thawed(mill, worker, run, tmp_path)

    first, second = await mill.attempts(run)
    assert (first["outcome"], first["error"], second["outcome"]) == ("late", None, "done")
    assert (await mill.final_documents(run))[0]["by"] == "another"
    with pytest.raises(Conflict, match="moved on"):
        async with mill.database.begin() as session:
            await redo.promote(session, first["task_id"], first["fence"])
    await audit(mill.database, mill.documents, run)


async def test_a_late_result_can_be_promoted_where_the_task_still_stands(
    mill: Mill, database_url: str, tmp_path: Path
) -> None:
    def fail(document: Json, _: Json) -> Json:
        raise ValueError("not here")

    run, worker = await _frozen_in_a_step(mill, database_url, tmp_path)
    await mill.work({"f": fail}, until=mill.finished(run))
    assert await mill.states(run) == {"failed": 1}
    await _thawed(mill, worker, run, tmp_path)

    late = (await mill.attempts(run))[0]
    async with mill.database.begin() as session:
        assert await redo.promote(session, late["task_id"], late["fence"]) == "done"
    assert (await mill.final_documents(run))[0]["by"] == worker.pid
    with pytest.raises(Conflict):
        async with mill.database.begin() as session:
            await redo.promote(session, late["task_id"], late["fence"])
    assert await audit(mill.database, mill.documents, run) == {"done": 1}


async def test_one_worker_with_an_old_and_a_new_claim_on_one_item_applies_the_new_one(mill: Mill) -> None:
    begun, go = asyncio.Semaphore(0), asyncio.Event()

    async def gated(document: Json, _: Json) -> Json:
        begun.release()
        number = begun._value
        await go.wait()
        return {**document, "n": number}

    run = await mill.start(items=1, steps=["a", "b"], functions={"f": gated}, use=["f", "f"], tries=9)
    async with mill.working({"f": gated}):
        await begun.acquire()
        async with mill.database.begin() as session:
            await session.execute(text("update task set lease_until = now() - interval '1 second'"))
            await fetch(session, "tasks.expire")
        await begun.acquire()
        go.set()
        await mill.until(mill.finished(run))
        await mill.until(lambda: _outcomes(mill, run, {"late": 1, "done": 2}))
    late, *done = await mill.attempts(run)
    assert (late["fence"], late["outcome"]) == (1, "late")
    assert [a["fence"] for a in done] == [2, 3]
    assert await audit(mill.database, mill.documents, run) == {"done": 1}


async def test_a_late_result_that_a_rerun_has_superseded_is_not_promoted(mill: Mill) -> None:
    begun, go = asyncio.Semaphore(0), asyncio.Event()

    async def gated(document: Json, _: Json) -> Json:
        begun.release()
        await go.wait()
        return document

    run = await mill.start(items=1, steps=["a"], functions={"f": gated}, use=["f"])
    async with mill.working({"f": gated}, slots=1):
        await begun.acquire()
        async with mill.database.begin() as session:
            await session.execute(text("update task set lease_until = now() - interval '1 second'"))
            await fetch(session, "tasks.expire")
            await runs.cancel(session, run)
        go.set()
        await mill.until(lambda: _some_outcome(mill, run, "late"))
    (late,) = await mill.attempts(run)
    async with mill.database.begin() as session:
        await redo.rerun(session, run, 0)
    with pytest.raises(Conflict):
        async with mill.database.begin() as session:
            await redo.promote(session, late["task_id"], late["fence"])
    assert await audit(mill.database, mill.documents, run) == {"waiting": 1}


async def test_two_claims_at_the_same_time_never_hold_the_same_task(mill: Mill) -> None:
    at_work: Counter[tuple[str, str]] = Counter()
    most = 0

    async def alone(document: Json, parameters: Json) -> Json:
        nonlocal most
        key = document["item"], parameters["name"]
        at_work[key] += 1
        most = max(most, at_work[key])
        await asyncio.sleep(0.005)
        at_work[key] -= 1
        return {**document, "n": document.get("n", 0) + 1}

    run = await mill.start(items=100, steps=["a", "b", "c"], functions={"f": alone}, use=["f", "f", "f"])
    await asyncio.gather(*(mill.work({"f": alone}, until=mill.finished(run), slots=3, poll=0.01) for _ in range(4)))
    assert most == 1
    assert {a["fence"] for a in await mill.attempts(run)} == {1, 2, 3}
    assert await audit(mill.database, mill.documents, run) == {"done": 100}


async def _frozen_in_a_step(mill: Mill, url: str, folder: Path) -> tuple[int, WorkerProcess]:
    """A run of one item whose only step a frozen worker has in hand, beyond its lease."""
    log = folder / "log"
    run = await mill.start(items=1, steps=["a"], functions=steps(log, 0), use=["f"], tries=1)
    address = f"{url}?application_name=frozen"
    worker = WorkerProcess(address, folder / "documents", log, lease=30, seconds=0, go=folder / "go")
    await mill.until(lambda: _is(executed(log).total() == 1))
    worker.freeze()
    while await _in_a_transaction(mill):  # whose locks nobody could wait for
        worker.thaw()
        worker.freeze()
    async with mill.database.begin() as session:
        await session.execute(text("update task set lease_until = now() - interval '1 second'"))
        await fetch(session, "tasks.expire")
    return run, worker


async def _in_a_transaction(mill: Mill) -> bool:
    """Whether the frozen worker is in the midst of one, once the server has done all that it was asked to."""
    query = (
        "select xact_start is not null as open, state = 'active' and wait_event is distinct from 'ClientRead' as busy "
        "from pg_stat_activity where datname = current_database() and application_name = 'frozen'"
    )
    async with asyncio.timeout(60):
        while True:
            async with mill.database.begin() as session:
                found = (await session.execute(text(query))).all()
            if not any(row.busy for row in found):
                return any(row.open for row in found)
            await asyncio.sleep(0.01)


async def _thawed(mill: Mill, worker: WorkerProcess, run: int, folder: Path) -> None:
    (folder / "go").touch()
    worker.thaw()
    await mill.until(lambda: _some_outcome(mill, run, "late"))
    assert await worker.stop() == 0


async def _some_outcome(mill: Mill, run: int, outcome: str) -> bool:
    return any(a["outcome"] == outcome for a in await mill.attempts(run))


async def _outcomes(mill: Mill, run: int, wanted: dict[str, int]) -> bool:
    return Counter(a["outcome"] for a in await mill.attempts(run)) == wanted


async def _is(value: bool) -> bool:
    return value
