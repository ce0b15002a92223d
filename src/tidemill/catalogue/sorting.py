"""A listing on its way into the database: what the layout rules make of each key, as lines that COPY takes.

They come in blocks, so that the next is made while the one before is copied, and memory stays flat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import orjson

from tidemill.catalogue.listing import LeftOut, Listed
from tidemill.domain.item_edits import check_name
from tidemill.domain.layout import Layout, Place
from tidemill.domain.mmif import mime_of
from tidemill.errors import InvalidInput
from tidemill.pipelines.names import name_fault
from tidemill.storage.stores import Seen

COLUMNS = "key, size, etag, modified_at, attributes, items, project, locks"
BLOCK = 1000
"""Lines in a block."""
_SPECIAL = re.compile(r"[\\\t\n\r]")
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
        self._mimes: dict[str, str] = {}

    def __next__(self) -> bytes:
        lines: list[str] = []
        for seen in self._listing:
            if line := self._line(seen):
                lines.append(line)
                if len(lines) == BLOCK:
                    break
        if not lines:
            raise StopIteration
        self.found.seen += len(lines)
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
        if not _names(place):
            self._left_out.unreadable.add(key)
            return None
        attributes = orjson.dumps(self._attributes(key, place)).decode()
        project = "\\N" if place.project is None else _escaped(place.project)
        return (
            f"{_escaped(key)}\t{seen.size}\t{_escaped(seen.etag)}\t{seen.modified_at.isoformat()}\t"
            f"{_escaped(attributes)}\t{_escaped(_array(place.items))}\t{project}\t{'t' if place.lock else 'f'}\n"
        )

    def _attributes(self, key: str, place: Place) -> dict[str, object]:
        suffix = key[key.rfind(".") :] if "." in key else ""
        mime = self._mimes.get(suffix)
        if mime is None:
            mime = mime_of(key)
            if len(self._mimes) < 1000:  # a collection has few; what is no suffix must not fill the memory
                self._mimes[suffix] = mime
        attributes = {"mime": mime} | place.attributes if mime else place.attributes
        return attributes | {"lock": True} if place.lock else attributes


def _names(place: Place) -> bool:
    """Whether what a key names can be the names of items and of a project."""
    return (place.project is None or _is_project(place.project)) and all(map(_is_name, place.items))


@lru_cache(maxsize=1_000)
def _is_project(name: str) -> bool:
    return name_fault(name) is None


@lru_cache(maxsize=10_000)
def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidInput:
        return False
    return True


def _array(names: tuple[str, ...]) -> str:
    quoted = ('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    return "{" + ",".join(quoted) + "}"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text
