"""Watching runs and schedules when processes are killed, when there are several, and when their clocks are wrong."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.audit import audit, executed
from tests.faults.site_process import SiteProcess
from tests.watching import Watched

from tidemill.db.database import Database
from tidemill.pipelines import schedules
from tidemill.pipelines.schedules import ScheduleWish
from tidemill.storage.documents import DocumentStore

pytestmark = pytest.mark.fault

KILLS = 6


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Watched:
    mill = Watched(database, documents)
    await mill.pipeline("chain", ["f", "big"])
    return mill


async def test_housekeepers_killed_while_items_enter_lose_and_double_nothing(
    mill: Watched, database_url: str, tmp_path: Path
) -> None:
    run = await mill.watch()
    folder, log = tmp_path / "documents", tmp_path / "log"
    processes = [SiteProcess(database_url, folder, log, chunk=7) for _ in range(2)]
    try:
        for kill in range(KILLS):
            before = sum((await mill.states(run)).values())
            await mill.add(*(f"bulk-{kill}-{n}" for n in range(25)))
            for n in range(5):
                await mill.add(f"single-{kill}-{n}")

            async def some_entered(before: int = before) -> bool:
                return sum((await mill.states(run)).values()) > before + random.randrange(20)

            await mill.until(some_entered)
            processes.pop(random.randrange(2)).kill()
            processes.append(SiteProcess(database_url, folder, log, chunk=7))
        await mill.until_states(run, {"done": 30 * KILLS}, seconds=60)
    finally:
        for process in processes:
            process.kill()
    assert await audit(mill.database, mill.documents, run) == {"done": 30 * KILLS}
    remembered = await mill.sql("select position from batch_item order by position")
    assert [row["position"] for row in remembered] == list(range(30 * KILLS))


async def test_what_came_while_every_process_was_dead_is_done_once_by_two_that_come_back(
    mill: Watched, database_url: str, tmp_path: Path
) -> None:
    run = await mill.watch()
    folder, log = tmp_path / "documents", tmp_path / "log"
    first = SiteProcess(database_url, folder, log, lease=20)
    await mill.add("before")
    await mill.until_states(run, {"done": 1})
    first.kill()
    await mill.add("while", "down")
    both = [SiteProcess(database_url, folder, log, lease=20) for _ in range(2)]
    try:
        await mill.until_states(run, {"done": 3})
    finally:
        for process in both:
            process.kill()
    assert executed(log) == Counter({(name, step): 1 for name in ("before", "while", "down") for step in ("f", "big")})


async def test_clocks_that_are_ten_minutes_off_change_nothing(mill: Watched, database_url: str, tmp_path: Path) -> None:
    """Of two processes one is ten minutes ahead and one behind, with leases of twenty seconds: nothing is taken from
    anybody, nothing waits, nothing is due before its time."""
    run = await mill.watch()
    folder, log = tmp_path / "documents", tmp_path / "log"
    async with mill.database.begin() as session:
        due = {"start": {"batch": "all", "pipeline": "chain", "only_not_done": True}}
        for name in ("now", "in-five-minutes"):
            await schedules.define(session, ScheduleWish(name, "0 0 1 1 *", "UTC", due))
    await mill.sql("update schedule set next_at = now() where name = 'now'")
    await mill.sql("update schedule set next_at = now() + interval '5 minutes' where name = 'in-five-minutes'")
    processes = [SiteProcess(database_url, folder, log, lease=20, shift=shift) for shift in (600, -600)]
    try:

        async def both_there() -> bool:
            return len(await mill.sql("select from worker")) == 2

        await mill.until(both_there)
        told = [float(clock) - time.time() for clock in (tmp_path / "clocks").read_text().split()]
        await mill.add(*(f"item-{n}" for n in range(40)))
        await mill.until_states(run, {"done": 40})
        await mill.sql("update task set state = 'waiting', due_at = now() + interval '5 minutes', finished_at = null "
                       "where position = 0")  # fmt: skip
        await mill.add("later")
        await mill.until_states(run, {"done": 40, "waiting": 1})

        async def done() -> bool:
            rows = await mill.sql("select from schedule where name = 'now' and last_at is not null")
            return bool(rows)

        await mill.until(done)
    finally:
        for process in processes:
            process.kill()
    assert sorted(round(off, -2) for off in told) == [-600, -600, 600, 600]
    assert set(executed(log).values()) == {1}
    outcomes = Counter(attempt["outcome"] for attempt in await mill.attempts(run))
    assert outcomes == {"done": 82}
    (attempts,) = await mill.sql(
        "select max(abs(extract(epoch from now() - started_at))) < 120 as started, "
        "max(abs(extract(epoch from now() - finished_at))) < 120 as finished from attempt"
    )
    assert attempts == {"started": True, "finished": True}
    rows = await mill.sql("select last_at, next_at > now() as ahead from schedule order by name")
    assert [row["last_at"] is None for row in rows] == [True, False]
    assert all(row["ahead"] for row in rows)
