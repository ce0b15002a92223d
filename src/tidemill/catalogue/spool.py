"""A listing on its way into the database: written to a temporary file first, in the form that COPY takes.

A bucket may take minutes to list; while a transaction that writes is open, readers of the change feed wait behind it.
So the listing is finished before the transaction begins. Memory stays flat; the file takes about 200 bytes a key.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import orjson

from tidemill.catalogue.listing import Listed
from tidemill.domain.layout import Layout
from tidemill.domain.mmif import mime_of
from tidemill.errors import StorageError
from tidemill.storage.stores import Seen

COLUMNS = "key, size, etag, modified_at, attributes, items, project, locks"
BLOCK = 1024 * 1024
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(slots=True)
class Sorted:
    """What the layout rules made of a listing."""

    seen: int = 0
    ignored: int = 0
    """Files that a rule leaves out."""
    unmatched: Listed = field(default_factory=Listed)
    """Keys that no rule matches."""


class Spool:
    """Lines for COPY. `with Spool() as spool: spool.fill(…); for block in spool.blocks(): …`"""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="tidemill-listing-")  # noqa: SIM115 - `with` is ours

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fill(self, listing: Iterator[Seen], layout: Layout) -> Sorted:
        """Write a whole listing. Blocking. Raises StorageError (the disk is full), and what the listing raises."""
        found = Sorted()
        try:
            for seen in listing:
                if line := _line(seen, layout, found):
                    self._file.write(line)
                    found.seen += 1
            self._file.flush()
        except OSError as error:
            raise StorageError(f"The listing could not be written to a temporary file: {error.strerror}") from error
        return found

    def blocks(self) -> Iterator[bytes]:
        """What was written, from the beginning."""
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            yield block


def _line(seen: Seen, layout: Layout, found: Sorted) -> bytes | None:
    try:
        place = layout.place(seen.key)
    except LookupError:
        found.unmatched.add(seen.key)
        return None
    if place is None:
        found.ignored += 1
        return None
    attributes = place.attributes
    if mime := mime_of(seen.key):
        attributes = {"mime": mime} | attributes
    if place.lock:
        attributes = attributes | {"lock": True}
    fields = (
        _escaped(seen.key),
        str(seen.size),
        _escaped(seen.etag),
        seen.modified_at.isoformat(),
        _escaped(orjson.dumps(attributes).decode()),
        _escaped(_array(place.items)),
        "\\N" if place.project is None else _escaped(place.project),
        "t" if place.lock else "f",
    )
    return ("\t".join(fields) + "\n").encode()


def _array(names: tuple[str, ...]) -> str:
    quoted = ('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    return "{" + ",".join(quoted) + "}"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text
