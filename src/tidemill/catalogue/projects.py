"""Projects: which there are, which items stand in them, and whether they are locked."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import NotFound


async def listing(session: AsyncSession) -> list[Row]:
    """All projects in order of name: `id, name, title, locked, metadata, created_at, items` (how many)."""
    return await fetch(session, "catalogue.projects")


async def lock(session: AsyncSession, name: str, locked: bool = True) -> None:
    """A locked project takes no more items. Raises NotFound."""
    if await fetch_one(session, "catalogue.lock_project", {"name": name, "locked": locked}) is None:
        raise NotFound(f"There is no project named {name!r}.")
