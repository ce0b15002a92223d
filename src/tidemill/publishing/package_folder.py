"""Where a package is written on this machine: a part file that becomes the package when it is whole, or goes."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.errors import StorageError
from tidemill.executors.amounts import amount
from tidemill.fsync import fsync

if TYPE_CHECKING:
    from typing_extensions import Buffer

SYNC_EVERY = 16 * 1024 * 1024
"""Bytes behind which a folder's disk is told to begin, so that little of it is still to come at the end."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PART = ".part"
_PAST_CACHE = getattr(os, "O_DIRECT", 0)
"""The flag for writes that do not go through the system's cache; 0 where the system has none."""
_BLOCK = 4096
"""Bytes of which such a write has a multiple, at a multiple, from memory at a multiple."""


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
            self._past_cache = _pass_cache(self._handle, True)
        except OSError as error:
            raise self._judged(error) from error

    async def write(self, data: Buffer) -> None:
        await self._do(self._write, data)
        behind = 0 if self._past_cache else self._at - self._synced
        if behind >= SYNC_EVERY and (self._syncing is None or self._syncing.done()):
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
            if self._past_cache and (len(view) % _BLOCK or self._at % _BLOCK):  # the end, or what a full disk left
                self._past_cache = _pass_cache(self._handle, False)
            try:
                written = os.pwrite(self._handle, view, self._at)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._past_cache:
                    raise
                self._past_cache = _pass_cache(self._handle, False)  # a file system that wants larger blocks, or none
                continue
            view, self._at = view[written:], self._at + written

    def _publish(self) -> str:
        os.fsync(self._handle)
        found = os.fstat(self._handle)
        if found.st_size != self._size:
            raise StorageError(f"The package has {self._size} bytes, but {found.st_size} were stored.")
        self._part.replace(self._place)
        for folder in (self._place.parent, self._place.parent.parent):
            fsync(folder)
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


def _pass_cache(handle: int, wanted: bool) -> bool:
    """Let writes go to the disk at once, where this system and file system can do that. Whether they do.

    It saves copying the bytes once more and waiting for the disk at the end, and leaves others' files in the cache.
    """
    if not _PAST_CACHE:
        return False
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    try:
        fcntl.fcntl(handle, fcntl.F_SETFL, flags | _PAST_CACHE if wanted else flags & ~_PAST_CACHE)
    except OSError:
        return False
    return wanted


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
            is_dead(part, remove=True)


def is_dead(part: Path, *, remove: bool = False) -> bool:
    """Whether a part file is held by no builder; `remove`: then it goes, before another could take hold of it.

    Blocking. Raises OSError where it may not be opened, or removed.
    """
    try:
        handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody holds it, or this file system cannot tell
            return False
        if remove:
            part.unlink(missing_ok=True)
        return True
    finally:
        os.close(handle)
