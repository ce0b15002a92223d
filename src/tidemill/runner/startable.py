"""How many items of a batch a start would take in, before it is started."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch_one


async def startable(session: AsyncSession, batch: str, pipeline: str) -> int:
    """How many items of a batch `runs.start` with `only_not_done` would take in now: those that this pipeline has not
    done and is not doing."""
    row = await fetch_one(session, "startable.count", {"batch": batch, "pipeline": pipeline})
    return int(row["items"]) if row else 0
