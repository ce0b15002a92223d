"""Taking away the bytes of packages that were replaced, once `publishing.keep_replaced` is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row, fetch, fetch_one
from tidemill.errors import TidemillError
from tidemill.publishing import objects
from tidemill.runner.housekeeping import Duty

log = structlog.get_logger()

CHUNK = 200
KEEP_REPLACED = 86400.0
"""Seconds, where the site says nothing."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A computed file whose bytes are gone."""

    id: int
    name: str
    store: str
    key: str
    size: int


def removing() -> Duty:
    """The duty to take away what was replaced long enough ago, and datasets that have expired."""

    async def look(database: Database) -> None:
        await remove_replaced(database)

    return Duty("remove replaced packages", look, every=60.0)


async def remove_replaced(
    database: Database, *, at_once_below: str | None = None, at_once: Sequence[int] | None = None
) -> list[Removed]:
    """Take the bytes of replaced and expired files away; what went. None that a file in use names, nor one that a task
    in hand may be about to write anew. `at_once_below`: in stores whose URL begins so, without waiting;
    `at_once`: these files alone, without waiting.
    """
    removed: list[Removed] = []
    ids = None if at_once is None else list(at_once)
    objects_gone: set[tuple[str, str]] = set()
    after = 0
    async with database.begin() as session:
        site = await fetch_one(session, "package_runs.publishing")
    keep = float((site["publishing"] if site else {}).get("keep_replaced", KEEP_REPLACED))
    while True:
        async with database.begin() as session:
            asked = {"after": after, "keep": keep, "store": at_once_below, "ids": ids, "n": CHUNK}
            rows = await fetch(session, "computed_files.doomed", asked)
        for row in rows:
            try:
                async with database.begin() as session:
                    went = await _remove(session, row, keep if at_once is None else 0.0)
                if went and (row["store"], row["key"]) not in objects_gone:  # two may have had the same object
                    objects_gone.add((row["store"], row["key"]))
                    removed.append(Removed(*(row[key] for key in ("id", "name", "store", "key", "size"))))
            except TidemillError as error:
                log.warning("a replaced package cannot be removed", package=row["name"], why=error.message)
        if len(rows) < CHUNK:
            return removed
        after = rows[-1]["id"]


async def _remove(session: AsyncSession, row: Row, keep: float) -> bool:
    """Take one away; whether its bytes went. While it does, no task of the package can begin, nor be done again."""
    if row["item"] is not None:
        item = {"item": row["item"]}
        await fetch(session, "computed_files.hold", item)
        await fetch(session, "computed_files.hold_tasks", item)
        due = {"after": "", "items": [row["item"]], "n": 1}
        if await fetch(session, "computed_files.due", due, prepare=False):
            return False
    kept = await fetch_one(session, "computed_files.bystanders", {"file": row["id"], "keep": keep})
    if kept is None or kept["open"]:
        return False
    if not kept["named"]:
        await objects.remove(row["store"], row["options"], row["key"])
        log.info("replaced package removed", package=row["name"], key=row["key"], size=row["size"])
    await fetch(session, "computed_files.removed", {"file": row["id"]})
    return not kept["named"]
