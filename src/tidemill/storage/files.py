"""The files that steps put out: kept by their SHA-256 in a folder or an object store, fetched for steps to read."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from tidemill.errors import Conflict, StorageError
from tidemill.executors.contract import KeptFile
from tidemill.executors.workbench import checksum
from tidemill.fsync import fsync
from tidemill.storage.stores import SCHEMES, folder_of, open_store

__all__ = ["FileStore", "checksum"]

_CHUNK = 4 * 1024 * 1024


class FileStore:
    """The store at a URL; a folder is made at the first write."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._store: ObjectStore | None = None
        self._folder = folder_of(self._url)

    async def keep(self, path: Path, name: str) -> KeptFile:
        """Make a local file safe under `name`, verified, before anything speaks of it. Raises StorageError.

        Repeating it is harmless: the same bytes lie at the same place.
        """
        try:
            if self._folder is not None:
                sha256, size = await asyncio.to_thread(_copied, path, self._folder, name)
            else:
                sha256, size = await asyncio.to_thread(checksum, path)
                await self._put(path, f"{sha256[:2]}/{sha256}/{name}", size)
        except (BaseError, OSError) as error:
            raise StorageError(f"The file {name} could not be stored: {_brief(error)}") from error
        return KeptFile(name, size, sha256, f"{self._url}/{quote(f'{sha256[:2]}/{sha256}/{name}')}")

    async def _put(self, path: Path, key: str, size: int) -> None:
        store = self._opened()
        await obstore.put_async(store, key, path)
        stored = (await obstore.head_async(store, key))["size"]
        if stored != size:
            raise StorageError(f"The file {path.name} has {size} bytes, but {stored} were stored.")

    async def fetch(self, url: str, folder: Path, reach: Mapping[str, Any] | None = None) -> Path:
        """A local path at which the file at `url` can be read: itself where it is local, else a copy in `folder`.

        `reach`: `endpoint` and `region` of a store, keys of an SFTP server. Raises StorageError if it is not there.
        """
        path = folder_of(url)
        if path is not None:
            if not await asyncio.to_thread(path.is_file):
                raise StorageError(f"There is no file {path}.")
            return path
        if url.startswith("sftp://"):
            from tidemill.executors.places.fetching import fetched

            return await fetched(url, folder, reach or {})
        base, _, name = url.rpartition("/")
        target = folder / Path(unquote(name)).name
        part = target.with_name(target.name + ".part")
        try:
            found = await obstore.get_async(_store_at(base, reach), unquote(name))
            with part.open("wb") as file:
                async for chunk in found.stream(min_chunk_size=_CHUNK):
                    await asyncio.to_thread(file.write, chunk)
            if part.stat().st_size != found.meta["size"]:
                raise OSError("the answer was cut off")
        except (BaseError, OSError, ValueError) as error:
            part.unlink(missing_ok=True)
            raise StorageError(f"{url} could not be read: {_brief(error)}") from error
        return part.replace(target)

    def local(self, url: str) -> Path | None:
        """Where a file of this store lies on this machine; None if the store is elsewhere.

        Raises Conflict for a URL that is not of this store, StorageError for a file that is gone.
        """
        key = self._key(url)
        if self._folder is None:
            return None
        path = (self._folder / key).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise Conflict(f"{url} does not lie in this site's file store.")
        if not path.is_file():
            raise StorageError(f"{path.name} is gone from the file store: there is no {path}.")
        return path

    async def size(self, url: str) -> int:
        """How many bytes a file of this store has now. Raises Conflict, StorageError."""
        path = self.local(url)
        if path is not None:
            return path.stat().st_size
        try:
            return (await obstore.head_async(self._opened(), self._key(url)))["size"]
        except (BaseError, OSError) as error:
            raise StorageError(f"{url} could not be read: {_brief(error)}") from error

    async def read(self, url: str) -> AsyncIterator[bytes]:
        """The bytes of a file of this store, piece by piece. Raises Conflict, StorageError."""
        path = self.local(url)
        try:
            if path is not None:
                with path.open("rb") as file:
                    while piece := await asyncio.to_thread(file.read, _CHUNK):
                        yield piece
            else:
                found = await obstore.get_async(self._opened(), self._key(url))
                async for chunk in found.stream(min_chunk_size=_CHUNK):
                    yield bytes(chunk)
        except (BaseError, OSError) as error:
            raise StorageError(f"{url} could not be read: {_brief(error)}") from error

    def _key(self, url: str) -> str:
        """A file's key in this store: nothing else may be read through it, whatever a worker has reported."""
        key = unquote(url.removeprefix(self._url + "/"))
        if not url.startswith(self._url + "/") or {"", ".", ".."} & set(key.split("/")):
            raise Conflict(
                f"{url} does not lie in this site's file store.",
                hint="The setting TIDEMILL_FILES says where that is; it may have been another when the file was kept.",
            )
        return key

    def _opened(self) -> ObjectStore:
        if self._store is None:
            self._store = from_url(self._url)
        return self._store


def _store_at(url: str, reach: Mapping[str, Any] | None) -> ObjectStore:
    if urlsplit(url).scheme in SCHEMES:
        return open_store(url, reach)
    return from_url(url, client_options={"allow_http": True}) if url.startswith("http://") else from_url(url)


def _brief(error: Exception) -> str:
    """What went wrong, without what the object store adds to it: whole answers, and its own innards."""
    return str(error).partition("\n")[0].strip(" :-")


def _copied(path: Path, folder: Path, name: str) -> tuple[str, int]:
    """Copy a file to its place by its SHA-256, read once, on disk for good before it has its name. Blocking."""
    waiting = folder / "incoming"
    waiting.mkdir(parents=True, exist_ok=True)
    part = waiting / uuid.uuid4().hex
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as source, part.open("xb") as target:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        sha256 = digest.hexdigest()
        place = folder / sha256[:2] / sha256 / name
        place.parent.mkdir(parents=True, exist_ok=True)
        part.replace(place)
        for above in (place.parent, place.parent.parent, folder):
            fsync(above)
    finally:
        part.unlink(missing_ok=True)
    return sha256, size
