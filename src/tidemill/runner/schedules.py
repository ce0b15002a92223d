"""Doing what schedules say, when it is due: a run is started, a source is read.

A run's start, its result, and the next time are one transaction on the schedule's row. A source may take long to read:
that is done outside of any transaction, under a lock of the schedule that goes with its process, and the result and the
next time are noted afterwards. So however many processes there are and whichever dies, each time is done once. Times
that passed while nobody was there are done once, at the next chance. What fails says so, and comes again at its next
time.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psycopg
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row, fetch, fetch_one, translated
from tidemill.db.queries import sql
from tidemill.errors import Conflict, DatabaseUnavailable, NotFound, TidemillError
from tidemill.pipelines.schedules import get, next_time
from tidemill.runner import runs
from tidemill.runner.housekeeping import Duty
from tidemill.storage.documents import DocumentStore

log = structlog.get_logger()

Sync = Callable[[str], Awaitable[str]]
"""Reads a source by its name; what it found, in words."""

LATE = 60.0
"""Seconds after its time from which something is said to be late."""

MOST_MISSED = 1000


@dataclass(frozen=True, slots=True)
class Doer:
    """Does what schedules say."""

    documents: DocumentStore
    sync: Sync

    def duties(self) -> tuple[Duty, ...]:
        """What a housekeeper does about schedules: it looks every second, since that is how exact they are. Reading
        sources is a duty of its own, so that no run waits for a long listing."""
        wakes = frozenset({"schedules"})
        return (
            Duty("schedules", self.start_due, every=1.0, wakes=wakes),
            Duty("scheduled syncs", self.sync_due, every=1.0, wakes=wakes),
        )

    async def start_due(self, database: Database) -> None:
        """Start all runs that are due, one after another."""
        while await self._start_next(database):
            pass

    async def sync_due(self, database: Database) -> None:
        """Read all sources that are due, each as long as it takes; what becomes due meanwhile as well."""
        at_work: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                async with database.begin() as session:
                    due = await fetch(session, "schedules.due_syncs")
                for row in due:
                    if row["id"] not in at_work:
                        at_work[row["id"]] = asyncio.create_task(self._sync_in_time(database, row["id"]))
                if not at_work:
                    return
                done, _ = await asyncio.wait(at_work.values(), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                at_work = {key: task for key, task in at_work.items() if task not in done}
                for task in done:
                    task.result()
        finally:
            for task in at_work.values():
                task.cancel()
            await asyncio.gather(*at_work.values(), return_exceptions=True)

    async def run_now(self, database: Database, name: str) -> str:
        """Do a schedule at once, paused or not; its result. Its next time stays. Raises NotFound, and Conflict where it
        is being done already."""
        async with database.begin() as session:
            row = await get(session, name)
            if "sync" not in row["action"]:
                return await self._start_now(session, name)
        async with _alone(database, row["id"]) as alone:
            if not alone:
                raise Conflict(f"Schedule {name!r} is being done already.", hint="Wait until that is finished.")
            result = f"{await self._told(row, self.sync(row['action']['sync']))} (asked for by a person)"
            async with database.begin() as session:
                await fetch(session, "schedules.synced", {"id": row["id"], "result": result, "was": None, "next": None})
        return result

    async def _start_now(self, session: AsyncSession, name: str) -> str:
        row = await fetch_one(session, "schedules.named", {"name": name})
        if row is None:
            raise NotFound(f"There is no schedule named {name!r} any more.")
        result = f"{await self._started(session, row)} (asked for by a person)"
        await fetch(session, "schedules.done", {"id": row["id"], "result": result, "next_at": row["next_at"]})
        return result

    async def _start_next(self, database: Database) -> bool:
        async with database.begin() as session:
            row = await fetch_one(session, "schedules.due_start")
            if row is None:
                return False
            result = await self._started(session, row) + lateness(row)
            following = next_time(row["cron"], row["zone"], row["now"])
            await fetch(session, "schedules.done", {"id": row["id"], "result": result, "next_at": following})
        log.info("schedule done", schedule=row["name"], result=result)
        return True

    async def _sync_in_time(self, database: Database, schedule: int) -> None:
        """Read a schedule's source, unless another process is at it, or has been since it was seen to be due."""
        async with _alone(database, schedule) as alone:
            if not alone:
                return
            async with database.begin() as session:
                row = await fetch_one(session, "schedules.still_due", {"id": schedule})
            if row is None:
                return
            result = await self._told(row, self.sync(row["action"]["sync"])) + lateness(row)
            async with database.begin() as session:
                following = next_time(row["cron"], row["zone"], row["now"])
                told = {"id": row["id"], "result": result, "was": row["next_at"], "next": following}
                await fetch(session, "schedules.synced", told)
        log.info("schedule done", schedule=row["name"], result=result)

    async def _started(self, session: AsyncSession, row: Row) -> str:
        """Start it, or undo what was begun of it and say why it failed."""

        async def start() -> str:
            async with session.begin_nested():
                run = await runs.start(session, self.documents, runs.Start(**row["action"]["start"]))
                total = (await runs.get(session, run))["total"]
            return f"started run {run} with {total:,} {'item' if total == 1 else 'items'}"

        return await self._told(row, start())

    async def _told(self, row: Row, work: Awaitable[str]) -> str:
        """What came of it, in words, or why it failed."""
        try:
            return await work
        except DatabaseUnavailable:
            raise
        except Conflict as error:
            return f"nothing was {'read' if 'sync' in row['action'] else 'started'}: {error.message}"
        except TidemillError as error:
            return f"failed: {error.message}"
        except Exception as error:  # it must not keep the others from being done, again and again
            log.exception("a schedule failed", schedule=row["name"])
            return f"failed: {type(error).__name__}: {error}"


@asynccontextmanager
async def _alone(database: Database, schedule: int) -> AsyncIterator[bool]:
    """Whether nobody else is doing a schedule; within, nobody else can. The lock goes with its connection."""
    connection = await database.connect()
    async with connection:
        with translated():
            cursor = await connection.execute(sql("schedules.alone").encode(), {"id": schedule})
            row = await cursor.fetchone()
        try:
            yield row is not None and row["alone"]
        finally:
            with suppress(psycopg.Error):  # a connection that is closed gives it back only when the server notices
                await connection.execute(sql("schedules.free").encode(), {"id": schedule})


def lateness(row: Row) -> str:
    """Words for what was due long ago: when it was, and how many times since then were left out."""
    due, now = row["next_at"], row["now"]
    if (now - due).total_seconds() < LATE:
        return ""
    missed, then = 0, due
    while missed < MOST_MISSED and (then := next_time(row["cron"], row["zone"], then)) <= now:
        missed += 1
    told = f"it was due at {due.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    if missed:
        number = f"{'more than ' if missed == MOST_MISSED else ''}{missed:,}"
        told += f", and once stands for {number} later {'time' if missed == 1 else 'times'} as well"
    return f" (late: {told})"
