"""One project as its tables describe it, in one transaction: made or changed as a whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue.metadata_composing import ROWS, Composed, chunks
from tidemill.catalogue.metadata_records import Records, Shelf
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.collecting import FILES, Collect
from tidemill.domain.stored_json import listed, written

MANY = 5000
"""New items above which the planner is told."""
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


async def write_project(session: AsyncSession, name: str | None, records: Records, wish: Wish) -> ProjectReport:
    """Write what the tables say of one project, unless somebody has locked or loaded it meanwhile."""
    report, shelf = ProjectReport(name), records.shelves[name]
    project, loaded = None, False
    await fetch(session, "metadata.plan_by_index")
    if name is not None:
        await fetch(session, "metadata.make_project", {"name": name})
        row = await fetch_one(session, "metadata.hold_project", {"name": name})
        assert row is not None
        project, loaded = int(row["id"]), row["described"] is not None
        if left_alone := wish.verdict(loaded=loaded, locked=row["locked"]):
            report.outcome = left_alone
            return report
    report.parts = len(shelf.part_ids)
    names = sorted(shelf.names())
    await _items(session, project, names, records, shelf, wish, report)
    for gone in await fetch(session, "metadata.drop_items", {"project": project, "names": written(names)}):
        (report.kept if gone["stays"] else report.left).append(gone["name"])
    changed = project is not None and await _project(session, project, records, shelf, wish)
    moved = report.created or report.changed or report.placed or report.left or report.kept
    report.outcome = CHANGED if changed or moved else UNCHANGED
    if not loaded and project is not None:
        report.outcome = CREATED
    return report


async def _items(
    session: AsyncSession,
    project: int | None,
    names: list[str],
    records: Records,
    shelf: Shelf,
    wish: Wish,
    report: ProjectReport,
) -> None:
    made = await _new_items(session, project, await _missing(session, names), records, shelf, wish)
    report.created = report.items = len(made)
    if report.created > MANY:
        await fetch(session, "catalogue.analyze")
    await _count(session, "hold_items", {"names": written(names), "project": project})
    there = [name for name in names if name not in made] if made else names
    for chunk in chunks(records, shelf, wish.item_collects, there):
        rows = listed([one.row() for one in await _with_files(session, chunk, wish)])
        done = await fetch_one(session, "metadata.merge_items", {"rows": rows, "project": project})
        assert done is not None
        report.items += len(chunk)
        report.changed += done["changed"]
        report.placed += done["placed"]


async def _missing(session: AsyncSession, names: list[str]) -> list[str]:
    """Those that are no item's, in the order given."""
    found: list[str] = []
    for at in range(0, len(names), ROWS):
        some = names[at : at + ROWS]
        missing = {row["name"] for row in await fetch(session, "metadata.missing_items", {"names": written(some)})}
        found += [name for name in some if name in missing]
    return found


async def _new_items(
    session: AsyncSession, project: int | None, names: list[str], records: Records, shelf: Shelf, wish: Wish
) -> set[str]:
    """Make items; those that somebody else made meanwhile are not among those that come back."""
    made: set[str] = set()
    for chunk in chunks(records, shelf, wish.item_collects, names):
        params = {"rows": listed([one.row() for one in await _with_files(session, chunk, wish)]), "project": project}
        new = {row["name"] for row in await fetch(session, "metadata.make_items", params)}
        made.update(one.name for one in chunk if one.name in new)
    return made


async def _with_files(session: AsyncSession, chunk: list[Composed], wish: Wish) -> list[Composed]:
    """The items with what is gathered from their files."""
    collects = {one.field: one for one in wish.item_collects if one.origin == FILES}
    if not collects:
        return chunk
    found: dict[str, dict[str, Any]] = {}
    params = {"names": written([one.name for one in chunk]), "collects": _asked(list(collects.values()))}
    for row in await fetch(session, "metadata.file_values", params):
        found.setdefault(row["name"], {})[row["field"]] = _value(collects[row["field"]], row)
    nothing = {key: one.value([], 0) for key, one in collects.items()}
    return [replace(one, put=written(json.loads(one.put) | nothing | found.get(one.name, {}))) for one in chunk]


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


async def _count(session: AsyncSession, statement: str, params: dict[str, Any]) -> int:
    row = await fetch_one(session, f"metadata.{statement}", params)
    assert row is not None
    return int(row["n"])
