"""The metadata tables inside packages: tab-separated, one row for each item, or for each item and part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.domain.package_rules import CONTROL, PackItem, matches

MISSING = "NA"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")


@dataclass(frozen=True, slots=True)
class TableRule:
    """How one table is made. `rows`: `items`, or the key of their list of parts."""

    rows: str = "items"
    columns: Sequence[str] | None = None
    """None: all that any row has."""
    where: Mapping[str, Any] = field(default_factory=dict)
    project_column: str = "project"
    item_column: str = "item"
    first: Sequence[str] = ()
    """Columns behind those two: what names a part."""


@dataclass(frozen=True, slots=True)
class Table:
    """`text`: the whole of it, with its header."""

    columns: tuple[str, ...]
    rows: int
    text: str


def make_table(
    rule: TableRule, items: Iterable[PackItem], projects: Mapping[str, Mapping[str, Any]], project: str | None
) -> Table:
    """The table of these items. `projects`: the metadata of those that they may stand in; `project`: whose package."""
    rows = [row for item in items for row in _rows(rule, item, project)]
    columns = tuple(rule.columns) if rule.columns is not None else _columns(rule, rows)
    whose = [project] if project is not None else []
    lines = []
    for names, values in rows:
        about = [projects[one] for one in whose or names if one in projects]
        lines.append([cell(_value(values, about, column)) for column in columns])
    keys = [columns.index(one) for one in (rule.project_column, rule.item_column, *rule.first) if one in columns]
    lines.sort(key=lambda line: ([line[key] for key in keys], line))
    text = "\n".join("\t".join(line) for line in [[cell(column) for column in columns], *lines]) + "\n"
    return Table(columns, len(rows), text)


def cell(value: Any) -> str:
    """A value as it stands in a cell: one line without tabs, and nothing that a spreadsheet takes for a formula."""
    if value is None or value in ("", [], {}):
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        if any(isinstance(one, dict | list) for one in value):
            return _line(json.dumps(value, ensure_ascii=False, sort_keys=True))
        return _harmless(";".join(cell(one) for one in value))
    if isinstance(value, dict):
        return _line(json.dumps(value, ensure_ascii=False, sort_keys=True))
    return _harmless(_line(str(value)))


def _line(text: str) -> str:
    return CONTROL.sub(" ", text)


def _harmless(text: str) -> str:
    risky = text[:1] in "=@+-" and len(text) > 1 and not _NUMBER.fullmatch(text)
    return "'" + text if risky else text


_Row = tuple[tuple[str, ...], dict[str, Any]]
"""The item's projects, and the values by column."""


def _rows(rule: TableRule, item: PackItem, project: str | None) -> Iterator[_Row]:
    own = {key: value for key, value in item.metadata.items() if not _is_parts(value)}
    names = {
        rule.project_column: [project] if project is not None else list(item.projects),
        rule.item_column: item.name,
    }
    if rule.rows == "items":
        if matches(rule.where, item.metadata):
            yield item.projects, own | names
        return
    parts = [one for one in item.metadata.get(rule.rows) or () if isinstance(one, dict)]
    for part in parts:
        if matches(rule.where, part):
            yield item.projects, own | part | names
    if not parts and not rule.where:
        yield item.projects, own | names


def _is_parts(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)


def _columns(rule: TableRule, rows: Sequence[_Row]) -> tuple[str, ...]:
    found = {column for _, values in rows for column in values}
    if not any(values[rule.project_column] for _, values in rows):
        found.discard(rule.project_column)
    first = [one for one in (rule.project_column, rule.item_column, *rule.first) if one in found]
    return (*dict.fromkeys(first), *sorted(found - set(first)))


def _value(values: Mapping[str, Any], projects: Sequence[Mapping[str, Any]], column: str) -> Any:
    """The row's own, else what its project has under that name."""
    if column in values:
        return values[column]
    return next((one[column] for one in projects if column in one), None)
