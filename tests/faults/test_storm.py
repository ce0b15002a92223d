"""Everything at once: workers that die and come back, cut connections, and a person who changes their mind."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.faults.audit import audit
from tests.faults.worker_process import WorkerProcess, steps
from tests.site import Mill

from tidemill.db.database import Database
from tidemill.errors import Conflict, DatabaseUnavailable
from tidemill.runner import redo, runs
from tidemill.storage.documents import DocumentStore

pytestmark = pytest.mark.fault

ACTS = 50
SURELY = {"rerun", "cancel", "retry"}


class Person:
    """Does at random what a person can do to a run; each act is one transaction, and may be refused."""

    def __init__(self, mill: Mill, run: int) -> None:
        self._mill, self._run = mill, run
        self.did: Counter[str] = Counter()

    async def act(self, name: str | None = None) -> None:
        name = name or random.choice(["cancel", "retry", "rerun", "pause", "promote", "prioritise"])
        with suppress(Conflict):
            async with self._mill.database.begin() as session:
                await getattr(self, f"_{name}")(session)
            self.did[name] += 1

    async def _some(self, session: Any, share: float = 0.1) -> list[int]:
        found = await session.scalars(
            text("select id from task where run_id = :run and random() < :share"), {"run": self._run, "share": share}
        )
        return list(found)

    async def _cancel(self, session: Any) -> None:
        await runs.cancel(session, self._run, await self._some(session))

    async def _retry(self, session: Any) -> None:
        await redo.retry(session, self._run, redo.Filter(states=["failed", "cancelled"]))

    async def _rerun(self, session: Any) -> None:
        which = redo.Filter(tasks=await self._some(session))
        await redo.rerun(session, self._run, random.randrange(3), which, reuse=random.random() < 0.5)

    async def _pause(self, session: Any) -> None:
        await runs.pause(session, self._run)
        await runs.pause(session, self._run, paused=False)

    async def _prioritise(self, session: Any) -> None:
        await runs.prioritise(session, self._run, random.randrange(10))

    async def _promote(self, session: Any) -> None:
        late = await session.execute(
            text("select a.task_id, a.fence from attempt a join task t on t.id = a.task_id and t.run_id = :run "
                 "where a.outcome = 'late' order by random() limit 1"), {"run": self._run},
        )  # fmt: skip
        for task, fence in late.all():
            await redo.promote(session, task, fence)


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


async def test_a_storm_of_faults_and_changes_of_mind_leaves_every_record_whole(
    mill: Mill, database_url: str, tmp_path: Path
) -> None:
    log, folder = tmp_path / "log", tmp_path / "documents"
    functions = steps(log, 0.01)
    run = await mill.start(
        items=120, steps=["a", "b", "c"], functions=functions, use=["f", "big", "f"], tries=50, backoff=0.01
    )
    person = Person(mill, run)
    workers = [WorkerProcess(f"{database_url}?application_name=cut%20me", folder, log, lease=0.7) for _ in range(2)]
    try:
        async with mill.working(functions, slots=20, lease=0.7, poll=0.05):
            for number in range(ACTS):
                await person.act()
                await asyncio.sleep(random.uniform(0, 0.08))
                if number % 20 == 10:
                    workers.pop(0).kill()
                    workers.append(WorkerProcess(f"{database_url}?application_name=cut%20me", folder, log, lease=0.7))
                if number % 8 == 0:
                    await _cut(mill)
                if number % 20 == 15:
                    await _expire_something(mill)
                await audit(mill.database, mill.documents, run) if number % 10 == 9 else None
            while not set(person.did) >= SURELY:  # chance may have left one out
                for name in SURELY:
                    await person.act(name)
            await mill.until(mill.finished(run), seconds=60)
    finally:
        for worker in workers:
            worker.kill()
    states = await audit(mill.database, mill.documents, run)
    assert set(states) <= {"done", "cancelled"}
    assert sum(states.values()) == 120


async def _cut(mill: Mill) -> None:
    with suppress(DatabaseUnavailable):
        async with mill.database.begin() as session:
            await session.execute(
                text(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where application_name = 'cut me' and datname = current_database()"
                )
            )


async def _expire_something(mill: Mill) -> None:
    """As if some workers had been frozen for longer than a lease."""
    async with mill.database.begin() as session:
        late = "update task set lease_until = now() - interval '1 s' where state = 'running' and random() < 0.5"
        await session.execute(text(late))
