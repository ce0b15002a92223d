"""Removing the oldest changes: never what a reader or a watching run has still to see, and never without a trace."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch, fetch_one
from tidemill.feed import changes

CHUNK = 10_000
STALE_DAYS = 365
"""A reader that has not moved for so long is not waited for any more."""


async def prune(session: AsyncSession, days: int) -> int:
    """Remove up to 10,000 of the oldest changes if they are older than so many days; how many were removed.

    From then on, whoever comes with a position before them is told so (`changes.read` raises ChangesGone).
    """
    before = (await changes.horizon(session))["before"]
    params = {"days": days, "stale": STALE_DAYS, "most": CHUNK, "before": before}
    row = await fetch_one(session, "feed.prune", params)
    return int(row["changes"]) if row else 0


async def left_behind(session: AsyncSession, days: int) -> list[str]:
    """Names of the readers that pruning no longer waits for, though changes are there that they have not seen."""
    rows = await fetch(session, "feed.held_back", {"days": max(days, STALE_DAYS)})
    return [str(row["name"]) for row in rows]
