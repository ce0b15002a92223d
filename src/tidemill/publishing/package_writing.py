"""Where a package is written: into a folder or an object store, whole and checked, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError

from tidemill.domain.package_plan import StorePlace
from tidemill.errors import InvalidInput, StorageError
from tidemill.publishing.package_folder import FolderSink
from tidemill.storage.s3 import bucket_of, client
from tidemill.storage.stores import folder_of, open_store
from tidemill.storage.troubles import trouble

if TYPE_CHECKING:
    from typing_extensions import Buffer

PART = 8 * 1024 * 1024
"""Bytes of one part of an upload; more where there would be too many."""
MOST_PARTS = 9000
AT_ONCE = 4
"""Parts that go up side by side."""
LETTING_GO = 30.0
"""Seconds that an upload may take to be aborted."""


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
        await to_the_end(_undone(making))
        raise


async def _undone(making: asyncio.Future[FolderSink]) -> None:
    with suppress(StorageError):
        await (await making).abort()


async def to_the_end(leaving: Coroutine[Any, Any, None]) -> None:
    """Do it, however often it is cancelled meanwhile: a second signal must not keep the first from tidying up."""
    task = asyncio.ensure_future(leaving)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


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
        return trouble(self._place.url, "written", error)


def _drop_uploads(place: StorePlace, key: str) -> None:
    """Abort what killed builders of this very package left unfinished. Blocking.

    One that is being built at this moment loses its upload, too, and finds that the package is there. Services other
    than S3 let unfinished uploads go by themselves; so do buckets with a rule for it, where we may not list them.
    """
    if urlsplit(place.url).scheme != "s3":
        return
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = bucket_of(place.url)
    whole = prefix + key
    with suppress(BotoCoreError, ClientError):
        service = client(place.options)
        found = service.list_multipart_uploads(Bucket=bucket, Prefix=whole)
        for upload in found.get("Uploads", []):
            if upload["Key"] == whole:
                service.abort_multipart_upload(Bucket=bucket, Key=whole, UploadId=upload["UploadId"])
