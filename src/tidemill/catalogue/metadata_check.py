"""What can only be told when all table files have been read: ids that nothing knows, tables that contradict others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from itertools import islice

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue.metadata_composing import clashes, part_lists
from tidemill.catalogue.metadata_files import TableFile
from tidemill.catalogue.metadata_records import Records, Shelf
from tidemill.db.database import fetch
from tidemill.domain.item_edits import same
from tidemill.domain.stored_json import written
from tidemill.domain.tables import ITEMS, PROJECTS, Table

AT_ONCE = 50_000


async def check(
    session: AsyncSession,
    records: Records,
    tables: Sequence[Table],
    files: Sequence[TableFile],
    expected: Collection[str],
) -> None:
    """Add to the faults. `expected`: projects to be loaded that have files, whether a table names them or not.

    What a file with mistakes may have said is not missed.
    """
    wrong = [file for file in files if file.key in records.faults.files]
    _missing_tables(records, [table for table in tables if all(file.table is not table for file in wrong)], expected)
    await asyncio.to_thread(_clashes, records)
    unsure = {file.belongs.project for file in wrong if file.table.describes == ITEMS}
    if None not in unsure:
        await _unknown_items(session, records, unsure)
    await _packages(session, records)


def _missing_tables(records: Records, tables: Sequence[Table], expected: Collection[str]) -> None:
    projects = sorted({*expected, *(name for name in records.shelves if name is not None)})
    for table in tables:
        if not table.required:
            continue
        what = "row" if table.describes == PROJECTS else "such file"
        for project in projects:
            shelf = records.shelves.get(project)
            if shelf is None or table.name not in shelf.tables:
                records.faults.add(
                    table.file, f"{project} has no {what}, which table {table.name!r} says it must have."
                )


def _clashes(records: Records) -> None:
    """Tables that say different things of the same project or item, of one project or of several that it stands in."""
    shelves = list(records.shelves.values())
    for shelf in shelves:
        _tell_clashes(records, shelf.own, [])
    shared = _shared(shelves)
    for shelf in shelves:
        for name, rows in shelf.items.items():
            if name not in shared and (len(rows) > 1 or name in shelf.parts):
                _tell_clashes(records, rows, shelf.parts.get(name, []))
    for name, its in shared.items():
        _tell_clashes(records, [row for shelf in its for row in shelf.items.get(name, [])], [])
        _tell_lists(records, name, [shelf.parts[name] for shelf in its if name in shelf.parts])


def _shared(shelves: Sequence[Shelf]) -> dict[str, list[Shelf]]:
    """The items that several projects' tables name."""
    once: set[str] = set()
    twice: dict[str, list[Shelf]] = {}
    for shelf in shelves:
        names = shelf.names()
        twice |= {name: [] for name in names & once}
        once |= names
    for name, its in twice.items():
        its += [shelf for shelf in shelves if name in shelf.items or name in shelf.parts]
    return twice


def _tell_clashes(records: Records, rows: Sequence[int], parts: Sequence[int]) -> None:
    if len(rows) + len(parts) < 2:
        return
    for later, key, earlier in clashes(records, rows, parts):
        where = f"{earlier.file}, row {earlier.row}"
        records.faults.add(later.file, f"{key!r} of {later.id!r} is something else in {where}.", later.row)


def _tell_lists(records: Records, name: str, parts: Sequence[list[int]]) -> None:
    """One item has one list of its parts, whichever projects it stands in."""
    if len(parts) < 2:
        return
    first = part_lists(records, parts[0])
    for others in parts[1:]:
        for key, listed in part_lists(records, others).items():
            if key in first and not same(first[key], listed):
                found, other = records.at(others[0]), records.at(parts[0][0])
                told = (
                    f"{key!r} of {name!r} is another list than in {other.file}; an item has one, in all its projects."
                )
                records.faults.add(found.file, told, found.row)


async def _unknown_items(session: AsyncSession, records: Records, unsure: Collection[str | None]) -> None:
    pairs = (
        {"project": project, "item": name}
        for project, shelf in records.shelves.items()
        for name in shelf.parts
        if name not in shelf.items and project not in unsure
    )
    while chunk := list(islice(pairs, AT_ONCE)):
        for row in await fetch(session, "metadata.unknown_items", {"pairs": written(chunk)}):
            for found in records.all_of(records.shelves[row["project"]].parts[row["item"]]):
                where = f" of {row['project']}" if row["project"] is not None else ""
                told = f"there is no item {row['item']!r}{where}: neither a table nor a synced file names it."
                records.faults.add(found.file, told, found.row, found.table.item)


async def _packages(session: AsyncSession, records: Records) -> None:
    names = (name for shelf in records.shelves.values() for name in shelf.items)
    while chunk := list(islice(names, AT_ONCE)):
        for name in {row["name"] for row in await fetch(session, "metadata.not_items", {"names": written(chunk)})}:
            for shelf in records.shelves.values():
                for found in records.all_of(shelf.items.get(name, [])):
                    told = f"{name!r} is the name of a package."
                    records.faults.add(found.file, told, found.row, found.table.id)
