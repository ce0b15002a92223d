"""Metadata files: what each kind of them describes, and what its columns are.

A table file is CSV, TSV or JSON, with one row (or object) for each project, item, or part of an item. Which files of a
source are of a kind is told by a pattern over their keys, as in layout rules; `{project}` and `{item}` in it say what
a file belongs to. The first kind whose pattern matches a key has the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.domain.fields import Fields
from tidemill.domain.keys import printable
from tidemill.domain.layout import LayoutRule, compile_pattern

PROJECTS, ITEMS, PARTS = "projects", "items", "parts"
MISSING = frozenset({"", "NA"})
SHOWN = 1000
"""Faults that are listed; all are counted."""

_ENDINGS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", ".json": "json", ".jsonl": "json"}
_FROM_KEY = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake. `row` counts as a spreadsheet does, the headings being row 1; of JSON, the objects from 1."""

    file: str
    message: str
    row: int | None = None
    column: str | None = None

    def told(self) -> str:
        """`samples.csv, row 5, column age: 'old' is not a whole number.`"""
        place = printable(self.file)
        if self.row is not None:
            place += f", row {self.row}"
        if self.column is not None:
            place += f", column {printable(self.column)}"
        return f"{place}: {printable(self.message)}"


@dataclass(slots=True)
class Faults:
    """All mistakes: how many, in how many files, and the first of them."""

    count: int = 0
    first: list[Fault] = field(default_factory=list)
    files: set[str] = field(default_factory=set)

    def add(self, file: str, message: str, row: int | None = None, column: str | None = None) -> None:
        """Note one; its message is a whole sentence."""
        self.count += 1
        self.files.add(file)
        if len(self.first) < SHOWN:
            self.first.append(Fault(file, message, row, column))


@dataclass(frozen=True, slots=True)
class Column:
    """What one column holds. `type` None: as it is, text in CSV."""

    name: str
    field: str
    type: str | None = None
    separator: str = ";"
    required: bool = False
    missing: frozenset[str] = MISSING
    values: frozenset[str] | None = None

    @property
    def plain(self) -> bool:
        """Whether any text that is there is its value."""
        return self.type in (None, "text") and self.values is None


@dataclass(frozen=True, slots=True)
class Parallel:
    """Columns that are lists in step; they become a list of tables under `into`."""

    into: str
    columns: Mapping[str, str]
    types: Mapping[str, str] = field(default_factory=dict)
    """Of those keys that are not text."""
    separator: str = ";"


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of metadata file, as a site declares it (`pipelines.portal_entries.TableEntry`)."""

    name: str
    file: str
    describes: str
    id: str
    source: str | None = None
    format: str | None = None
    encoding: str = "utf-8"
    project: str | None = None
    item: str | None = None
    separator: str = ","
    into: str | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    parallel: Sequence[Parallel] = ()
    ignore: frozenset[str] = frozenset()
    required: bool = False
    types: Mapping[str, str] = field(default_factory=dict)
    """Of declared metadata keys."""

    @classmethod
    def from_json(cls, row: Mapping[str, Any], fields: Fields, project_fields: Fields) -> Table:
        """From what the site has, with every key there; `fields` are those that it declares."""
        declared = {PROJECTS: project_fields, ITEMS: fields, PARTS: {}}[row["describes"]]
        types = {name: one["type"] for name, one in declared.items()}
        columns = {name: _column(name, one, types) for name, one in row["columns"].items()}
        parallel = tuple(Parallel(**one) for one in row["parallel"])
        rest = {"columns": columns, "parallel": parallel, "ignore": frozenset(row["ignore"]), "types": types}
        return cls(**{**row, **rest})

    def column(self, name: str) -> Column:
        """What a column of this name holds; one that is not declared goes under its own name."""
        return self.columns.get(name) or Column(name, name, self.types.get(name))

    def pattern(self) -> re.Pattern[str]:
        """What the keys of its files match. Raises InvalidInput."""
        return compile_pattern(LayoutRule(self.file, ignore=True))

    def ends(self) -> tuple[str, str]:
        """How the keys of its files begin and end, as far as that is the same for all."""
        head, tail = re.split(r"[{*]", self.file, maxsplit=1)[0], re.split(r"[}*]", self.file)[-1]
        return (head, tail) if re.search(r"[{*]", self.file) else (self.file, "")

    def format_of(self, key: str) -> str | None:
        """`csv`, `tsv` or `json`; None where neither the site nor the file's ending says."""
        return self.format or next((kind for end, kind in _ENDINGS.items() if key.lower().endswith(end)), None)

    def parallel_columns(self) -> Iterator[str]:
        """The columns that are lists in step with others."""
        for one in self.parallel:
            yield from one.columns.values()


def from_key(name: str | None) -> str | None:
    """The placeholder that `{name}` means, where a value is to be taken from the file's key and not from a column."""
    found = _FROM_KEY.fullmatch(name or "")
    return found[1] if found else None


def _column(name: str, row: Mapping[str, Any], types: Mapping[str, str]) -> Column:
    key = row["field"] or name
    values = None if row["values"] is None else frozenset(row["values"])
    return Column(
        name,
        key,
        row["type"] or types.get(key),
        row["separator"],
        row["required"],
        frozenset(row["missing"]),
        values,
    )
