"""Reading a file from where it lies, from any byte on: a folder of this machine or an object store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from tidemill.errors import InvalidInput, StorageError
from tidemill.storage.stores import SCHEMES, open_store

_CHUNK = 1024 * 1024


async def read_from(
    url: str, start: int = 0, reach: Mapping[str, Any] | None = None
) -> tuple[int, AsyncIterator[bytes]]:
    """The size of the file at `url`, and its bytes from `start` on; `reach`: see `open_store`.

    Raises StorageError; InvalidInput past its end.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        path = Path(unquote(parts.path))
        size = await asyncio.to_thread(_size, path)
        _check(start, size)
        return size, _local(path, start)
    base, _, name = url.rpartition("/")
    try:
        store = open_store(base, reach) if parts.scheme in SCHEMES else from_url(base)
        size = int((await obstore.head_async(store, unquote(name)))["size"])
        _check(start, size)
        return size, await _remote(store, unquote(name), start, size)
    except (BaseError, OSError, ValueError) as error:
        raise StorageError(f"{url} could not be read: {error}") from error


def _check(start: int, size: int) -> None:
    if start > size:
        raise InvalidInput(f"The file has {size} bytes: there is nothing at {start}.")


def _size(path: Path) -> int:
    if not path.is_file():
        raise StorageError(f"There is no file {path}.")
    return path.stat().st_size


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
