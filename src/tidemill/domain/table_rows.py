"""The rows of one table file as records: ids, types, lists, lists in step, and each mistake with its row and column."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from tidemill.domain.fields import shown
from tidemill.domain.item_edits import check_name
from tidemill.domain.stored_json import stored
from tidemill.domain.table_cells import in_step, value_of
from tidemill.domain.table_text import DELIMITERS, REMEMBERED, Decoded, bad_bytes, csv_rows, json_rows
from tidemill.domain.tables import ITEMS, PARTS, PROJECTS, Column, Faults, Table, from_key
from tidemill.errors import InvalidInput

NAMED = 10
"""Columns named in a message."""


@dataclass(frozen=True, slots=True)
class Belongs:
    """What a file's key says of it: the placeholders of the table's pattern, and the project and items they mean."""

    key: str
    project: str | None = None
    items: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One row that is right. `metadata` is JSON text that the database can hold."""

    row: int
    id: str
    project: str | None
    items: tuple[str, ...]
    """Of parts: the items that it belongs to."""
    metadata: str


class Rows:
    """The records of one file; iterate once. What is wrong goes to `faults`, and such a row is left out."""

    def __init__(
        self,
        table: Table,
        file: Belongs,
        chunks: Iterable[bytes],
        faults: Faults,
        takes: Callable[[str | None], bool] = lambda _: True,
    ) -> None:
        """`takes`: whether rows of this project are wanted; those of others are passed over."""
        self._table, self._file, self._faults = table, file, faults
        self._text = Decoded(chunks, table.encoding)
        self._readers: dict[str, tuple[Column | None, bool]] = {}
        """Of each name: its column, unless it is left out, and whether any text that is there is its value."""
        self._takes = takes
        self._told = 0
        """How many bytes out of the encoding have been told of."""
        self._lost = False
        """Whether a row could not be read, so that nobody knows which of them were in it."""
        self._with_name: frozenset[int] | None = None
        self._looks: dict[str, tuple[str, int]] = {}
        """Ids beyond ASCII by how they look: as they are, and their rows."""
        special = {table.id, table.project, table.item} - {None}
        self._special = {name for name in special if name is not None and from_key(name) is None}
        drop_id = {table.id} if table.describes != PARTS else set()
        dropped = (drop_id | {table.project, table.item}) - set(table.columns)
        self._left_out = {*table.ignore, *dropped, *table.parallel_columns()}
        self._required = [column for column in table.columns.values() if column.required]

    def __iter__(self) -> Iterator[Record]:
        kind = self._table.format_of(self._file.key)
        try:
            if kind is None:
                raise InvalidInput('it ends in neither .csv, .tsv nor .json; say format = "csv" in its table.')
            yield from self._json() if kind == "json" else self._csv(DELIMITERS[kind])
        except InvalidInput as error:
            self._fault(error.message)

    def _csv(self, delimiter: str) -> Iterator[Record]:
        rows = csv_rows(self._text, delimiter)
        names = self._headings(rows, delimiter)
        if names is None:
            return
        any_row = False
        for number, cells in rows:
            if isinstance(cells, InvalidInput):
                self._lost = True
                self._fault(cells.message, number)
                any_row = True
            elif any(cells):
                any_row = True
                if self._whole(number, cells, names):
                    record = self._record(
                        number, {name: cell for name, cell in zip(names, cells, strict=False) if name}
                    )
                    if record is not None:
                        yield record
        if not any_row:
            self._fault("it has headings and no rows.")

    def _json(self) -> Iterator[Record]:
        number = 0
        for number, row in json_rows(self._text):
            if not self._decoded(number, list(row), list(row.values()), keys=True):
                continue
            missing = [name for name in self._special if name not in row]
            for name in missing:
                self._fault(f"there is no {name!r}; there are: {_listed(row)}.", number)
            record = None if missing else self._record(number, row)
            if record is not None:
                yield record
        if not number:
            self._fault("it is empty.")

    def _headings(self, rows: Iterator[tuple[int, list[str] | InvalidInput]], delimiter: str) -> list[str] | None:
        """The names of the columns; None where they are wrong."""
        number, first = next(
            (row for row in rows if row[1] and (isinstance(row[1], InvalidInput) or any(row[1]))), (1, None)
        )
        if first is None:
            self._fault("it is empty.")
            return None
        if isinstance(first, InvalidInput):
            self._fault(first.message, number)
            return None
        names = [cell.strip() for cell in first]
        sound = self._decoded(number, names, names)
        seen: dict[str, int] = {}
        for at, name in enumerate(names):
            if name and seen.setdefault(name, at) < at:
                self._fault(f"columns {seen[name] + 1} and {at + 1} are both named {name!r}.", number)
                sound = False
        wanted = [*self._special, *(column.name for column in self._required)]
        for name in dict.fromkeys(name for name in wanted if name not in names):
            self._fault(f"there is no column {name!r}; {_right(name, names, delimiter)}", number)
            sound = False
        return names if self._in_step(number, names) and sound else None

    def _in_step(self, number: int, names: Sequence[str]) -> bool:
        """Whether of columns that are lists in step there are all or none."""
        sound = True
        for one in self._table.parallel:
            there = [name for name in one.columns.values() if name in names]
            for name in one.columns.values():
                if there and name not in names:
                    self._fault(f"there is no column {name!r}, which goes with {there[0]!r}.", number)
                    sound = False
        return sound

    def _whole(self, number: int, cells: list[str], names: Sequence[str]) -> bool:
        """Whether a row has a cell for each column, and none without."""
        sound = self._decoded(number, names, cells)
        if len(cells) < len(names) or any(cells[len(names) :]):
            has = "1 cell" if len(cells) == 1 else f"{len(cells):,} cells"
            self._fault(f"it has {has}, but there are {len(names):,} columns.", number)
            return False
        if len(names) > len(seen := self._named(names)):
            for at, cell in enumerate(cells[: len(names)]):
                if at not in seen and cell.strip():
                    self._fault(f"column {at + 1} has no name, but {shown(cell)} stands in it.", number)
                    return False
        return sound

    def _named(self, names: Sequence[str]) -> frozenset[int]:
        """Which columns have a name."""
        if self._with_name is None:
            self._with_name = frozenset(at for at, name in enumerate(names) if name)
        return self._with_name

    def _decoded(self, number: int, names: Sequence[str], cells: Sequence[Any], *, keys: bool = False) -> bool:
        """Whether all of it is in the encoding; `keys`: the names stand beside the cells."""
        if len(self._text.bad) == self._told and self._told < REMEMBERED:
            return True
        sound = True
        for at, cell in enumerate(cells):
            text = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
            name = names[at] if at < len(names) else str(at + 1)
            if wrong := bad_bytes(name + text if keys else text):
                sound = False
                self._undecoded(number, name.encode(errors="replace").decode(), wrong)
        return sound

    def _undecoded(self, number: int, name: str, wrong: Sequence[int]) -> None:
        place = ""
        if self._told < len(self._text.bad) and not self._lost:
            place = f" (byte {self._text.bad[self._told]:,} of the file, counted from 0)"
        self._told += len(wrong)
        right = (
            '; if the file is Latin-1, say encoding = "latin-1" in its table' if self._table.encoding == "utf-8" else ""
        )
        self._fault(f"0x{wrong[0]:02X}{place} is no {self._table.encoding.upper()}{right}.", number, name)

    def _record(self, number: int, row: Mapping[str, Any]) -> Record | None:
        before = self._faults.count
        name = self._text_of(number, row, self._table.id)
        project = self._file.project
        if self._table.describes == PROJECTS:
            project = name
        elif self._table.project is not None:
            project = self._text_of(number, row, self._table.project)
        if self._faults.count == before and not self._takes(project):
            return None
        metadata = self._metadata(number, row)
        for column in self._required:
            if column.field not in metadata and column.name not in self._special:
                self._fault("there must be a value.", number, column.name)
        items = self._items(number, row) if self._table.describes == PARTS else ()
        try:
            text = stored(metadata, "It")
        except InvalidInput as error:
            self._unstorable(number, row, error)
            return None
        if name is not None and self._table.describes == ITEMS:
            self._check_name(number, name)
        if self._faults.count > before or name is None:
            return None
        return Record(number, name, project, items, text)

    def _metadata(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, cell in row.items():
            column, plain = self._readers.get(name) or self._reader(name)
            if column is None:
                continue
            if plain and isinstance(cell, str):
                if cell not in column.missing and cell.strip() not in column.missing:
                    found[column.field] = cell
                continue
            try:
                value = value_of(column, cell)
            except ValueError as error:
                self._fault(f"{error}.", number, name)
                continue
            if value is not None:
                found[column.field] = value
        for one in self._table.parallel:
            try:
                if tables := in_step(one.columns, one.separator, row, one.types):
                    found[one.into] = tables
            except ValueError as error:
                self._fault(f"{error}.", number, ", ".join(one.columns.values()))
        return found

    def _reader(self, name: str) -> tuple[Column | None, bool]:
        column = None if name in self._left_out else self._table.column(name)
        made = self._readers[name] = (column, column is not None and column.plain)
        return made

    def _items(self, number: int, row: Mapping[str, Any]) -> tuple[str, ...]:
        """The items that a part belongs to, by its column and by the file's key."""
        table, of_key = self._table, self._file.items
        if table.item is None:
            return of_key
        given = (
            row.get(table.item) if from_key(table.item) is None else self._file.named.get(from_key(table.item) or "")
        )
        names = given if isinstance(given, list) else str(given or "").split(table.separator)
        items = tuple(dict.fromkeys(one for name in names if (one := str(name).strip())))
        if not items:
            self._fault("it names no item.", number, table.item)
        if of_key and items and set(of_key) != set(items):
            self._fault(f"it names {', '.join(items)}, but the file's key {', '.join(of_key)}.", number, table.item)
        return items

    def _text_of(self, number: int, row: Mapping[str, Any], name: str) -> str | None:
        """An id: the text of a cell, or what the file's key says."""
        if (placeholder := from_key(name)) is not None:
            return self._file.named[placeholder]
        given = row[name]
        if isinstance(given, str) and given.strip():
            return given.strip()
        if isinstance(given, int) and not isinstance(given, bool):
            return str(given)
        nothing = given is None or (isinstance(given, str) and not given.strip())
        self._fault("there is no id." if nothing else f"{shown(given)} is no id.", number, name)
        return None

    def _check_name(self, number: int, name: str) -> None:
        try:
            check_name(name)
        except InvalidInput as error:
            self._fault(_lower(error.message), number, self._table.id)
            return
        if not name.isascii():
            self._check_looks(number, name)

    def _check_looks(self, number: int, name: str) -> None:
        """Ids that look the same must be the same, or nobody would ever find out."""
        unseen = next((sign for sign in name if unicodedata.category(sign) == "Cf"), None)
        if unseen is not None:
            self._fault(f"{name!r} has a character in it that nobody sees: {unseen!a}.", number, self._table.id)
        first, row = self._looks.setdefault(unicodedata.normalize("NFC", name), (name, number))
        if first != name:
            told = f"{name!a} looks like the id of row {row}, {first!a}, and is made of other characters."
            self._fault(told, number, self._table.id)

    def _unstorable(self, number: int, row: Mapping[str, Any], error: InvalidInput) -> None:
        """Tell which of a row's cells cannot be stored."""
        for name, cell in row.items():
            try:
                stored([name, cell], "It")
            except InvalidInput as fault:
                self._fault(_lower(fault.message), number, name)
                return
        self._fault(_lower(error.message), number)

    def _fault(self, message: str, row: int | None = None, column: str | None = None) -> None:
        self._faults.add(self._file.key, message, row, column)


def _right(name: str, names: Sequence[str], delimiter: str) -> str:
    other = next((sign for sign in ",;\t" if sign != delimiter and len(names) == 1 and sign in names[0]), None)
    if other is not None:
        word = "tabs" if other == "\t" else f"{other!r}"
        return (
            f"the columns seem to be separated by {word}, not by {'tabs' if delimiter == chr(9) else repr(delimiter)}."
        )
    close = get_close_matches(name.lower(), [one.lower() for one in names], n=1)
    if close:
        return f"did you mean {next(one for one in names if one.lower() == close[0])!r}?"
    return f"there are: {_listed(names)}."


def _listed(names: Iterable[str]) -> str:
    all_names = [name for name in names if name]
    more = f" and {len(all_names) - NAMED:,} more" if len(all_names) > NAMED else ""
    return (", ".join(all_names[:NAMED]) or "none") + more


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
