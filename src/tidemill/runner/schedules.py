"""Doing what schedules say, when it is due: a run is started, a source is read.

What is done, the result, and the next time are one transaction on the schedule's row: however many processes there are
and whichever dies, each time is done once. Times that passed while nobody was there are done once, at the next chance.
What fails says so, and comes again at its next time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row, fetch, fetch_one
from tidemill.errors import Conflict, DatabaseUnavailable, NotFound, TidemillError
from tidemill.pipelines.schedules import get, next_time
from tidemill.runner import runs
from tidemill.runner.housekeeping import Duty
from tidemill.storage.documents import DocumentStore

log = structlog.get_logger()

Sync = Callable[[AsyncSession, str], Awaitable[str]]
"""Reads a source by its name; what it found, in words."""

LATE = 60.0
"""Seconds after its time from which something is said to be late."""

MOST_MISSED = 1000


@dataclass(frozen=True, slots=True)
class Doer:
    """Does what schedules say."""

    documents: DocumentStore
    sync: Sync

    def duty(self) -> Duty:
        """What a housekeeper does about schedules: it looks every second, since that is how exact they are."""
        return Duty("schedules", self.do_due, every=1.0, wakes=frozenset({"schedules"}))

    async def do_due(self, database: Database) -> None:
        """Do all that is due, one after another."""
        while await self._do_next(database):
            pass

    async def run_now(self, session: AsyncSession, name: str) -> str:
        """Do a schedule at once, paused or not; its result. Its next time stays. Raises NotFound."""
        await get(session, name)
        row = await fetch_one(session, "schedules.named", {"name": name})
        if row is None:
            raise NotFound(f"There is no schedule named {name!r} any more.")
        result = f"{await self._result(session, row)} (asked for by a person)"
        await fetch(session, "schedules.done", {"id": row["id"], "result": result, "next_at": row["next_at"]})
        return result

    async def _do_next(self, database: Database) -> bool:
        async with database.begin() as session:
            row = await fetch_one(session, "schedules.due")
            if row is None:
                return False
            result = await self._result(session, row) + lateness(row)
            following = next_time(row["cron"], row["zone"], row["now"])
            await fetch(session, "schedules.done", {"id": row["id"], "result": result, "next_at": following})
        log.info("schedule done", schedule=row["name"], result=result)
        return True

    async def _result(self, session: AsyncSession, row: Row) -> str:
        """Do it, or undo what was begun of it and say why it failed."""
        try:
            async with session.begin_nested():
                return await self._act(session, row["action"])
        except DatabaseUnavailable:
            raise
        except Conflict as error:
            return f"nothing was started: {error.message}"
        except TidemillError as error:
            return f"failed: {error.message}"
        except Exception as error:  # it must not keep the others from being done, again and again
            log.exception("a schedule failed", schedule=row["name"])
            return f"failed: {type(error).__name__}: {error}"

    async def _act(self, session: AsyncSession, action: dict[str, Any]) -> str:
        if "sync" in action:
            return await self.sync(session, action["sync"])
        run = await runs.start(session, self.documents, runs.Start(**action["start"]))
        total = (await runs.get(session, run))["total"]
        return f"started run {run} with {total:,} {'item' if total == 1 else 'items'}"


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
