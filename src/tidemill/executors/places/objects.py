"""A bucket, or a prefix in one: S3 and what speaks its protocol, Google's and Azure's stores.

An object appears whole or not at all, so there is no part file; an upload that was cut starts over. It has its name
before it is read back, and is taken away again where it differs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

from tidemill.executors.places.contract import CHUNK, Seen, Taken, Trouble, Unusable

_AT_ONCE = 8 * 1024 * 1024
"""Bytes of one part of an upload. Smaller files go up in one request, which can refuse a name that is taken."""
_MOST_PARTS = 9000


class ObjectPlace:
    """`config`: `endpoint`, `region`, `allow_http`; keys and secrets come from the environment, as usual."""

    def __init__(self, url: str, config: Mapping[str, Any]) -> None:
        self.url = url.rstrip("/")
        given = {key: config[key] for key in ("endpoint", "region") if config.get(key)}
        if "endpoint" in given:
            given["virtual_hosted_style_request"] = False
        client: Any = {
            "allow_http": bool(config.get("allow_http")) or str(config.get("endpoint")).startswith("http://"),
            "connect_timeout": "15s",
            "timeout": "10m",
        }
        retries: Any = {"max_retries": 3}
        try:
            self._store: ObjectStore = from_url(self.url, client_options=client, retry_config=retries, **given)
        except (BaseError, ValueError) as error:
            raise Unusable(f"{self.url} cannot be used: {_words(error)}") from error

    def url_of(self, key: str) -> str:
        return f"{self.url}/{quote(key)}"

    def told(self, key: str) -> str:
        return f"{self.url}/{key}"

    async def look(self, key: str) -> Seen | None:
        try:
            with self.judging(key):
                found = await obstore.head_async(self._store, key)
        except _Missing:
            return None
        return Seen(found["size"], f"{found.get('e_tag')}-{found['last_modified']}")

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        if start >= end:
            return
        with self.judging(key):
            found = await obstore.get_async(self._store, key, options={"range": (start, end)})
            async for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    async def receive(self, key: str, seen: Seen) -> ObjectIncoming:
        return ObjectIncoming(self, self._store, key, seen.size)

    async def remove(self, key: str) -> None:
        try:
            with self.judging(key):
                await obstore.delete_async(self._store, key)
        except _Missing:
            return

    async def close(self) -> None:
        """Nothing is kept open."""

    @contextmanager
    def judging(self, key: str) -> Iterator[None]:
        """What the store says against it in the words of a place."""
        try:
            yield
        except (NotFoundError, FileNotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise Unusable(f"There is no bucket at {self.url}.") from error
            raise _Missing(f"{self.told(key)} is not there.") from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise Unusable(f"{self.url} refuses us: {_words(error)}") from error
        except InvalidPathError as error:
            raise Trouble(f"{self.told(key)}: {_words(error)}") from error
        except (BaseError, OSError) as error:
            raise Unusable(f"{self.url} cannot be used: {_words(error)}") from error


class _Missing(Trouble):
    """There is no such object."""


class ObjectIncoming:
    """An upload; large ones go up in parts, of which some are in memory at a time."""

    def __init__(self, place: ObjectPlace, store: ObjectStore, key: str, size: int) -> None:
        self._place, self._store, self._key, self._size = place, store, key, size
        self._small = bytearray()
        self._writer: Any = None
        self._placed = False
        self.there = 0

    async def peek(self, start: int, size: int) -> bytes:
        return b""

    async def write(self, start: int, data: bytes) -> None:
        if self._size <= _AT_ONCE:
            self._small += data
            return
        with self._place.judging(self._key):
            if self._writer is None:
                part = max(_AT_ONCE, self._size // _MOST_PARTS)
                self._writer = obstore.open_writer_async(self._store, self._key, buffer_size=part, max_concurrency=3)
            await self._writer.write(data)

    async def finish(self, size: int, overwrite: bool) -> None:
        with self._place.judging(self._key):
            if self._size <= _AT_ONCE:
                await self._put(overwrite)
            else:
                if not overwrite and await self._place.look(self._key) is not None:
                    raise Taken
                await self._writer.close()
                self._writer = None
        self._placed = True

    async def _put(self, overwrite: bool) -> None:
        mode: Any = "overwrite" if overwrite else "create"
        try:
            await obstore.put_async(self._store, self._key, bytes(self._small), mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            raise Taken from None

    async def read_back(self) -> AsyncIterator[bytes]:
        async for chunk in self._place.read(self._key, 0, self._size):
            yield chunk

    async def publish(self, overwrite: bool) -> None:
        """It has its name already."""

    async def discard(self) -> None:
        if self._placed:
            await self._place.remove(self._key)

    async def close(self) -> None:
        self._writer = None


def _words(error: Exception) -> str:
    """The first sentence of what the library says, which goes on for pages."""
    text = str(error).split("\n\nDebug source", 1)[0].split("\n", 1)[0]
    return text[:500]
