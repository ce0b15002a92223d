"""A folder of this machine, or one that is mounted here."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from tidemill.executors.places.contract import CHUNK, Seen, Taken, Trouble, Unusable, part_name
from tidemill.fsync import fsync_if_possible

T = TypeVar("T")
P = ParamSpec("P")

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DOWN = {errno.EIO, errno.ESTALE, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN, errno.ETIMEDOUT}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV}


class FolderPlace:
    """The folder itself must be there: one that is made where a disk should be mounted would take files unseen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = folder.as_uri()

    def url_of(self, key: str) -> str:
        return f"{self.url.rstrip('/')}/{quote(key)}"

    def told(self, key: str) -> str:
        return str(self._folder / key)

    async def look(self, key: str) -> Seen | None:
        return await self._do(key, lambda: _seen(self._folder / key))

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        handle = await self._do(key, lambda: Handle(os.open(self._folder / key, os.O_RDONLY)))
        try:
            async for chunk in self._chunks(key, handle, start, end):
                yield chunk
        finally:
            handle.close()

    async def receive(self, key: str, seen: Seen) -> FolderIncoming:
        if not await self._do(key, self._folder.is_dir):
            raise Unusable(f"The folder {self._folder} is not there.")
        part = self._folder / part_name(key, seen)
        return FolderIncoming(self, key, part, await self._do(key, lambda: Handle(_opened(part))))

    async def remove(self, key: str) -> None:
        await self._do(key, lambda: (self._folder / key).unlink(missing_ok=True))

    async def close(self) -> None:
        """Nothing is kept open."""

    def path(self, key: str) -> Path:
        return self._folder / key

    async def _chunks(self, key: str, handle: Handle, start: int, end: int) -> AsyncIterator[bytes]:
        while start < end:
            size = min(CHUNK, end - start)
            chunk = await self._do(key, partial(handle.do, os.pread, size, start))
            if not chunk:
                return
            yield chunk
            start += len(chunk)

    async def _do(self, key: str, act: Callable[[], T]) -> T:
        """Do something in a thread; what the system says against it in the words of a place."""
        try:
            return await asyncio.to_thread(act)
        except OSError as error:
            raise self.judged(error, key) from error

    def judged(self, error: OSError, key: str) -> Exception:
        words = (error.strerror or str(error)).lower()
        if error.errno in _FULL:
            return Unusable(f"There is no space left in {self._folder}.")
        if error.errno in _DOWN:
            return Unusable(f"The folder {self._folder} cannot be used: {words}.")
        return Trouble(f"{self._folder / key}: {words}.")


class Handle:
    """An open file that threads work on. It is closed when none does: after a cancelled wait one may still be at work,
    and the number of a file that is closed is at once another's.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._at_work = 0
        self._closed = False

    def do(self, act: Callable[Concatenate[int, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something with the file's number. Raises OSError if the file is closed."""
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._at_work += 1
        try:
            return act(self._number, *args, **kwargs)
        finally:
            with self._lock:
                self._at_work -= 1
                self._close_unused()

    def close(self) -> None:
        """Close it, now or when the last that is at work on it is done."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and not self._at_work:
            with suppress(OSError):
                os.close(self._number)


class FolderIncoming:
    """A part file beside the final place, written at positions, so that it is never harmed by being written twice."""

    def __init__(self, place: FolderPlace, key: str, part: Path, handle: Handle) -> None:
        self._place, self._key, self._part, self._handle = place, key, part, handle
        self.there = handle.do(os.fstat).st_size

    async def peek(self, start: int, size: int) -> bytes:
        return await self._do(lambda: self._handle.do(os.pread, size, start))

    async def write(self, start: int, data: bytes) -> None:
        await self._do(lambda: self._handle.do(_write_all, data, start))

    async def finish(self, size: int, overwrite: bool) -> None:
        await self._do(lambda: self._handle.do(_settle, size))

    async def read_back(self) -> AsyncIterator[bytes]:
        end = self._handle.do(os.fstat).st_size
        async for chunk in self._place._chunks(self._key, self._handle, 0, end):
            yield chunk

    async def publish(self, overwrite: bool) -> None:
        try:
            await asyncio.to_thread(_named, self._part, self._place.path(self._key), overwrite)
        except (FileExistsError, FileNotFoundError):  # somebody else's, or another attempt of ours was first
            raise Taken from None
        except OSError as error:
            raise self._place.judged(error, self._key) from error

    async def discard(self) -> None:
        await self._do(lambda: self._part.unlink(missing_ok=True))

    async def close(self) -> None:
        self._handle.close()

    async def _do(self, act: Callable[[], T]) -> T:
        return await self._place._do(self._key, act)


def _seen(path: Path) -> Seen | None:
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not path.is_file():
        raise IsADirectoryError(errno.EISDIR, "is no file")
    return Seen(stat.st_size, f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}")


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)


def _write_all(handle: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, start)
        view, start = view[written:], start + written


def _settle(handle: int, size: int) -> None:
    """Cut off what an earlier try wrote beyond the end, write all through to the disk, and forget the cached copy, so
    that reading back reads the disk.
    """
    os.ftruncate(handle, size)
    os.fsync(handle)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _named(part: Path, final: Path, overwrite: bool) -> None:
    if overwrite:
        part.replace(final)
    else:
        try:
            os.link(part, final)  # unlike a rename, it refuses a name that is taken
            part.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if final.exists():
                raise FileExistsError(errno.EEXIST, "exists") from None
            part.rename(final)
    fsync_if_possible(final.parent)
