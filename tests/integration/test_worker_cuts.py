"""What a worker does with what it has in hand while its engines hang, and while its connections are cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from tests.faults.proxy import COMMITTED, proxied
from tests.remote import working
from tests.site import Mill

from tidemill.db.database import Database
from tidemill.executors.contract import Done, Outcome, Progress, Report, Submitted, Work
from tidemill.runner import runs
from tidemill.runner.link import DatabaseLink
from tidemill.runner.worker import Pace, Worker
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


def same(document: Json, parameters: Json) -> Json:
    return document


class Hanging:
    """An engine that takes work, never ends it, and does not answer when it is asked to stop."""

    at_once: int | None = None

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        return Submitted({"job": work.item})

    async def poll(self, work: Work, handle: Any) -> Progress | None:
        return Progress()

    async def collect(self, work: Work, handle: Any) -> Outcome:
        return Done(work.document)

    async def cancel(self, work: Work, handle: Any) -> None:
        self.asked.release()
        await asyncio.Event().wait()

    async def close(self) -> None: ...


async def test_an_engine_that_does_not_answer_a_cancel_holds_up_no_lease(mill: Mill) -> None:
    cancelled = await mill.start(items=3, steps=["a"], functions={"f": same}, use=["f"], prefix="cancelled")
    other = await mill.start(items=1, steps=["a"], functions={"f": same}, use=["f"], prefix="other")
    engine: Any = Hanging()
    pace = Pace(slots=8, lease=1.5, poll=0.05)
    worker = Worker(DatabaseLink(mill.database), {"python": engine}, mill.documents, pace=pace, functions=("python:f",))
    job = asyncio.create_task(worker.run())

    async def all_submitted() -> bool:
        return (await mill.states(cancelled), await mill.states(other)) == ({"submitted": 3}, {"submitted": 1})

    await mill.until(all_submitted)
    async with mill.database.begin() as session:
        await runs.cancel(session, cancelled)
    for _ in range(3):
        await asyncio.wait_for(engine.asked.acquire(), 20)
    before = await _lease_until(mill, other)

    async def renewed() -> bool:
        return await _lease_until(mill, other) > before

    await mill.until(renewed, 20)
    worker.abandon()
    await asyncio.wait_for(job, 20)
    assert await mill.attempts(other) == []
    assert await mill.states(cancelled) == {"cancelled": 3}


async def _lease_until(mill: Mill, run: int) -> Any:
    async with mill.database.begin() as session:
        return await session.scalar(text("select lease_until from task where run_id = :run"), {"run": run})


def _worker(mill: Mill, url: str, functions: Any, **pace: Any) -> Worker:
    """A worker whose way to the database is its own."""

    async def address() -> str:
        return url

    return Mill(Database(address), mill.documents).worker(functions, **{"lease": 600.0, "poll": 0.05} | pace)


async def test_results_are_not_handed_in_twice_when_closing_their_run_is_cut(
    mill: Mill, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is closed soon all the same, and not with the next look at what others lost, which is 20 s away."""
    run = await mill.start(items=1, steps=["a"], functions={"f": same}, use=["f"])
    begun = asyncio.Event()

    def begin(document: Json, parameters: Json) -> Json:
        begun.set()
        return document

    async with proxied(database_url) as proxy:
        proxy.cut_after = lambda said: begun.is_set() and b"lock_open_runs" in said and proxy.cuts < 4
        worker = _worker(mill, proxy.url, {"f": begin})
        async with working(worker):
            await mill.until(mill.finished(run), 15)
        assert proxy.cuts == 4
    assert worker.steps_finished == 1
    assert "came late" not in capsys.readouterr().out


async def test_what_was_claimed_is_kept_when_asking_for_its_app_is_cut(mill: Mill, database_url: str) -> None:
    run = await mill.start(items=3, steps=["a"], functions={"f": same}, use=["f"])
    async with proxied(database_url) as proxy:
        proxy.cut_after = lambda said: b"workers.specs" in said and proxy.cuts < 1
        async with working(_worker(mill, proxy.url, {"f": same})):
            await mill.until(mill.finished(run))
        assert proxy.cuts == 1
    assert [(task["state"], task["fence"]) for task in await mill.tasks(run)] == [("done", 1)] * 3


async def test_what_was_claimed_unheard_is_given_back_by_a_worker_that_leaves(mill: Mill, database_url: str) -> None:
    looked, given = asyncio.Event(), asyncio.Event()

    def note(said: bytes) -> bool:
        if b"tasks.adopt" in said:
            looked.set()
        return False

    def lose(said: bytes) -> bool:
        if b"item-0" in said:
            given.set()
        if not given.is_set() or COMMITTED not in said or proxy.cuts:
            return False
        worker.stop()
        return True

    async with proxied(database_url) as proxy:
        worker = _worker(mill, proxy.url, {"f": same})
        proxy.cut_after, proxy.lose_answer = note, lose
        job = asyncio.create_task(worker.run())
        await asyncio.wait_for(looked.wait(), 60)  # from here on only claims commit
        run = await mill.start(items=1, steps=["a"], functions={"f": same}, use=["f"], tries=1)
        await asyncio.wait_for(job, 60)
        assert proxy.cuts == 1
    (task,) = await mill.tasks(run)
    assert (task["state"], task["tries"]) == ("waiting", 0)
    assert task["fence"] == 1, "it was claimed"


async def test_a_worker_that_leaves_is_not_kept_from_it_by_a_cut(mill: Mill, database_url: str) -> None:
    begun = asyncio.Event()

    async def endless(document: Json, parameters: Json) -> Json:
        begun.set()
        await asyncio.Event().wait()
        return document

    run = await mill.start(items=1, steps=["a"], functions={"f": endless}, use=["f"])
    async with proxied(database_url) as proxy:
        proxy.cut_after = lambda said: b"tasks.release" in said and proxy.cuts < 1
        worker = _worker(mill, proxy.url, {"f": endless})
        job = asyncio.create_task(worker.run())
        await asyncio.wait_for(begun.wait(), 60)
        worker.abandon()
        await asyncio.wait_for(job, 60)
        assert proxy.cuts == 1
    assert await mill.states(run) == {"waiting": 1}
    async with mill.database.begin() as session:
        assert await session.scalar(text("select count(*) from worker where stopped_at is null")) == 0
