"""Where a package is written: into a folder or an object store, whole and checked, or not at all."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError

from tidemill.domain.package_plan import StorePlace
from tidemill.errors import InvalidInput, StorageError
from tidemill.executors.amounts import amount
from tidemill.publishing.package_reading import brief, folder_of
from tidemill.storage.stores import open_store

if TYPE_CHECKING:
    from typing_extensions import Buffer

PART = 8 * 1024 * 1024
"""Bytes of one part of an upload; more where there would be too many."""
MOST_PARTS = 9000
SYNC_EVERY = 64 * 1024 * 1024
"""Bytes behind which a folder's disk is told to begin, so that not all of it is still to come at the end."""
AT_ONCE = 4
"""Parts that go up side by side."""
LETTING_GO = 30.0
"""Seconds that an upload may take to be aborted."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PART = ".part"


class Sink(Protocol):
    """One package on its way to where it will lie."""

    async def write(self, data: Buffer) -> None:
        """Some bytes more. Raises StorageError."""
        ...

    async def finish(self) -> str:
        """All is written: put it in its place and check it. Its ETag. Raises StorageError."""
        ...

    async def abort(self) -> None:
        """Leave nothing behind."""
        ...


async def open_sink(place: StorePlace, key: str, size: int, pool: ThreadPoolExecutor) -> Sink:
    """For a package of `size` bytes at `key`. Raises StorageError, InvalidInput."""
    if {"", ".", ".."} & set(key.split("/")):
        raise InvalidInput(f"A package cannot lie at {key!r}.")
    folder = folder_of(place.url)
    if folder is None:
        return StoreSink(place, key, size)
    making = asyncio.get_running_loop().run_in_executor(pool, FolderSink, folder, key, size, pool)
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        await (await making).abort()
        raise


class FolderSink:
    """A part file beside the package's place, locked while it is written, so that a dead builder's can be told."""

    def __init__(self, folder: Path, key: str, size: int, pool: ThreadPoolExecutor) -> None:
        """Blocking. Raises StorageError."""
        self._folder, self._place, self._size, self._pool = folder, folder / key, size, pool
        self._at = self._synced = 0
        self._doing: asyncio.Future[Any] | None = None
        self._syncing: asyncio.Future[Any] | None = None
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            _clear(self._place.parent)
            if (free := shutil.disk_usage(self._place.parent).free) < size:
                self._drop_folder()
                raise StorageError(
                    f"There is no space left in {folder}: {amount(size)} are needed, {amount(free)} are free."
                )
            self._part, self._handle = _locked_part(self._place.parent)
        except OSError as error:
            raise self._judged(error) from error

    async def write(self, data: Buffer) -> None:
        await self._do(self._write, data)
        if self._at - self._synced >= SYNC_EVERY:
            await self._sync_done()
            self._synced = self._at
            self._syncing = asyncio.get_running_loop().run_in_executor(self._pool, os.fdatasync, self._handle)

    async def finish(self) -> str:
        await self._sync_done()
        etag: str = await self._do(self._publish)
        return etag

    async def abort(self) -> None:
        for doing in (self._doing, self._syncing):
            if doing is not None:
                await asyncio.wait([doing])
        await self._do(self._discard)

    async def _sync_done(self) -> None:
        """What the disk said of the bytes before: it says so only once."""
        if self._syncing is not None:
            try:
                await asyncio.shield(self._syncing)
            except OSError as error:
                raise self._judged(error) from error

    async def _do(self, act: Any, *arguments: Any) -> Any:
        """Act in a thread, which goes on to its end even if nobody waits for it any more: `abort` does."""
        self._doing = asyncio.get_running_loop().run_in_executor(self._pool, act, *arguments)
        try:
            return await asyncio.shield(self._doing)
        except OSError as error:
            raise self._judged(error) from error

    def _write(self, data: Buffer) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._handle, view, self._at)
            view, self._at = view[written:], self._at + written

    def _publish(self) -> str:
        os.fsync(self._handle)
        found = os.fstat(self._handle)
        if found.st_size != self._size:
            raise StorageError(f"The package has {self._size} bytes, but {found.st_size} were stored.")
        self._part.replace(self._place)
        for folder in (self._place.parent, self._place.parent.parent):
            _sync(folder)
        there = self._place.stat()
        if there.st_size != self._size:
            raise StorageError(f"The package has {self._size} bytes, but {there.st_size} are at {self._place}.")
        self._close()
        return f"{there.st_mtime_ns:x}-{there.st_size:x}"

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._close()
        self._drop_folder()

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _drop_folder(self) -> None:
        """The folder of this key, if nothing is in it."""
        with suppress(OSError):
            self._place.parent.rmdir()

    def _judged(self, error: OSError) -> StorageError:
        if error.errno in _FULL:
            return StorageError(f"There is no space left in {self._folder}: the package needs {amount(self._size)}.")
        return StorageError(f"{self._folder} cannot be written to: {(error.strerror or str(error)).lower()}.")


def _locked_part(folder: Path) -> tuple[Path, int]:
    while True:
        part = folder / f".{uuid.uuid4().hex}{_PART}"
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:  # a network's file system, on which nothing is tidied up either
            if error.errno in _NO_LOCKS:
                return part, handle
            os.close(handle)
            raise
        with suppress(FileNotFoundError):
            if part.stat().st_ino == os.fstat(handle).st_ino:
                return part, handle
        os.close(handle)  # somebody who tidied up found it before it was locked


def _clear(folder: Path) -> None:
    """Take away what dead builders left: part files that nobody holds."""
    for part in folder.glob(f".*{_PART}"):
        with suppress(OSError):
            handle = os.open(part, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink(missing_ok=True)
            finally:
                os.close(handle)


def _sync(folder: Path) -> None:
    """Let what a folder lists survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _LetGo(Exception):
    """Said to an upload that is not to be finished."""


