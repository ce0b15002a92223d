"""Watching runs: every item that matches a watch's condition enters its run, whenever it came.

Two duties. *Watch* looks at what changed since the database snapshot that the watch has seen, and stores the new one in
the transaction in which the items enter: so no change is skipped, whichever order transactions commit in, and a kill at
any moment loses and doubles nothing. *Sweep* looks at all items, by query: at the start of a process, every hour, when
a condition is new or changed, when changes were pruned unseen, and when too many changed at once. What either finds
again has entered already, since the watch's batch remembers it.

A task whose item no longer matches is held, and released when it matches again; its reason begins with `MARK`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row, fetch, fetch_one
from tidemill.domain.conditions import Condition
from tidemill.errors import DatabaseUnavailable
from tidemill.runner import runs
from tidemill.runner.entering import Entrance
from tidemill.runner.housekeeping import Duty, alone
from tidemill.runner.watch_condition import facts, predicate
from tidemill.storage.documents import DocumentStore

log = structlog.get_logger()

CHUNK = 2000
"""Items that enter in one transaction."""

HELD_CHUNK = 10_000
"""Tasks that are held or released in one transaction of a sweep."""

OLD = 10_000
"""Transactions after which a watch takes note that it has seen them though none of them was about items."""

AT_ONCE = 4
"""Watches that are looked at at the same time."""

MARK = "no longer matches: "


def duties(documents: DocumentStore) -> tuple[Duty, Duty]:
    """What a housekeeper does about watching runs."""
    watching = Watching(documents)
    return (
        Duty("watch", watching.look, every=5.0, wakes=frozenset({"items", "watch"})),
        Duty("sweep", watching.sweep_due, every=10.0, wakes=frozenset({"watch"})),
    )


@dataclass(slots=True)
class Watching:
    """The two duties; several processes may do them at the same time, only one acts."""

    documents: DocumentStore
    _begun: bool = False
    _entrances: dict[str, tuple[tuple[int, int], Entrance]] = field(default_factory=dict)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def look(self, database: Database) -> None:
        """Let enter what has changed, in every watch."""
        names = [row["name"] for row in await _active(database) if row["followed"]]
        await _each(names, *(self._look(database, name) for name in names))

    async def sweep_due(self, database: Database) -> None:
        """Sweep the watches for which it is time; once in the life of a process, all that were not just swept."""
        names = [row["name"] for row in await _active(database, again=not self._begun) if row["sweep"]]
        for name in names:
            await _each([name], self.sweep(database, name))
        self._begun = True

    async def sweep(self, database: Database, name: str) -> None:
        """Look at all items, some thousands in a transaction. A condition that changes meanwhile begins anew."""
        async with database.begin() as guard:  # an open transaction that holds nothing but a lock: who else, is told no
            if await alone(guard, f"sweep {name}"):
                while not await self._swept(database, name):
                    pass

    async def _look(self, database: Database, name: str) -> None:
        async with self._room, database.begin() as session:
            watch = await _taken(session, "watch.try_take", name)
            if watch is None or watch["seen"] is None:
                return
            parts, params = predicate(Condition.stored(watch["condition"]))
            asked = params | _about(watch) | {"seen": watch["seen"], "most": CHUNK}
            found = await fetch_one(session, "watch.changed", asked, parts)
            assert found is not None
            if found["touched"] > CHUNK:  # a sweep does it, in several transactions
                await fetch(session, "watch.saw", {"run": watch["run_id"], "seen": found["seen"], "sweep": True})
                await fetch(session, "watch.wake")
                return
            if found["enter"]:
                await self._enter(session, watch, found["enter"])
            if found["tasks"]:
                await _hold_or_release(session, watch, found["tasks"])
            if found["touched"] or found["distance"] > OLD:
                await fetch(session, "watch.saw", {"run": watch["run_id"], "seen": found["seen"], "sweep": False})

    async def _swept(self, database: Database, name: str) -> bool:
        """One sweep by the condition as it stands now; whether it came to its end, or there is nothing to sweep."""
        async with database.begin() as session:
            watch = await _taken(session, "watch.take", name)
            if watch is None:
                return True
            await fetch(session, "watch.sweep_begins", {"run": watch["run_id"]})
        parts, params = predicate(Condition.stored(watch["condition"]))
        for statement, most in (("watch.missing", CHUNK), ("watch.astray", HELD_CHUNK)):
            after: int | None = 0
            while after is not None:
                async with database.begin() as session:
                    now = await _taken(session, "watch.take", name)
                    if now is None or _changed(watch, now):
                        return now is None
                    asked = params | _about(now) | {"after": after, "n": most}
                    rows = await fetch(session, statement, asked, parts)
                    if statement == "watch.missing" and rows:
                        await self._enter(session, now, [row["id"] for row in rows])
                    elif rows:
                        await _hold_or_release(session, now, rows)
                after = rows[-1]["id"] if len(rows) == most else None
        async with database.begin() as session:
            await fetch(session, "watch.swept", {"run": watch["run_id"], "condition": watch["condition"]})
        return True

    async def _enter(self, session: AsyncSession, watch: Row, items: Sequence[int]) -> None:
        """These items enter the watch's run, behind the steps that another system has done."""
        make = await self._entrance(session, watch)
        records = await fetch(session, "workers.records", {"items": list(items)})
        rows = [await make.entrant(row, watch["position"] + n) for n, row in enumerate(records)]
        entrants = {"run": watch["run_id"], "batch": watch["batch_id"], "entrants": orjson.dumps(rows).decode()}
        for statement in ("watch.remember", "runs.enter", "watch.note_entered"):
            await fetch(session, statement, entrants)
        await runs.announce(session)
        log.info("items entered", watch=watch["name"], run=watch["run_id"], items=len(rows))

    async def _entrance(self, session: AsyncSession, watch: Row) -> Entrance:
        """What makes documents for this watch's run; known as long as its apps stay as they are."""
        key = watch["pipeline_version_id"], watch["apps"]
        if self._entrances.get(watch["name"], (None, None))[0] != key:
            made = Entrance(self.documents, await runs.chain(session, watch["pipeline_version_id"]))
            self._entrances[watch["name"]] = key, made
        return self._entrances[watch["name"]][1]


