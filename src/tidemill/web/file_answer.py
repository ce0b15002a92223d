"""Sending a file, or ranges of it, to who reads slowly or hangs up: with little memory, and no event loop blocked."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

CHUNK = 128 * 1024
"""Bytes that are read at once: what each of a thousand slow readers costs."""

THREADS = 16
"""Reads from disks that go on at once; network folders are slow, and others' threads should not wait for them."""


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """An ASGI answer: all of a file, or `spans` of it (several: as multipart/byteranges). `headers` in lower case,
    without what describes the body."""

    path: Path
    size: int
    headers: Mapping[str, str]
    media_type: str = "application/octet-stream"
    spans: Sequence[range] | None = None
    boundary: str = field(default_factory=lambda: secrets.token_hex(16))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            file = _File(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:  # it was there a moment ago
            await PlainTextResponse("The file is not there any more.\n", 503)(scope, receive, send)
            return
        with closing(file):
            await send({"type": "http.response.start", "status": self._status, "headers": self._raw_headers()})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
                return
            gone = asyncio.create_task(_hung_up(receive))
            try:
                for before, span in self._parts():
                    if before:
                        await send({"type": "http.response.body", "body": before, "more_body": True})
                    await _send_span(file, span, send, gone)
                    if gone.done():
                        return
                await send({"type": "http.response.body", "body": self._end()})
            finally:
                gone.cancel()

    @property
    def _status(self) -> int:
        return 200 if self.spans is None else 206

    @property
    def _several(self) -> bool:
        return self.spans is not None and len(self.spans) > 1

    def _parts(self) -> Iterator[tuple[bytes, range]]:
        """What stands before each span, and the span."""
        for span in self.spans if self.spans is not None else [range(self.size)]:
            yield (self._head(span) if self._several else b""), span

    def _head(self, span: range) -> bytes:
        lines = f"\r\n--{self.boundary}\r\ncontent-type: {self.media_type}\r\ncontent-range: {_range(span, self.size)}"
        return f"{lines}\r\n\r\n".encode()

    def _end(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode() if self._several else b""

    def _raw_headers(self) -> list[tuple[bytes, bytes]]:
        length = sum(len(before) + len(span) for before, span in self._parts()) + len(self._end())
        several = f"multipart/byteranges; boundary={self.boundary}"
        made = {"content-type": several if self._several else self.media_type, "content-length": str(length)}
        if self.spans is not None and not self._several:
            made["content-range"] = _range(self.spans[0], self.size)
        return [(name.encode(), value.encode("latin-1")) for name, value in {**self.headers, **made}.items()]


@dataclass(slots=True)
class _File:
    """A file that is open; a read that is still going on in a thread when it is closed closes it when it ends."""

    descriptor: int
    reading: Future[bytes] | None = None

    async def read(self, start: int, length: int) -> bytes:
        self.reading = _threads().submit(os.pread, self.descriptor, length, start)
        return await asyncio.wrap_future(self.reading)

    def close(self) -> None:
        descriptor = self.descriptor
        if self.reading is None:
            os.close(descriptor)
        else:
            self.reading.add_done_callback(lambda _: os.close(descriptor))


async def _send_span(file: _File, span: range, send: Send, gone: asyncio.Task[None]) -> None:
    """The bytes of a span, until the client hangs up. Raises OSError where the file has become shorter: the connection
    is then cut, so that nobody takes a part for the whole."""
    at = span.start
    while at < span.stop and not gone.done():
        chunk = await file.read(at, min(CHUNK, span.stop - at))
        if not chunk:
            raise OSError("the file became shorter while it was sent")
        at += len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _range(span: range, size: int) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{size}"


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="downloads")
