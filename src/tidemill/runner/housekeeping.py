"""What a site does by itself, whoever works: each duty is looked at when something wakes it, and by the clock.

Every worker that has the database, and `tidemill up`, run one of these. A duty must bear company: it takes a lock of
its own in the database (`alone`) and does nothing where another process is at it. What wakes it is a hint; its query is
the truth, so it is also looked at every so many seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, fetch
from tidemill.errors import DatabaseUnavailable
from tidemill.feed import pruning
from tidemill.runner.link import DatabaseLink
from tidemill.runner.runs import announce

log = structlog.get_logger()

CROWDED = 500
"""Rows of tally above which those of a run are added up."""


@dataclass(frozen=True, slots=True)
class Duty:
    """`do` is called every `every` seconds, and at once when a notice of the work channel is among `wakes`."""

    name: str
    do: Callable[[Database], Awaitable[None]]
    every: float
    wakes: frozenset[str] = frozenset()


class Housekeeping:
    """Runs duties until cancelled. One that fails is logged and comes again; a lost database is waited for."""

    def __init__(self, database: Database, duties: Sequence[Duty]) -> None:
        self._database = database
        self._duties = duties
        self._woken = {duty.name: asyncio.Event() for duty in duties}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            for duty in self._duties:
                group.create_task(self._keep(duty))

    async def _keep(self, duty: Duty) -> None:
        woken = self._woken[duty.name]
        while True:
            woken.clear()
            try:
                await duty.do(self._database)
            except DatabaseUnavailable as error:
                log.warning("database unavailable", duty=duty.name, error=error.message)
                await asyncio.sleep(0.5)
                continue
            except Exception:
                log.exception("a duty failed", duty=duty.name)
            with suppress(TimeoutError):
                async with asyncio.timeout(duty.every):  # wait_for of Python 3.11 can swallow a cancellation
                    await woken.wait()

    async def _listen(self) -> None:
        link = DatabaseLink(self._database)
        while True:
            with suppress(DatabaseUnavailable):
                self._wake_all()  # whatever was said while nobody listened
                async for notice in link.notices():
                    for duty in self._duties:
                        if notice in duty.wakes:
                            self._woken[duty.name].set()
            await asyncio.sleep(0.5)

    def _wake_all(self) -> None:
        for woken in self._woken.values():
            woken.set()


async def alone(session: AsyncSession, name: str) -> bool:
    """Whether this transaction may do the duty called `name`: no other one is doing it, and none can until it ends."""
    locked = await session.scalar(text("select pg_try_advisory_xact_lock(hashtext(:name))"), {"name": f"duty {name}"})
    return bool(locked)


async def fold_tallies(database: Database) -> None:
    """Add up the tallies of runs that have many."""
    async with database.begin() as session:
        if await alone(session, "fold tallies"):
            await fetch(session, "tasks.fold", {"most": CROWDED})


async def expire(database: Database) -> None:
    """Make tasks whose lease ran out due again, also where no worker that has the database is there to see it."""
    async with database.begin() as session:
        if await alone(session, "expire") and await fetch(session, "tasks.expire"):
            await announce(session)


async def close_runs(database: Database) -> None:
    """Mark runs in which nothing is left to do as done."""
    async with database.begin() as session:
        held = [row["id"] for row in await fetch(session, "tasks.lock_open_runs")]
        if held and await fetch(session, "tasks.close_runs", {"runs": held}):
            await announce(session)


def prune_changes(days: int) -> Duty:
    """The duty to remove changes older than so many days, a chunk after the other. The log names readers that are no
    longer waited for."""

    async def prune(database: Database) -> None:
        removed, gone = 0, pruning.CHUNK
        while gone == pruning.CHUNK:
            async with database.begin() as session:
                if not await alone(session, "prune changes"):
                    return
                gone = await pruning.prune(session, days)
            removed += gone
        if removed:
            async with database.begin() as session:
                for name in await pruning.left_behind(session, days):
                    log.warning("a cursor has not moved for a year and is not waited for", cursor=name)
            log.info("changes pruned", changes=removed, older_than_days=days)

    return Duty("prune changes", prune, every=3600.0)


DUTIES = (
    Duty("fold tallies", fold_tallies, every=10.0),
    Duty("expire", expire, every=5.0),
    Duty("close runs", close_runs, every=5.0),
)
