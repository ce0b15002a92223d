"""Purging a project: the project with its items (`catalogue.purge`), and all that was published of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import purge as catalogue
from tidemill.catalogue.purge import Touched
from tidemill.db.database import Row, fetch
from tidemill.runner import runs


@dataclass(frozen=True, slots=True)
class Purge:
    """What goes, or went, with a project."""

    touched: Touched
    in_hand: Sequence[Row]
    """Packages that are being made, or are to be: `name, task, run`. Their tasks are cancelled."""
    let_go: Sequence[int] = field(default=())
    """The computed files whose bytes are to be removed next (`removing.remove_replaced`)."""

    @property
    def objects(self) -> list[Row]:
        """The computed files whose bytes are one object, once: what was changed and changed back has the same bytes."""
        return list({(row["store"], row["key"]): row for row in self.touched.computed_files}.values())


async def preview(session: AsyncSession, project: str) -> Purge:
    """What `purge` would do. Raises NotFound."""
    touched = await catalogue.touches(session, project)
    return Purge(touched, await fetch(session, "computed_files.in_hand", {"project": project}))


async def purge(session: AsyncSession, project: str, *, delete: bool = False) -> Purge:
    """Take a project away with its packages; what was done in runs stays on record, and none of it is published again.

    `delete`: the bytes of its computed files are to go, too, which is for the caller to do once this is committed; a
    housekeeper does it later otherwise. Without it they stay where they are, and the site forgets them. Raises
    NotFound, Conflict (it is locked).
    """
    await fetch(session, "package_runs.alone")  # no run of its packages begins meanwhile
    found = await preview(session, project)
    for run in sorted({row["run"] for row in found.in_hand}):
        tasks = [row["task"] for row in found.in_hand if row["run"] == run]
        await runs.cancel(session, run, tasks, reason=f"the project {project} was purged")
    asked = {"project": project}
    await fetch(session, "computed_files.retire", asked)
    let_go = [row["id"] for row in await fetch(session, "computed_files.let_go", asked)] if delete else []
    await catalogue.purge(session, project)
    await runs.announce(session)
    return Purge(found.touched, found.in_hand, let_go)
