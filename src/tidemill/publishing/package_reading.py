"""The bytes of a package's files, in order, read ahead of whoever takes them; none of a file that is another by now."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import obstore
from obstore.exceptions import BaseError, NotFoundError, PreconditionError

from tidemill.domain.package_plan import Entry, FileEntry, StorePlace
from tidemill.errors import Conflict, InvalidInput, StorageError
from tidemill.publishing.package_buffers import Buffers, Chunk
from tidemill.publishing.zip_stream import DESCRIBED_FROM, ZipLayout, described
from tidemill.storage.stores import folder_of, open_store
from tidemill.storage.troubles import in_short, known_trouble, trouble

PIECE = DESCRIBED_FROM
"""Bytes of one read, and of one write. A file of no more is read at once: its CRC is known before it is written."""
AHEAD = 6 * PIECE
"""Bytes that may be read, or asked for, before they are taken."""
REQUESTS = 16
"""Reads at once: small files are waited for together."""
SMALL = PIECE // 2
"""Bytes of a file up to which they are read into memory of their own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of the entry of that number; `last`: its last ones."""

    entry: int
    chunk: Chunk
    last: bool


class Origin(Protocol):
    """Where files are read from."""

    async def read(self, entry: FileEntry, start: int, end: int) -> Chunk:
        """Bytes of a file as it was planned. Raises Conflict where it is another by now, StorageError."""
        ...


def open_origin(name: str, place: StorePlace, pool: ThreadPoolExecutor, buffers: Buffers) -> Origin:
    """The source of that name. Raises InvalidInput."""
    folder = folder_of(place.url)
    return FolderOrigin(name, folder, pool, buffers) if folder is not None else StoreOrigin(name, place)


async def pieces(entries: Sequence[Entry], origins: Mapping[str, Origin]) -> AsyncGenerator[Piece]:
    """The bytes of all entries, in order. Raises Conflict, StorageError."""
    waiting: deque[tuple[int, bool, int, asyncio.Task[Chunk]]] = deque()
    wanted, asked = _wanted(entries), 0
    following = next(wanted, None)
    try:
        while following is not None or waiting:
            while following is not None and len(waiting) < REQUESTS and (not waiting or asked < AHEAD):
                number, start, end, last = following
                read = asyncio.ensure_future(_read(entries[number], origins, start, end))
                waiting.append((number, last, end - start, read))
                asked += end - start
                following = next(wanted, None)
            number, last, size, read = waiting[0]
            chunk = await read
            waiting.popleft()
            asked -= size
            yield Piece(number, chunk, last)
    finally:
        for *_, read in waiting:
            read.cancel()
        await asyncio.gather(*(read for *_, read in waiting), return_exceptions=True)


def _wanted(entries: Sequence[Entry]) -> Iterator[tuple[int, int, int, bool]]:
    """What to read: number of the entry, first byte, the byte behind the last one, whether that is its end.

    Large files are cut where a piece of the zip ends, so that what is read is what is written, and copied nowhere.
    """
    layout = ZipLayout()
    for number, entry in enumerate(entries):
        size = entry.size if isinstance(entry, FileEntry) else len(entry.text.encode())
        layout.header(entry.into, size, 0)
        before = layout.offset - size
        layout.footer(0)
        cut = described(size) and isinstance(entry, FileEntry)
        start, end = 0, min(size, PIECE - before % PIECE) if cut else size
        while True:
            yield number, start, end, end == size
            if end == size:
                break
            start, end = end, min(end + PIECE, size)


async def _read(entry: Entry, origins: Mapping[str, Origin], start: int, end: int) -> Chunk:
    if isinstance(entry, FileEntry):
        return await origins[entry.source].read(entry, start, end)
    text = entry.text.encode()
    return Chunk(text, len(text))


def changed(entry: FileEntry) -> Conflict:
    """The error for a file that is another than was planned."""
    return Conflict(f"{entry.source}: {entry.key} changed while it was packed: sync again.")


def gone(entry: FileEntry) -> Conflict:
    """The error for a file that is not there any more."""
    return Conflict(f"{entry.source}: {entry.key} is not there any more: sync again.")


class FolderOrigin:
    """A folder of this machine. A file is as planned while its modification time and size are."""

    def __init__(self, name: str, folder: Path, pool: ThreadPoolExecutor, buffers: Buffers) -> None:
        self._name, self._folder, self._pool, self._buffers = name, folder, pool, buffers

    async def read(self, entry: FileEntry, start: int, end: int) -> Chunk:
        size = end - start
        chunk = self._buffers.chunk(size) if size > SMALL else Chunk(bytearray(size), size)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._fill, memoryview(chunk.data), entry, start)
        return chunk

    def _fill(self, room: memoryview, entry: FileEntry, start: int) -> None:
        if ".." in entry.key.split("/"):
            raise InvalidInput(f"{self._name}: {entry.key} leads out of its source.")
        path = self._folder / entry.key.lstrip("/")
        try:
            handle = os.open(path, os.O_RDONLY)
            try:
                _same(entry, os.fstat(handle))
                is_whole = _fill_from(handle, start, room)
                _same(entry, os.fstat(handle))
            finally:
                os.close(handle)
            _same(entry, path.stat())
        except FileNotFoundError as error:
            if not self._folder.is_dir():
                raise StorageError(f"The folder {self._folder} of the source {self._name} is not there.") from error
            raise gone(entry) from error
        except OSError as error:
            raise StorageError(f"{self._name}: {entry.key} cannot be read: {error.strerror}.") from error
        if not is_whole:
            raise changed(entry)


def _fill_from(handle: int, start: int, room: memoryview) -> bool:
    """Read until the room is full. Whether there were so many bytes."""
    while room and (count := os.preadv(handle, [room], start)):
        room, start = room[count:], start + count
    return not room


def _same(entry: FileEntry, found: os.stat_result) -> None:
    if found.st_size != entry.size or (entry.etag and entry.etag != f"{found.st_mtime_ns:x}-{found.st_size:x}"):
        raise changed(entry)


class StoreOrigin:
    """An object store; the ETag as planned is asked for with every read."""

    def __init__(self, name: str, place: StorePlace) -> None:
        self._name, self._url = name, place.url
        self._store = open_store(place.url, place.options)

    async def read(self, entry: FileEntry, start: int, end: int) -> Chunk:
        options: Any = {"if_match": f'"{entry.etag}"'} if entry.etag else {}
        if (start, end) != (0, entry.size):
            options["range"] = (start, end)
        try:
            found = await obstore.get_async(self._store, entry.key, options=options)
            etag = (found.meta["e_tag"] or "").strip('"')
            if found.meta["size"] != entry.size or (entry.etag and etag != entry.etag):
                raise changed(entry)
            data = await found.bytes_async()
        except PreconditionError as error:
            raise changed(entry) from error
        except (NotFoundError, FileNotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise trouble(self._url, "read", error) from error
            raise gone(entry) from error
        except (BaseError, OSError, ValueError) as error:
            whole = known_trouble(self._url, "read", error)
            raise whole or StorageError(f"{self._name}: {entry.key} cannot be read: {in_short(error)}") from error
        if len(data) != end - start:
            raise StorageError(f"{self._name}: {entry.key} was cut off while it was read.")
        return Chunk(data, len(data))
