"""Loading metadata: projects, items and their parts become what the metadata files of the sources say of them.

Everything is read and checked before anything is written; then each project is one transaction. A key of metadata
belongs to the tables once they have written it (`described`): a reload replaces it, and takes it out when they no
longer have it. Keys that people and steps wrote stay.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue.metadata_check import check
from tidemill.catalogue.metadata_files import Origin, TableFile, find, origins
from tidemill.catalogue.metadata_records import Reading, Records
from tidemill.catalogue.metadata_write import SKIPPED, UNNAMED, ProjectReport, Wish, write_project
from tidemill.db.database import Database, Row, fetch, fetch_one, translated
from tidemill.db.queries import sql
from tidemill.domain.collecting import collects
from tidemill.domain.tables import Faults, Table
from tidemill.errors import Conflict, InvalidInput, NotFound, TablesRefused
from tidemill.pipelines.portal_entries import TableEntry

Heard = Callable[[ProjectReport], None]
Writing = Callable[[str | None, int, int], None]


@dataclass(frozen=True, slots=True)
class LoadWish:
    """What is to be loaded."""

    bucket: str | None = None
    """Only from this source: its name, `bucket`, or `bucket/prefix`."""
    existing: bool = False
    """Also projects that were loaded before; `locked`: also those that are locked."""
    locked: bool = False
    projects: Sequence[str] = ()
    """Only these; none: all."""
    dry_run: bool = False


@dataclass(slots=True)
class LoadReport:
    """What a load did or, if it was a dry run, would do."""

    sources: list[str]
    dry_run: bool = False
    files: int = 0
    """Files that were read."""
    projects: list[ProjectReport] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Projects that were loaded once and that no table names any more. They stay as they are."""
    unused: list[str] = field(default_factory=list)
    """Tables of which no source has a file."""

    def counts(self) -> dict[str, int]:
        """How many projects ended how, and of items how many were created and changed."""
        ended = Counter(one.outcome for one in self.projects)
        items = {
            "items_created": sum(one.created for one in self.projects),
            "items_changed": sum(one.changed for one in self.projects),
        }
        return dict(ended) | items

    def told(self) -> dict[str, Any]:
        """The report as JSON."""
        return asdict(self) | {"counts": self.counts()}


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the projects stand before the load, and what is wanted of them."""

    rows: dict[str, Row]
    wish: Wish
    only: frozenset[str]
    loose: bool
    """Whether items of no project were loaded before."""

    def verdict(self, project: str | None) -> str | None:
        row = self.rows.get(project) if project is not None else None
        loaded = self.loose if project is None else row is not None and row["loaded"]
        return self.wish.verdict(loaded=loaded, locked=row is not None and row["locked"])

    def wanted(self, project: str | None) -> bool:
        return (not self.only or project in self.only) and self.verdict(project) is None


async def load(
    database: Database,
    wish: LoadWish,
    heard: Heard = lambda _: None,
    reading: Reading = lambda *_: None,
    writing: Writing = lambda *_: None,
) -> LoadReport:
    """Load the metadata files that the site declares.

    `heard` is told of each project when it is done; `reading`, in a thread, of the files read so far, and of how many;
    `writing` of a project, how many of its items are dealt with, and of how many.

    Raises TablesRefused with every mistake of the files (nothing was written), InvalidInput (the site declares none),
    NotFound (no such source or project), Conflict (a source was never synced; another load is going on), StorageError.
    """
    async with _alone(database):
        async with database.begin() as session:
            tables, rules = await _declared(session, wish)
            places = await _places(session, tables, wish)
            tables = [table for table in tables if table.source in (None, *(one.name for one in places))]
            files = await find(session, tables, places)
            standing = await _standing(session, rules, wish)
        report = LoadReport([one.name for one in places], wish.dry_run)
        with Records(tables, Faults()) as records:
            await asyncio.to_thread(records.gather, files, standing.wanted, reading)
            await _check(database, records, tables, files, standing)
            report.files = records.files
            used = {file.table.name for file in files}
            report.unused = [table.name for table in tables if table.name not in used]
            await _write(database, records, standing, report, heard, writing)
            if not wish.projects and wish.bucket is None:
                seen = {*records.shelves, *records.left}
                report.gone = sorted(name for name, row in standing.rows.items() if row["loaded"] and name not in seen)
    return report


async def _declared(session: AsyncSession, wish: LoadWish) -> tuple[list[Table], Wish]:
    site = await fetch_one(session, "metadata.site")
    if site is None or not site["tables"]:
        hint = "Describe them in the site file ([[tables]]), then: tidemill apply."
        raise InvalidInput("This site declares no metadata files.", hint=hint)
    fields, project_fields = site["fields"], site["project_fields"]
    entries = [TableEntry.model_validate(row).model_dump() for row in site["tables"]]
    tables = [Table.from_json(entry, fields, project_fields) for entry in entries]
    return tables, Wish(wish.existing, wish.locked, collects(fields), collects(project_fields))


async def _places(session: AsyncSession, tables: Sequence[Table], wish: LoadWish) -> list[Origin]:
    """The sources that tables are in."""
    named = {table.source for table in tables}
    found = [one for one in await origins(session, wish.bucket) if None in named or one.name in named]
    if not found:
        raise InvalidInput(f"The site declares no metadata files in source {wish.bucket!r}.")
    return found


async def _standing(session: AsyncSession, rules: Wish, wish: LoadWish) -> _Standing:
    rows = {row["name"]: row for row in await fetch(session, "metadata.standing")}
    loose = await fetch_one(session, "metadata.loaded_without_project")
    return _Standing(rows, rules, frozenset(wish.projects), bool(loose and loose["loaded"]))


async def _check(
    database: Database, records: Records, tables: Sequence[Table], files: Sequence[TableFile], standing: _Standing
) -> None:
    """Raises TablesRefused, and NotFound for a project that is asked for and that nothing names."""
    faults = records.faults
    if not files and not faults.count:
        patterns = ", ".join(table.file for table in tables)
        raise InvalidInput(f"No synced file matches {patterns}.", hint="Were the files synced? tidemill sync")
    known = {*records.shelves, *records.left, *standing.rows}
    if not faults.count and (strange := sorted(standing.only - known)):
        raise NotFound(f"There is no project named {strange[0]!r}, neither here nor in the metadata files.")
    expected = {name for name, row in standing.rows.items() if row["files"] and standing.wanted(name)}
    async with database.begin() as session:
        await check(session, records, tables, files, expected)
    if faults.count:
        raise TablesRefused(
            faults.count, len(faults.files), [asdict(one) | {"told": one.told()} for one in faults.first]
        )


async def _write(
    database: Database, records: Records, standing: _Standing, report: LoadReport, heard: Heard, writing: Writing
) -> None:
    """Each project in a transaction of its own; also told of are those that are left alone."""
    names = {*records.shelves, *(one for one in records.left if not standing.only or one in standing.only)}
    for name in sorted(names, key=lambda one: one or ""):
        if name not in records.shelves:
            done = ProjectReport(name, standing.verdict(name) or SKIPPED)
        else:
            done = await _one(database, records, standing.wish, name, writing, dry_run=report.dry_run)
        report.projects.append(done)
        heard(done)
    for name in sorted(standing.only - names):
        report.projects.append(ProjectReport(name, standing.verdict(name) or UNNAMED))
        heard(report.projects[-1])


async def _one(
    database: Database, records: Records, wish: Wish, name: str | None, writing: Writing, *, dry_run: bool
) -> ProjectReport:
    items = len(records.shelves[name].names())
    try:
        async with database.begin() as session:
            done = await write_project(session, name, records, wish, lambda known: writing(name, known, items))
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return done


class _DryRun(Exception):
    """Takes back what a dry run did."""


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[None]:
    """Within: no other load. The lock goes with its connection, however this process ends."""
    connection = await database.connect()
    with translated():
        async with connection:
            cursor = await connection.execute(sql("metadata.alone").encode())
            row = await cursor.fetchone()
            if row is None or not row["alone"]:
                raise Conflict("Metadata are being loaded already.", hint="Wait until that is finished.")
            try:
                yield
            finally:
                with suppress(psycopg.Error):  # a connection that is closed gives it back only when the server notices
                    await connection.execute(sql("metadata.free").encode())
