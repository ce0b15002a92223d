"""Projects: which there are, which items stand in them, and whether they are locked."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import Conflict, NotFound
from tidemill.pipelines.names import check_name


async def listing(session: AsyncSession) -> list[Row]:
    """All projects in order of name: `id, name, title, locked, metadata, created_at, items` (how many)."""
    return await fetch(session, "catalogue.projects")


async def lock(session: AsyncSession, name: str, locked: bool = True) -> None:
    """A locked project takes no more items. Raises NotFound."""
    if await fetch_one(session, "catalogue.lock_project", {"name": name, "locked": locked}) is None:
        raise NotFound(f"There is no project named {name!r}.")


async def place(session: AsyncSession, pairs: Sequence[tuple[str, str]]) -> None:
    """Put items into projects: (project, item) by name. Projects are made where they do not exist.

    Raises Conflict for a locked project, InvalidInput for a name that cannot be one.
    """
    if not pairs:
        return
    names = orjson.dumps(sorted({check_name("a project", project) for project, _ in pairs})).decode()
    locked = await fetch(session, "catalogue.locked", {"names": names})
    if locked:
        raise Conflict(f"Locked projects take no items: {', '.join(row['name'] for row in locked)}.")
    await fetch(session, "catalogue.add_projects", {"names": names})
    listed = [{"project": project, "item": item} for project, item in pairs]
    await fetch(session, "catalogue.place_items", {"pairs": orjson.dumps(listed).decode()})
