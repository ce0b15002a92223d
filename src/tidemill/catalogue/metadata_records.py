"""What the table files say, gathered by project before anything is written: records on disk, their names in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import orjson

from tidemill.catalogue.metadata_files import TableFile, contents
from tidemill.domain.table_rows import Record, Rows
from tidemill.domain.tables import ITEMS, PROJECTS, Faults, Table
from tidemill.errors import StorageError
from tidemill.pipelines.names import name_fault

Wanted = Callable[[str | None], bool]
"""Whether a project is to be loaded; None: what belongs to no project."""
Reading = Callable[[int, int], None]


@dataclass(slots=True)
class Shelf:
    """Where the records of one project are."""

    own: list[int] = field(default_factory=list)
    """Of the project itself."""
    items: dict[str, list[int]] = field(default_factory=dict)
    """Of its items, by name."""
    parts: dict[str, list[int]] = field(default_factory=dict)
    """Of their parts, by the item's name."""
    part_ids: dict[tuple[str, str], int] = field(default_factory=dict)
    """By the key of the list that they go into, and their id."""
    tables: set[str] = field(default_factory=set)
    """Tables of which it has a file, or a row."""

    def names(self) -> set[str]:
        """The items that have records or parts."""
        return {*self.items, *self.parts}


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it was gathered."""

    table: Table
    file: str
    row: int
    id: str
    items: list[str]
    metadata: str
    """JSON text of an object."""


class Records:
    """All records of a load. `with Records(…) as records: records.gather(…)`"""

    def __init__(self, tables: Collection[Table], faults: Faults) -> None:
        self.faults = faults
        self.shelves: dict[str | None, Shelf] = {}
        self.left: set[str | None] = set()
        """Projects that have files or rows and are not wanted."""
        self.files = 0
        self._tables = {table.name: table for table in tables}
        self._spool: IO[bytes] = tempfile.TemporaryFile(prefix="tidemill-metadata-")  # noqa: SIM115 - `with` is ours
        self._end = 0
        self._moved = False

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def gather(self, files: list[TableFile], wanted: Wanted, reading: Reading = lambda *_: None) -> None:
        """Read the files of the projects that are wanted. Blocking. Raises StorageError; all else is a fault.

        `reading` is told, before each, how many files were read, of how many.
        """
        chosen = []
        for file in files:
            project = file.belongs.project
            if file.table.describes != PROJECTS and file.table.project is None and not wanted(project):
                self.left.add(project)
            else:
                chosen.append(file)
        self.files = len(chosen)
        for read, (file, chunks) in enumerate(contents(chosen)):
            reading(read, len(chosen))
            for record in Rows(
                file.table, file.belongs, chunks, self.faults, lambda project: self._takes(project, wanted)
            ):
                if not self._odd(file, record):
                    self._put(file, record)
            if file.belongs.project is not None and wanted(file.belongs.project):
                self._shelf(file.belongs.project).tables.add(file.table.name)

    def _takes(self, project: str | None, wanted: Wanted) -> bool:
        if not (takes := wanted(project)):
            self.left.add(project)
        return takes

    def at(self, offset: int) -> Found:
        """The record that lies there."""
        self._spool.seek(offset)
        self._moved = True
        table, file, row, id_, items, metadata = self._spool.readline().decode().rstrip("\n").split("\t", 5)
        return Found(
            self._tables[orjson.loads(table)],
            orjson.loads(file),
            int(row),
            orjson.loads(id_),
            orjson.loads(items),
            metadata,
        )

    def all_of(self, offsets: list[int]) -> Iterator[Found]:
        """The records that lie there."""
        return (self.at(offset) for offset in offsets)

    def _shelf(self, project: str | None) -> Shelf:
        return self.shelves.setdefault(project, Shelf())

    def _odd(self, file: TableFile, record: Record) -> bool:
        """Whether the project has a name that no project can have."""
        fault = name_fault(record.project) if record.project is not None else None
        if fault is not None:
            column = file.table.id if file.table.describes == PROJECTS else file.table.project
            self.faults.add(file.key, f"the name {record.project!r} {fault}.", record.row, column)
        return fault is not None

    def _put(self, file: TableFile, record: Record) -> None:
        shelf, table = self._shelf(record.project), file.table
        offset = self._write(file, record)
        shelf.tables.add(table.name)
        if table.describes == PROJECTS:
            self._once(shelf.own, offset, file, record)
        elif table.describes == ITEMS:
            self._once(shelf.items.setdefault(record.id, []), offset, file, record)
        else:
            first = shelf.part_ids.setdefault((table.into or "", record.id), offset)
            if first != offset:
                self._twice(first, file, record)
            for item in record.items:
                shelf.parts.setdefault(item, []).append(offset)

    def _once(self, there: list[int], offset: int, file: TableFile, record: Record) -> None:
        """Several tables may describe the same thing, each of them once."""
        first = next((one for one in there if self.at(one).table.name == file.table.name), None)
        if first is not None:
            self._twice(first, file, record)
        else:
            there.append(offset)

    def _twice(self, first: int, file: TableFile, record: Record) -> None:
        other = self.at(first)
        where = f"row {other.row}" if other.file == file.key else f"{other.file}, row {other.row}"
        self.faults.add(file.key, f"{record.id!r} stands in {where} already.", record.row, file.table.id)

    def _write(self, file: TableFile, record: Record) -> int:
        start = self._end
        fields: list[Any] = [file.table.name, file.key, record.row, record.id, list(record.items)]
        line = b"\t".join(map(orjson.dumps, fields)) + b"\t" + record.metadata.encode() + b"\n"
        try:
            if self._moved:  # a seek each time would write each line by itself
                self._spool.seek(start)
                self._moved = False
            self._spool.write(line)
        except OSError as error:
            raise StorageError(f"The metadata could not be written to a temporary file: {error.strerror}") from error
        self._end += len(line)
        return start
