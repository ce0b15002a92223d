"""One project as its tables describe it, in one transaction: made or changed as a whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue.metadata_items import Items
from tidemill.catalogue.metadata_records import Records, Shelf
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.collecting import Collect
from tidemill.domain.stored_json import written

CREATED, CHANGED, UNCHANGED, SKIPPED, LOCKED = "created", "changed", "unchanged", "skipped", "locked"
UNNAMED = "unnamed"
"""No table names it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What may be written, and what is gathered."""

    existing: bool = False
    locked: bool = False
    item_collects: Sequence[Collect] = ()
    project_collects: Sequence[Collect] = ()

    def verdict(self, *, loaded: bool, locked: bool) -> str | None:
        """Why a project is left alone; None: it is not."""
        if locked:
            return None if self.locked else LOCKED
        return SKIPPED if loaded and not self.existing else None


@dataclass(slots=True)
class ProjectReport:
    """What became of one project; its name is None for the items of no project."""

    project: str | None
    outcome: str = UNCHANGED
    items: int = 0
    """Items that its tables name; of these so many were `created`, so many `changed`."""
    created: int = 0
    changed: int = 0
    placed: int = 0
    """Items that came into the project."""
    parts: int = 0
    left: list[str] = field(default_factory=list)
    """Items that its tables no longer name, and that are no longer in it."""
    kept: list[str] = field(default_factory=list)
    """Items that its tables no longer name, and that are still in it because files of it belong to them."""


async def write_project(
    session: AsyncSession, name: str | None, records: Records, wish: Wish, done: Callable[[int], None] = lambda _: None
) -> ProjectReport:
    """Write what the tables say of one project, unless somebody has locked or loaded it meanwhile.

    `done` is told now and then of how many of its items it is known what becomes of them.
    """
    report, shelf = ProjectReport(name), records.shelves[name]
    project, loaded = None, False
    await fetch(session, "metadata.plan_by_index")
    if name is not None:
        row = await _held(session, name)
        project, loaded = int(row["id"]), row["described"] is not None
        if left_alone := wish.verdict(loaded=loaded, locked=row["locked"]):
            report.outcome = left_alone
            return report
    names = sorted(shelf.names())
    report.items, report.parts = len(names), len(shelf.part_ids)
    items = Items(session, project, records, shelf, wish.item_collects, done)
    told = await items.write(names, known=loaded or project is None)
    report.created, report.changed, report.placed = told.created, told.changed, told.placed
    report.left, report.kept = list(told.left), list(told.kept)
    changed = project is not None and await _project(session, project, records, shelf, wish)
    moved = report.created or report.changed or report.placed or report.left or report.kept
    report.outcome = CHANGED if changed or moved else UNCHANGED
    if not loaded and project is not None:
        report.outcome = CREATED
    return report


async def _held(session: AsyncSession, name: str) -> Row:
    """The project as it stays until the transaction ends; made, if there is none."""
    row = await fetch_one(session, "metadata.hold_project", {"name": name})
    if row is None:
        await fetch(session, "metadata.make_project", {"name": name})
        row = await fetch_one(session, "metadata.hold_project", {"name": name})
    assert row is not None
    return row


async def _project(session: AsyncSession, project: int, records: Records, shelf: Shelf, wish: Wish) -> bool:
    """Write the project's own metadata; whether anything of it changed."""
    put: dict[str, Any] = {}
    for found in records.all_of(shelf.own):
        put |= json.loads(found.metadata)
    title = put.pop("title", None)
    if wish.project_collects:
        params = {"project": project, "collects": _asked(wish.project_collects)}
        rows = {row["field"]: row for row in await fetch(session, "metadata.project_values", params)}
        put |= {one.field: _value(one, rows[one.field]) for one in wish.project_collects}
    params = {"project": project, "title": title if isinstance(title, str) else None, "put": written(put)}
    row = await fetch_one(session, "metadata.write_project", params)
    return row is not None and bool(row["changed"])


def _asked(collects: Sequence[Collect]) -> str:
    return written([one.asked() for one in collects])


def _value(collect: Collect, row: Row) -> Any:
    return collect.value(row["values"], row["n"])