class StoreSink:
    """An object store, in parts for all but small packages; the object appears whole or not at all.

    The library aborts an upload when what feeds it fails, and only then: so it is never cancelled, but told.
    """

    def __init__(self, place: StorePlace, key: str, size: int) -> None:
        self._place, self._key, self._size = place, key, size
        self._store = open_store(place.url, place.options)
        self._part = max(PART, -(-size // MOST_PARTS))
        self._small: bytearray | None = bytearray() if size <= self._part else None
        self._queue: asyncio.Queue[Buffer | None] = asyncio.Queue(1)
        """What goes up next; None: nothing more."""
        self._letting_go = False
        self._upload: asyncio.Future[Any] | None = None
        self._made_by_other = False

    async def write(self, data: Buffer) -> None:
        if self._small is not None:
            self._small += memoryview(data)
            return
        if self._upload is None:
            self._upload = asyncio.ensure_future(
                obstore.put_async(
                    self._store,
                    self._key,
                    self._fed(),
                    use_multipart=True,
                    chunk_size=self._part,
                    max_concurrency=AT_ONCE,
                )
            )
        if not self._made_by_other:
            await self._give(data)

    async def finish(self) -> str:
        try:
            if self._small is not None:
                await obstore.put_async(self._store, self._key, bytes(self._small), use_multipart=False)
            elif self._upload is not None and not self._made_by_other:
                await self._give(None)
                if not self._made_by_other:
                    await self._settled(asyncio.shield(self._upload))
            found = await obstore.head_async(self._store, self._key)
        except (BaseError, OSError) as error:
            raise self._judged(error) from error
        if found["size"] != self._size:
            raise StorageError(f"The package has {self._size} bytes, but {found['size']} were stored.")
        await asyncio.to_thread(_drop_uploads, self._place, self._key)
        return (found["e_tag"] or "").strip('"')

    async def abort(self) -> None:
        if self._upload is None or self._upload.done():
            return
        self._letting_go = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        with suppress(TimeoutError, BaseError, OSError, _LetGo):
            await asyncio.wait_for(asyncio.shield(self._upload), LETTING_GO)

    async def _fed(self) -> AsyncIterator[Buffer]:
        while (data := await self._queue.get()) is not None:
            yield data
        if self._letting_go:
            raise _LetGo

    async def _give(self, data: Buffer | None) -> None:
        assert self._upload is not None
        given = asyncio.ensure_future(self._queue.put(data))
        await asyncio.wait({given, self._upload}, return_when=asyncio.FIRST_COMPLETED)
        if not given.done():
            given.cancel()
            await self._settled(self._upload)

    async def _settled(self, upload: asyncio.Future[Any]) -> None:
        """The upload's end. Somebody who built the same package and was first may have swept it away."""
        try:
            await upload
        except (BaseError, OSError) as error:
            if "NoSuchUpload" not in str(error) or not await self._is_there():
                raise self._judged(error) from error
            self._made_by_other = True

    async def _is_there(self) -> bool:
        try:
            return (await obstore.head_async(self._store, self._key))["size"] == self._size
        except (BaseError, OSError):
            return False

    def _judged(self, error: Exception) -> StorageError:
        return StorageError(f"The package could not be stored in {self._place.url}: {brief(error)}")


def _drop_uploads(place: StorePlace, key: str) -> None:
    """Abort what killed builders of this very package left unfinished. Blocking.

    One that is being built at this moment loses its upload, too, and finds that the package is there. Services other
    than S3 let unfinished uploads go by themselves; so do buckets with a rule for it, where we may not list them.
    """
    parts = urlsplit(place.url)
    if parts.scheme != "s3":
        return
    from botocore.exceptions import BotoCoreError, ClientError

    from tidemill.storage.s3 import client

    prefix = unquote(parts.path).strip("/")
    whole = f"{prefix}/{key}" if prefix else key
    with suppress(BotoCoreError, ClientError):
        service = client(place.options)
        found = service.list_multipart_uploads(Bucket=parts.netloc, Prefix=whole)
        for upload in found.get("Uploads", []):
            if upload["Key"] == whole:
                service.abort_multipart_upload(Bucket=parts.netloc, Key=whole, UploadId=upload["UploadId"])
