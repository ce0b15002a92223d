"""Reading a file from where it lies, from any byte on: a folder of this machine or an object store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from tidemill.errors import InvalidInput, StorageError
from tidemill.storage.stores import SCHEMES, open_store

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """A file that is being read: its size, a tag that changes with its content, the byte that `pieces` begin at."""

    size: int
    tag: str
    start: int
    pieces: AsyncIterator[bytes]


async def read_from(
    url: str, start: int = 0, reach: Mapping[str, Any] | None = None, unless_other_than: str = ""
) -> Reading:
    """The file at `url` from `start` on; from its beginning where it has another tag than `unless_other_than`.

    `reach`: see `open_store`.

    Raises StorageError; InvalidInput past its end.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        path = Path(unquote(parts.path))
        size, tag = await asyncio.to_thread(_seen, path)
        start = _start(start, size, unless_other_than in ("", tag))
        return Reading(size, tag, start, _local(path, start))
    base, _, name = url.rpartition("/")
    try:
        store = open_store(base, reach) if parts.scheme in SCHEMES else from_url(base)
        head = await obstore.head_async(store, unquote(name))
        size, tag = int(head["size"]), _tag(head["size"], head["e_tag"] or head["last_modified"])
        start = _start(start, size, unless_other_than in ("", tag))
        return Reading(size, tag, start, await _remote(store, unquote(name), start, size))
    except (BaseError, OSError, ValueError) as error:
        raise StorageError(f"{url} could not be read: {error}") from error


def _start(start: int, size: int, same: bool) -> int:
    if not same:
        return 0
    if start > size:
        raise InvalidInput(f"The file has {size} bytes: there is nothing at {start}.")
    return start


def _seen(path: Path) -> tuple[int, str]:
    if not path.is_file():
        raise StorageError(f"There is no file {path}.")
    seen = path.stat()
    return seen.st_size, _tag(seen.st_size, seen.st_mtime_ns)


def _tag(size: int, version: object) -> str:
    return sha256(f"{size} {version}".encode()).hexdigest()[:32]


async def _local(path: Path, start: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


async def _remote(store: obstore.store.ObjectStore, name: str, start: int, size: int) -> AsyncIterator[bytes]:
    if start == size:
        return _nothing()
    found = await obstore.get_async(store, name, options={"range": {"offset": start}})

    async def pieces() -> AsyncIterator[bytes]:
        async for chunk in found.stream(min_chunk_size=_CHUNK):
            yield bytes(chunk)

    return pieces()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""  # makes it a generator
