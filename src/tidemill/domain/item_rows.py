"""Rows of items as people have them in files: a JSON object a line, a JSON list, or CSV.

CSV has a line of headings. `name`, `status`, `reason`, `project` or `projects` (several with `;` between them) and
`revision` are the record's own; every other heading, with or without `metadata.` before it, is a metadata key, whose
values are of its declared type, or text. An empty cell says nothing: what is there stays. Commas, semicolons or tabs
part the cells.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from tidemill.domain.fields import Fields, from_text, shown
from tidemill.domain.stored_json import LARGEST, read_json
from tidemill.errors import InvalidInput

Rows = Iterator[tuple[int, Any]]
"""The number of the line that a row begins on (of the entry, in a list), and the row: an object, or an InvalidInput
where it cannot be read."""

DELIMITERS = ",;\t"
_OWN = ("name", "status", "reason", "project", "projects", "revision")


def rows(lines: Iterable[str], fields: Fields) -> Rows:
    """The rows of a text in whichever form: its first sign tells. Raises InvalidInput where it is none of them."""
    given = iter(lines)
    skipped, first = 0, ""
    for line in given:
        if line.strip():
            first = line
            break
        skipped += 1
    if not first:
        return iter(())
    text = chain([first], given)
    if first.lstrip()[:1] == "[":
        return _list_rows("".join(text), skipped)
    if first.lstrip()[:1] == "{":
        return _object_rows(first, text, skipped)
    return csv_rows(text, fields, skipped)


def json_rows(lines: Iterable[str], skipped: int = 0) -> Rows:
    """One JSON value a line; empty lines are passed over."""
    for number, line in enumerate(lines, skipped + 1):
        if not line.strip():
            continue
        try:
            yield number, read_json(line)
        except InvalidInput as error:
            yield number, InvalidInput(f"Line {number}: {error.message}")


def csv_rows(lines: Iterable[str], fields: Fields, skipped: int = 0) -> Rows:
    """The rows below a line of headings. Raises InvalidInput for headings that make no item."""
    csv.field_size_limit(LARGEST)
    given = iter(lines)
    first = next(given, "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(chain([first], given), delimiter=delimiter, strict=True)
    try:
        headings = [heading.strip() for heading in next(reader, [])]
    except csv.Error as error:
        raise InvalidInput(f"The headings cannot be read: {error}.") from None
    _check_headings(headings)
    return _cells(reader, headings, fields, skipped)


def _cells(reader: Any, headings: list[str], fields: Fields, skipped: int) -> Rows:
    while True:
        number = reader.line_num + 1 + skipped
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield number, InvalidInput(f"Line {number}: {error}.")
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield number, _row(number, headings, cells, fields)


def _row(number: int, headings: list[str], cells: list[str], fields: Fields) -> Any:
    if len(cells) > len(headings):
        return InvalidInput(f"Line {number} has {len(cells)} cells, and there are {len(headings)} headings.")
    row: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    try:
        for heading, cell in zip(headings, cells, strict=False):
            if not cell.strip() or not heading:
                continue
            if heading not in _OWN:
                key = heading.removeprefix("metadata.")
                metadata[key] = from_text(key, cell, fields)
            elif heading in ("project", "projects"):
                row["projects"] = [name.strip() for name in cell.split(";") if name.strip()]
            else:
                row[heading] = _whole(cell) if heading == "revision" else cell.strip()
    except InvalidInput as error:
        return InvalidInput(f"Line {number}: {error.message}")
    return row | ({"metadata": metadata} if metadata else {})


def _whole(cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise InvalidInput(f"revision is {shown(cell)}; it must be a whole number.") from None


def _check_headings(headings: list[str]) -> None:
    if "name" not in headings:
        found = ", ".join(headings) or "nothing"
        raise InvalidInput(
            f"There is no column `name`; the first line has {shown(found)}.",
            hint="Give JSON lines, a JSON list, or CSV whose first line has the headings.",
        )
    if twice := {heading for heading in headings if heading and headings.count(heading) > 1}:
        raise InvalidInput(f"The heading {', '.join(sorted(twice))} stands there twice.")


def _object_rows(first: str, text: Iterable[str], skipped: int) -> Rows:
    """An object a line; or one object over many lines."""
    if _is_json(first):
        return json_rows(text, skipped)
    whole = "".join(text)
    if _is_json(whole):
        return iter([(skipped + 1, read_json(whole))])
    return json_rows(whole.split("\n"), skipped)


def _is_json(text: str) -> bool:
    try:
        read_json(text)
    except InvalidInput:
        return False
    return True


def _list_rows(text: str, skipped: int) -> Rows:
    found = read_json(text)
    if not isinstance(found, list):
        raise InvalidInput("The JSON is no list of items.")
    return iter([(skipped + number, row) for number, row in enumerate(found, 1)])
