"""Taking a project away: its items that stand in no other, and what is known of its packages. Files of sources stay."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class Touched:
    """What goes, or went, with a project, and what stays."""

    project: str
    locked: bool
    items: int
    """Items that go."""
    items_elsewhere: int
    """Items that stay, since they stand in another project, too."""
    items_with_history: int
    """Items that stay, without project and without what its tables said of them: something was done to them, and that
    stays on record."""
    files: int
    """Original files that stay in the catalogue, and belong to no project until the next sync."""
    downloads: int
    """How often its packages were downloaded; the record of that goes with them."""
    computed_files: list[Row] = field(default_factory=list)
    """Packages whose objects may still lie in their stores, and which are not touched here: `id, package, name, store,
    key, size, replaced_at`."""


async def touches(session: AsyncSession, project: str) -> Touched:
    """What would go with a project. Raises NotFound."""
    found = await fetch_one(session, "purge.hold", {"name": project})
    if found is None:
        raise NotFound(f"There is no project named {project!r}.")
    params = {"project": found["id"]}
    counts = await fetch_one(session, "purge.touches", params)
    assert counts is not None
    return Touched(
        found["name"], found["locked"], **counts, computed_files=await fetch(session, "purge.computed_files", params)
    )


async def purge(session: AsyncSession, project: str, *, locked: bool = False) -> Touched:
    """Take a project away, and say what went. A sync and a load bring it back, if its source still has it.

    Raises NotFound; Conflict if it is locked, unless `locked` says that it may be.
    """
    touched = await touches(session, project)
    if touched.locked and not locked:
        raise Conflict(
            f"Project {project!r} is locked.",
            hint="Its lock file in the source, or somebody, locked it; unlock it first.",
        )
    found = await fetch_one(session, "purge.hold", {"name": project})
    assert found is not None
    params = {"project": found["id"]}
    for statement in ("remove_computed_files", "remove_items", "remove_project"):
        await fetch(session, f"purge.{statement}", params)
    return touched
