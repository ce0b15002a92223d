"""The files that steps put out: kept by their SHA-256 in a folder or an object store, fetched for steps to read."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from tidemill.errors import StorageError
from tidemill.executors.contract import KeptFile

_CHUNK = 4 * 1024 * 1024


class FileStore:
    """The store at a URL; a folder is made at the first write."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._store: ObjectStore | None = None

    async def keep(self, path: Path, name: str) -> KeptFile:
        """Make a local file safe under `name`, verified, before anything speaks of it. Raises StorageError.

        Repeating it is harmless: the same bytes lie at the same place.
        """
        sha256, size = await asyncio.to_thread(checksum, path)
        key = f"{sha256[:2]}/{sha256}/{name}"
        try:
            store = self._opened()
            await obstore.put_async(store, key, path)
            stored = (await obstore.head_async(store, key))["size"]
        except (BaseError, OSError) as error:
            raise StorageError(f"The file {name} could not be stored: {error}") from error
        if stored != size:
            raise StorageError(f"The file {name} has {size} bytes, but {stored} were stored.")
        return KeptFile(name, size, sha256, f"{self._url}/{quote(key)}")

    async def fetch(self, url: str, folder: Path) -> Path:
        """A local path at which the file at `url` can be read: itself where it is local, else a copy in `folder`.

        Raises StorageError if it is not there.
        """
        parts = urlsplit(url)
        if parts.scheme in ("", "file"):
            path = Path(unquote(parts.path))
            if not path.is_file():
                raise StorageError(f"There is no file {path}.")
            return path
        base, _, name = url.rpartition("/")
        target = folder / unquote(name)
        part = target.with_name(target.name + ".part")
        try:
            found = await obstore.get_async(from_url(base), unquote(name))
            with part.open("wb") as file:
                async for chunk in found.stream(min_chunk_size=_CHUNK):
                    await asyncio.to_thread(file.write, chunk)
        except (BaseError, OSError) as error:
            part.unlink(missing_ok=True)
            raise StorageError(f"{url} could not be read: {error}") from error
        return part.replace(target)

    def _opened(self) -> ObjectStore:
        if self._store is None:
            parts = urlsplit(self._url)
            if parts.scheme == "file":
                folder = Path(unquote(parts.path))
                folder.mkdir(parents=True, exist_ok=True)
                self._store = LocalStore(folder)
            else:
                self._store = from_url(self._url)
        return self._store


def checksum(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes of a local file. Blocking."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()
