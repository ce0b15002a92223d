"""A folder on a server that speaks SFTP (version 3 with OpenSSH's extensions, where it has them)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from posixpath import dirname
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import asyncssh

from tidemill.executors.places.contract import CHUNK, Seen, Taken, Trouble, Unusable, part_name
from tidemill.executors.places.ssh import Server, words

_GONE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
_LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError, asyncssh.ChannelOpenError)
_FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)


class SftpPlace:
    """`sftp://user@host:port/path`; `/~/path` is a path in the home folder. The folder itself must be there."""

    def __init__(self, url: str, server: Server) -> None:
        self.url = url.rstrip("/")
        self.server = server
        path = unquote(urlsplit(url).path).rstrip("/") or "/"
        self._folder = path.removeprefix("/~/") if path.startswith("/~/") else ("." if path == "/~" else path)

    def url_of(self, key: str) -> str:
        return f"{self.url}/{quote(key)}"

    def path(self, key: str) -> str:
        return f"{self._folder.rstrip('/')}/{key}"

    def told(self, key: str) -> str:
        return f"{self.url}/{key}"

    async def look(self, key: str) -> Seen | None:
        client = await self.server.client()
        with self.judging(key):
            try:
                found = await client.stat(self.path(key))
            except _GONE:
                return None
        if found.type != asyncssh.FILEXFER_TYPE_REGULAR:
            raise Trouble(f"{self.told(key)} is no file.")
        return Seen(found.size or 0, f"{found.mtime}-{found.size}")

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        client = await self.server.client()
        with self.judging(key):
            async with client.open(self.path(key), "rb") as file:
                async for chunk in self.chunks(key, file, start, end):
                    yield chunk

    async def receive(self, key: str, seen: Seen) -> SftpIncoming:
        client = await self.server.client()
        path = self.path(part_name(key, seen))
        flags = asyncssh.FXF_READ | asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
        with self.judging(key):
            try:
                file = await client.open(path, flags, encoding=None)
            except _GONE:
                if not await client.isdir(self._folder):
                    raise Unusable(f"There is no folder {self._folder} on {self.server.login}.") from None
                await client.makedirs(dirname(path), exist_ok=True)
                file = await client.open(path, flags, encoding=None)
            there = (await file.stat()).size or 0
        return SftpIncoming(self, client, file, key, path, there)

    async def remove(self, key: str) -> None:
        client = await self.server.client()
        with self.judging(key), suppress(*_GONE):
            await client.remove(self.path(key))

    async def close(self) -> None:
        """The connection is the server's."""

    async def chunks(self, key: str, file: Any, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of an open file."""
        while start < end:
            with self.judging(key):
                chunk = await file.read(min(CHUNK, end - start), start)
            if not chunk:
                return
            yield chunk
            start += len(chunk)

    @contextmanager
    def judging(self, key: str) -> Iterator[None]:
        """What the server says against it in the words of a place."""
        try:
            yield
        except _LOST as error:
            raise Unusable(f"{self.server.login} cannot be reached: {words(error)}.") from error
        except _FULL as error:
            raise Unusable(f"There is no space left in {self.url}.") from error
        except asyncssh.SFTPError as error:
            raise Trouble(f"{self.told(key)}: {words(error).lower()}.") from error
        except (OSError, asyncssh.Error) as error:
            raise Unusable(f"{self.server.login} cannot be reached: {words(error)}.") from error


class SftpIncoming:
    """A part file beside the final place, written at positions, so that it is never harmed by being written twice."""

    def __init__(
        self, place: SftpPlace, client: asyncssh.SFTPClient, file: Any, key: str, part: str, there: int
    ) -> None:
        self._place, self._client, self._file, self._key, self._part = place, client, file, key, part
        self._size = there
        self.there = there

    async def peek(self, start: int, size: int) -> bytes:
        with self._place.judging(self._key):
            found: bytes = await self._file.read(size, start)
        return found

    async def write(self, start: int, data: bytes) -> None:
        try:
            with self._place.judging(self._key):
                await self._file.write(data, start)
        except Trouble:
            if await self._is_full():
                raise Unusable(f"There is no space left in {self._place.url}.") from None
            raise

    async def finish(self, size: int, overwrite: bool) -> None:
        with self._place.judging(self._key):
            if self._size > size:
                await self._file.truncate(size)
            self._size = size
            with suppress(asyncssh.SFTPOpUnsupported):
                await self._file.fsync()

    async def read_back(self) -> AsyncIterator[bytes]:
        with self._place.judging(self._key):
            size = (await self._file.stat()).size or 0
        async for chunk in self._place.chunks(self._key, self._file, 0, size):
            yield chunk

    async def publish(self, overwrite: bool) -> None:
        final = self._place.path(self._key)
        with self._place.judging(self._key):
            await self._file.close()
            try:
                if overwrite:
                    await self._client.posix_rename(self._part, final)
                else:
                    await self._client.rename(self._part, final)  # unlike posix_rename, it refuses a name that is taken
            except asyncssh.SFTPError:
                if await self._client.exists(final):  # somebody else's, or another attempt of ours was first
                    raise Taken from None
                raise

    async def discard(self) -> None:
        with self._place.judging(self._key), suppress(*_GONE):
            await self._client.remove(self._part)

    async def close(self) -> None:
        with suppress(asyncssh.Error, OSError):
            await self._file.close()

    async def _is_full(self) -> bool:
        """Version 3 of the protocol has one word for every failure; OpenSSH can be asked how full the disk is."""
        with suppress(asyncssh.Error, OSError):
            return (await self._client.statvfs(dirname(self._place.path(self._key)) or ".")).bavail == 0
        return False
