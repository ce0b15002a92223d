"""The metadata of one item, put together from its row, its parts, and what is gathered from these."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.catalogue.metadata_records import Found, Records, Shelf
from tidemill.domain.collecting import FILES, Collect, values_in
from tidemill.domain.item_edits import same
from tidemill.domain.stored_json import written

ROWS, CHARACTERS = 2000, 8 * 1024 * 1024
"""The most items of one statement, and the most text."""


@dataclass(frozen=True, slots=True)
class Composed:
    """An item and what its tables say of it, as JSON text."""

    name: str
    put: str
    named: bool
    """Whether it has a row of its own."""

    def row(self) -> str:
        """As the statements take it."""
        return f'{{"name":{written(self.name)},"put":{self.put},"named":{written(self.named)}}}'


def chunks(
    records: Records, shelf: Shelf, collects: Sequence[Collect], names: Sequence[str]
) -> Iterator[list[Composed]]:
    """These items of a project, in sets that one statement takes."""
    of_parts = [one for one in collects if one.origin != FILES]
    chunk: list[Composed] = []
    length = 0
    for name in names:
        put = compose(records, shelf, name, of_parts)
        if chunk and (len(chunk) == ROWS or length + len(put) > CHARACTERS):
            yield chunk
            chunk, length = [], 0
        chunk.append(Composed(name, put, name in shelf.items))
        length += len(put)
    if chunk:
        yield chunk


def compose(records: Records, shelf: Shelf, name: str, collects: Sequence[Collect] = ()) -> str:
    """What the tables say of one item."""
    rows, parts = shelf.items.get(name, []), shelf.parts.get(name, [])
    if len(rows) == 1 and not parts and not collects:
        return records.at(rows[0]).metadata
    metadata: dict[str, Any] = {}
    for found in records.all_of(rows):
        metadata |= json.loads(found.metadata)
    metadata |= part_lists(records, parts)
    for one in collects:
        metadata[one.field] = one.value(values_in(metadata, one), 0)
    return written(metadata)


def part_lists(records: Records, parts: list[int]) -> dict[str, list[Any]]:
    """The lists of an item's parts, each in order of the parts' ids."""
    by_key: dict[str, list[Found]] = {}
    for found in records.all_of(parts):
        by_key.setdefault(found.table.into or "", []).append(found)
    return {
        key: [json.loads(found.metadata) for found in sorted(parts_of, key=lambda part: part.id)]
        for key, parts_of in by_key.items()
    }


def clashes(records: Records, rows: Sequence[int], parts: Sequence[int]) -> Iterator[tuple[Found, str, Found]]:
    """Keys that two tables give to one thing, with different values: the later record, the key, and the earlier one."""
    said: dict[str, tuple[Found, Any]] = {}
    for found in records.all_of(list(rows)):
        for key, value in json.loads(found.metadata).items():
            first, before = said.setdefault(key, (found, value))
            if first is not found and not same(before, value):
                yield found, key, first
    for found in records.all_of(list(parts)):
        key = found.table.into or ""
        if key in said:
            yield found, key, said[key][0]
            return