async def _hold_or_release(session: AsyncSession, watch: Row, tasks: Sequence[Row]) -> None:
    """Tasks whose items match go on, the others are held; `tasks`: `id`, `item`, `matches`."""
    if free := [task["id"] for task in tasks if task["matches"]]:
        await fetch(session, "watch.release", {"tasks": free, "mark": MARK})
    if astray := [task for task in tasks if not task["matches"]]:
        condition = Condition.stored(watch["condition"])
        known = await facts(session, [task["item"] for task in astray])
        held = []
        for task in astray:
            reasons = condition.missed(known[task["item"]]) if task["item"] in known else ["the item is gone"]
            if reasons:  # none: it was changed again meanwhile, and that comes up next
                held.append({"task": task["id"], "reason": MARK + "; ".join(reasons)})
        await fetch(session, "watch.hold", {"tasks": orjson.dumps(held).decode()})
    await runs.announce(session)


async def _each(names: Sequence[str], *work: Awaitable[None]) -> None:
    """Do it for every watch. One that fails is logged and comes again; it does not keep the others from being done."""
    for name, ended in zip(names, await asyncio.gather(*work, return_exceptions=True), strict=True):
        if isinstance(ended, DatabaseUnavailable | asyncio.CancelledError):
            raise ended
        if isinstance(ended, BaseException):
            log.error("a watching run failed", watch=name, exc_info=ended)


async def _active(database: Database, again: bool = False) -> list[Row]:
    async with database.begin() as session:
        return await fetch(session, "watch.active", {"again": again})


async def _taken(session: AsyncSession, statement: str, name: str) -> Row | None:
    """The watch of that name, its run held until the transaction ends; None: it takes in nothing now."""
    run = await fetch_one(session, statement, {"name": name})
    return await fetch_one(session, "watch.held", {"run": run["id"]}) if run else None


def _changed(one: Row, other: Row) -> bool:
    return any(one[key] != other[key] for key in ("run_id", "condition"))


def _about(watch: Row) -> dict[str, Any]:
    return {"name": watch["name"], "batch": watch["batch_id"], "mark": MARK}
