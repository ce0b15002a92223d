"""A listing on its way into the database: what the layout rules make of each key, as lines that COPY takes.

They come in blocks, so that the next is made while the one before is copied, and memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from tidemill.catalogue.listing import LeftOut, Listed
from tidemill.domain.item_edits import check_name
from tidemill.domain.layout import Layout, Place
from tidemill.domain.mmif import mime_of
from tidemill.errors import InvalidInput
from tidemill.pipelines.names import name_fault
from tidemill.storage.stores import Seen

COLUMNS = "key, etag, attributes, items, project, size, modified_at, locks"
BLOCK = 1000
"""Lines in a block."""
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(slots=True)
class Sorted:
    """What the layout rules made of a listing, so far."""

    seen: int = 0
    ignored: int = 0
    """Files that a rule leaves out."""
    unmatched: Listed = field(default_factory=Listed)
    """Keys that no rule matches."""


class Blocks(Iterator[bytes]):
    """Lines for COPY, a block at a time. Blocking; raises what the listing raises. `found` tells how it went so far."""

    def __init__(self, listing: Iterator[Seen], layout: Layout, left_out: LeftOut) -> None:
        self.found = Sorted()
        self._listing, self._layout, self._left_out = listing, layout, left_out

    def __next__(self) -> bytes:
        lines: list[str] = []
        try:
            for seen in self._listing:
                if line := self._line(seen):
                    lines.append(line)
                    if len(lines) == BLOCK:
                        break
        finally:
            self.found.seen += len(lines)
        if not lines:
            raise StopIteration
        return "".join(lines).encode()

    def _line(self, seen: Seen) -> str | None:
        key = seen.key
        try:
            place = self._layout.place(key)
        except LookupError:
            self.found.unmatched.add(key)
            return None
        if place is None:
            self.found.ignored += 1
            return None
        items, project = _items(place.items), _project(place.project)
        if items is None or project is None:
            self._left_out.unreadable.add(key)
            return None
        attributes = orjson.dumps(_attributes(key, place)).decode()
        return (
            f"{_escaped(key)}\t{_escaped(seen.etag)}\t{_escaped(attributes)}\t{items}\t{project}\t"
            f"{seen.size}\t{seen.modified_at.timestamp()}\t{place.lock}\n"
        )


def _attributes(key: str, place: Place) -> dict[str, Any]:
    attributes = place.attributes
    if "." in key and (mime := _mime(key[key.rfind(".") :])):
        attributes = {"mime": mime, **attributes}
    return attributes | {"lock": True} if place.lock else attributes


@lru_cache(maxsize=1_000)
def _mime(suffix: str) -> str:
    return mime_of(f"any{suffix}")


@lru_cache(maxsize=1_000)
def _project(name: str | None) -> str | None:
    """A project as COPY takes it. None: what a key names cannot be one."""
    if name is None:
        return "\\N"
    return None if name_fault(name) else _escaped(name)


@lru_cache(maxsize=10_000)
def _items(names: tuple[str, ...]) -> str | None:
    """Items as COPY takes them, an array. None: what a key names cannot be their names."""
    try:
        for name in names:
            check_name(name)
    except InvalidInput:
        return None
    quoted = ('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    return _escaped("{" + ",".join(quoted) + "}")


def _escaped(text: str) -> str:
    return text if text.isprintable() and "\\" not in text else text.translate(_ESCAPES)
