"""What the cells of a table file stand for: values of types, lists, lists in step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tidemill.domain.fields import fits, read_as, shown
from tidemill.domain.tables import MISSING, Column


def value_of(column: Column, cell: Any) -> Any:
    """The value of a cell, or of a key of JSON; None: there is none. Raises ValueError, which says what is wrong."""
    if cell is None or (isinstance(cell, str) and (cell in column.missing or cell.strip() in column.missing)):
        return None
    value = cell
    if isinstance(cell, str):
        value = read_as(column.type or "text", cell, column.separator)
    elif column.type == "list" and not isinstance(cell, list):
        value = [cell]
    elif column.type == "text" and isinstance(cell, list | dict):
        raise ValueError(f"{shown(cell)}; it must be text")
    elif column.type is not None and not fits(cell, column.type):
        whole = column.type == "integer" and isinstance(cell, float) and cell.is_integer()
        value = int(cell) if whole else read_as(column.type, json.dumps(cell))
    if isinstance(value, list):
        value = [one for one in value if one is not None and not (isinstance(one, str) and one in column.missing)]
        if not value and column.type == "list":
            return None
    if column.values is not None:
        for one in value if isinstance(value, list) else [value]:
            if str(one) not in column.values:
                raise ValueError(f"{shown(one)} is not one of: {', '.join(sorted(column.values))}")
    return value


def in_step(
    columns: Mapping[str, str], separator: str, row: Mapping[str, Any], types: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """A list of tables out of columns that are lists in step; `types` of keys that are not text.

    Raises ValueError where they are not equally long, or one has a value that is not of its type.
    """
    types = types or {}
    lists: dict[str, list[str]] = {}
    for key, name in columns.items():
        cell = row.get(name)
        lists[key] = [str(one) for one in cell] if isinstance(cell, list) else str(cell or "").split(separator)
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{columns[key]} has {n}" for key, n in lengths.items())
        raise ValueError(f"these are lists in step, separated by {separator!r}, but {told}")
    made = []
    for at in range(max(lengths.values())):
        table = {
            key: read_as(types.get(key, "text"), word)
            for key, values in lists.items()
            if (word := values[at].strip()) not in MISSING
        }
        if table:
            made.append(table)
    return made
