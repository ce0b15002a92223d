"""What becomes of a package's bytes, in order: they are hashed and written side by side, while the next are made."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tidemill.publishing.package_buffers import Buffers, Chunk
from tidemill.publishing.package_writing import Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

IN_LANE = 2
"""Pieces that wait to be hashed, or to be written."""
INLINE = 64 * 1024
"""Bytes that are hashed without going to a thread."""


class Output:
    """The zip's bytes, in pieces of one size: hashed as a whole and written, both while the next are made."""

    def __init__(self, sink: Sink, pool: ThreadPoolExecutor, buffers: Buffers) -> None:
        self.digest = hashlib.sha256()
        self._sink, self._buffers = sink, buffers
        self._gathered: Chunk | None = None
        self._filled = 0
        self._hashing = Hashing(self.digest.update, pool)
        self._writing = _Lane(sink.write)

    async def write(self, chunk: Chunk) -> None:
        """Some bytes more. Raises what went wrong with those before. Only what is no full piece is copied."""
        if self._gathered is None and self._buffers.is_whole(chunk):
            await self._pass_on(chunk)
            return
        rest = memoryview(chunk.data)
        while rest:
            rest = rest[self._gather(rest) :]
            if self._filled == self._buffers.size:
                await self._flush()

    def _gather(self, data: memoryview) -> int:
        """Copy as many bytes as there is room for behind those that were copied before."""
        if self._gathered is None:
            self._gathered = self._buffers.chunk(self._buffers.size)
        count = min(len(data), self._buffers.size - self._filled)
        memoryview(self._gathered.data)[self._filled : self._filled + count] = data[:count]
        self._filled += count
        return count

    async def finish(self) -> str:
        """All is written; the ETag of the package in its place."""
        await self._flush()
        await self._hashing.end()
        await self._writing.end()
        return await self._sink.finish()

    async def abort(self) -> None:
        """Stop, and leave nothing."""
        await self._writing.stop()
        await self._sink.abort()

    async def _flush(self) -> None:
        if self._gathered is not None:
            chunk = self._gathered
            chunk.data, chunk.size = memoryview(chunk.data)[: self._filled], self._filled
            self._gathered, self._filled = None, 0
            await self._pass_on(chunk)
            chunk.let_go()

    async def _pass_on(self, chunk: Chunk) -> None:
        await self._hashing.put(chunk)
        await self._writing.put(chunk)


class Hashing:
    """Hashes pieces in turn, in a thread of its own that need not wait for the event loop between two of them."""

    def __init__(self, update: Callable[[Buffer], None], thread: ThreadPoolExecutor) -> None:
        self._update, self._thread = update, thread
        self._under_way: deque[tuple[asyncio.Future[None], Chunk]] = deque()

    async def put(self, chunk: Chunk) -> None:
        """The next piece."""
        if chunk.size <= INLINE and not self._under_way:
            self._update(chunk.data)
            return
        while len(self._under_way) > IN_LANE:
            await self._first()
        chunk.hold()
        doing = asyncio.get_running_loop().run_in_executor(self._thread, self._update, chunk.data)
        self._under_way.append((doing, chunk))

    async def end(self) -> None:
        """Wait until all is hashed."""
        while self._under_way:
            await self._first()

    async def _first(self) -> None:
        doing, chunk = self._under_way[0]
        await doing
        self._under_way.popleft()
        chunk.let_go()


class _Lane:
    """Something that is done with each piece in turn, while others are on their way."""

    def __init__(self, act: Callable[[Buffer], Awaitable[None]]) -> None:
        self._act = act
        self._queue: asyncio.Queue[Chunk | None] = asyncio.Queue(IN_LANE)
        self._fault: Exception | None = None
        self._work = asyncio.ensure_future(self._run())

    async def put(self, chunk: Chunk) -> None:
        """The next piece. Raises what went wrong with one before."""
        if self._fault is not None:
            raise self._fault
        chunk.hold()
        await self._queue.put(chunk)

    async def end(self) -> None:
        """Wait until all is done. Raises what went wrong."""
        await self._queue.put(None)
        await self._work
        if self._fault is not None:
            raise self._fault

    async def stop(self) -> None:
        """Leave the rest undone."""
        self._work.cancel()
        await asyncio.wait([self._work])

    async def _run(self) -> None:
        while (chunk := await self._queue.get()) is not None:
            if self._fault is None:  # else the pieces are only taken away, so that nobody waits for room
                try:
                    await self._act(chunk.data)
                except Exception as error:  # noqa: BLE001 - `put` and `end` raise it
                    self._fault = error
            chunk.let_go()
