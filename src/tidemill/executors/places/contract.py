"""What a transfer asks of a place where files lie."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

CHUNK = 4 * 1024 * 1024
"""Bytes read and written at a time."""


class Unusable(Exception):
    """The place as a whole cannot be used by now: out of reach, refuses us, full. No file is to blame."""


class Trouble(Exception):
    """Something is wrong with one file; another try may go better."""


class Taken(Exception):
    """Another file has the name already."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it is; `mark` differs when it was written again (times, an ETag)."""

    size: int
    mark: str


class Incoming(Protocol):
    """A file on its way into a place, not yet under its name. `there`: bytes left by an earlier try."""

    there: int

    async def peek(self, start: int, size: int) -> bytes:
        """Some bytes that lie there."""
        ...

    async def write(self, start: int, data: bytes) -> None:
        """The next bytes. `start` is 0, or goes on where the last write ended or an earlier try left off."""
        ...

    async def finish(self, size: int, overwrite: bool) -> None:
        """All `size` bytes were written: make them last. Where a file cannot be read before it has its name, it gets it
        here; raises Taken unless it may overwrite.
        """
        ...

    def read_back(self) -> AsyncIterator[bytes]:
        """What was written, as the place has it."""
        ...

    async def publish(self, overwrite: bool) -> None:
        """Give it its name, at once and whole. Raises Taken unless it may overwrite."""
        ...

    async def discard(self) -> None:
        """Take away what was written, and nothing else: it is of no use."""
        ...

    async def close(self) -> None:
        """Let go of it; what was written stays for the next try, where the place can keep it."""
        ...


class Place(Protocol):
    """A folder, bucket or server. Keys are paths below its URL, with `/`. All raise Unusable and Trouble."""

    url: str

    def url_of(self, key: str) -> str:
        """The URL of the file at `key`."""
        ...

    def told(self, key: str) -> str:
        """What to call that file to a person."""
        ...

    async def look(self, key: str) -> Seen | None:
        """The file as it is now; None where there is none."""
        ...

    def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a file from `start` up to `end`, fewer where it is shorter."""
        ...

    async def receive(self, key: str, seen: Seen) -> Incoming:
        """Begin to take in a file that looks so at its source, or go on with that very one, whose transfer was cut."""
        ...

    async def remove(self, key: str) -> None:
        """Delete a file; no error where there is none."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def part_name(key: str, seen: Seen) -> str:
    """Where a file lies until it is whole and verified: hidden, beside its final place, with an ending that a sync
    of a source passes over.

    Another state of the source has another name: so two attempts that write at the same time write the same bytes.
    """
    folder, slash, name = key.rpartition("/")
    short = name if len(name.encode()) <= 200 else hashlib.sha256(name.encode()).hexdigest()
    state = hashlib.sha256(f"{seen.size} {seen.mark}".encode()).hexdigest()[:8]
    return f"{folder}{slash}.{short}.{state}.tidemill.part"
