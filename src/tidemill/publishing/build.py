"""Packing: from a plan to a zip in its store, streamed from the sources; no local copy, and no database.

Reading ahead, hashing each member, hashing the whole, and writing go on side by side; what is in memory at a time does
not grow with the package.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from zlib_ng import zlib_ng

from tidemill.domain.package_plan import MANIFEST, Entry, FileEntry, Order, TextEntry, read_plan
from tidemill.domain.package_rules import name_faults
from tidemill.errors import InvalidInput, TidemillError
from tidemill.executors.amounts import amount
from tidemill.executors.contract import Progress
from tidemill.publishing.package_buffers import Buffers, Chunk
from tidemill.publishing.package_reading import PIECE, Piece, changed, folder_of, open_origin, pieces
from tidemill.publishing.package_writing import Sink, open_sink, to_the_end
from tidemill.publishing.zip_stream import ZipLayout, described, zip_size

if TYPE_CHECKING:
    from typing_extensions import Buffer

IN_LANE = 2
"""Pieces that wait for the whole's hash, or to be written."""
INLINE = 64 * 1024
"""Bytes that are hashed without going to a thread."""
TELL_EVERY = 0.25
"""Seconds between two words on progress."""

Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Packed:
    """One member of a package that was built."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Built:
    """A package in its place, checked."""

    package: str
    name: str
    fingerprint: str
    store: str
    """URL."""
    key: str
    size: int
    sha256: str
    etag: str
    manifest: tuple[Packed, ...]
    """All members but the manifest itself."""

    def document(self) -> bytes:
        """What the step puts out: `{"package", "name", "fingerprint", "file", "files", "manifest"}`."""
        file = {"store": self.store, "key": self.key, "size": self.size, "sha256": self.sha256, "etag": self.etag}
        return orjson.dumps(
            {
                "package": self.package,
                "name": self.name,
                "fingerprint": self.fingerprint,
                "file": file,
                "files": len(self.manifest),
                "manifest": [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in self.manifest],
            }
        )


async def build(plan: bytes, report: Tell) -> Built:
    """Build the package that a plan document describes. The same plan gives the same bytes at the same place.

    Raises InvalidInput (no plan, or names that cannot be), Conflict (a file is another than was planned),
    StorageError. Nothing half stays, whatever is raised; cancelling it stops it soon.
    """
    order = read_plan(plan)
    _check(order)
    members = [*((entry.into, _size(entry)) for entry in order.entries), (MANIFEST, _manifest_size(order.entries))]
    total = zip_size(members)
    buffers = Buffers(PIECE, reuse=folder_of(order.store.url) is not None)  # uploads keep what they were given
    with _threads(2, "package-read") as reading, _threads(4, "package-pack") as packing:
        origins = {name: open_origin(name, place, reading, buffers) for name, place in order.sources.items()}
        sink = await open_sink(order.store, order.key, total, packing)
        output = _Output(sink, packing, buffers)
        try:
            packer = _Packer(order.entries, output, packing, _Meter(report, sum(size for _, size in members)))
            async with aclosing(pieces(order.entries, origins)) as reading_on:
                async for piece in reading_on:
                    await packer.take(piece)
            manifest = await packer.finish()
            etag = await output.finish()
        except BaseException:
            await to_the_end(output.abort())
            raise
    return Built(
        package=order.package,
        name=order.name,
        fingerprint=order.fingerprint,
        store=order.store.url,
        key=order.key,
        size=total,
        sha256=output.digest.hexdigest(),
        etag=etag,
        manifest=tuple(manifest),
    )


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that are not waited for at the end: one may hang in a network's file system."""
    pool = ThreadPoolExecutor(count, name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check(order: Order) -> None:
    if not order.entries:
        raise InvalidInput(f"The plan of {order.name} has nothing to pack.")
    names = [(one.into, one.key if isinstance(one, FileEntry) else f"the text {one.into}") for one in order.entries]
    for fault in name_faults(names):
        raise InvalidInput(f"The plan of {order.name}: {fault}")
    for entry in order.entries:
        if isinstance(entry, FileEntry) and entry.source not in order.sources:
            raise InvalidInput(f"The plan of {order.name} does not say where the source {entry.source!r} is.")


def _size(entry: Entry) -> int:
    return entry.size if isinstance(entry, FileEntry) else len(entry.text.encode())


def _manifest_size(entries: Sequence[Entry]) -> int:
    return sum(len(_line("0" * 64, entry.into)) for entry in entries)


def _line(sha256: str, name: str) -> bytes:
    """A line as `sha256sum` writes it; names with what it would escape are refused before."""
    return f"{sha256}  {name}\n".encode()


class _Packer:
    """Makes the zip of pieces as they come."""

    def __init__(self, entries: Sequence[Entry], output: _Output, pool: ThreadPoolExecutor, meter: _Meter) -> None:
        self._entries, self._output, self._pool, self._meter = entries, output, pool, meter
        self._layout = ZipLayout()
        self._packed: list[Packed] = []
        self._begin()

    def _begin(self) -> None:
        self._digest, self._crc, self._done = hashlib.sha256(), 0, 0

    async def take(self, piece: Piece) -> None:
        """The next bytes; a small member is one piece, whose CRC stands before it."""
        entry, chunk = self._entries[piece.entry], piece.chunk
        size, first = _size(entry), self._done == 0
        if described(size):
            if first:
                await self._write(self._layout.header(entry.into, size, 0))
            await self._output.write(chunk)
            await self._hash(chunk)
        else:
            await self._hash(chunk)
            await self._write(self._layout.header(entry.into, size, self._crc))
            await self._output.write(chunk)
        chunk.let_go()
        self._done += chunk.size
        self._meter.add(chunk.size)
        if piece.last:
            if self._done != size and isinstance(entry, FileEntry):
                raise changed(entry)
            await self._write(self._layout.footer(self._crc))
            self._packed.append(Packed(entry.into, size, self._digest.hexdigest()))
            self._begin()

    async def finish(self) -> list[Packed]:
        """The manifest and the directory; all other members."""
        manifest = b"".join(_line(one.sha256, one.name) for one in self._packed)
        listed = self._packed[:]
        entry = TextEntry(MANIFEST, manifest.decode())
        self._entries = [*self._entries, entry]
        await self.take(Piece(len(self._entries) - 1, Chunk(manifest, len(manifest)), True))
        await self._write(self._layout.directory())
        return listed

    async def _write(self, data: bytes) -> None:
        await self._output.write(Chunk(data, len(data)))

    async def _hash(self, chunk: Chunk) -> None:
        if chunk.size <= INLINE:
            self._update(chunk.data)
        else:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._update, chunk.data)

    def _update(self, data: Buffer) -> None:
        self._digest.update(data)
        self._crc = zlib_ng.crc32(data, self._crc)


class _Output:
    """The zip's bytes, in pieces of one size: hashed as a whole and written, both while the next are made."""

    def __init__(self, sink: Sink, pool: ThreadPoolExecutor, buffers: Buffers) -> None:
        self.digest = hashlib.sha256()
        self._sink, self._pool, self._buffers = sink, pool, buffers
        self._gathered: Chunk | None = None
        self._filled = 0
        self._lanes = (_Lane(self._hash), _Lane(sink.write))

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
        for lane in self._lanes:
            await lane.end()
        return await self._sink.finish()

    async def abort(self) -> None:
        """Stop, and leave nothing."""
        for lane in self._lanes:
            await lane.stop()
        await self._sink.abort()

    async def _flush(self) -> None:
        if self._gathered is not None:
            chunk = self._gathered
            chunk.data, chunk.size = memoryview(chunk.data)[: self._filled], self._filled
            self._gathered, self._filled = None, 0
            await self._pass_on(chunk)
            chunk.let_go()

    async def _pass_on(self, chunk: Chunk) -> None:
        for lane in self._lanes:
            await lane.put(chunk)

    async def _hash(self, data: Buffer) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self.digest.update, data)


class _Lane:
    """Something that is done with each piece in turn, while others are on their way."""

    def __init__(self, act: Callable[[Buffer], Awaitable[None]]) -> None:
        self._act = act
        self._queue: asyncio.Queue[Chunk | None] = asyncio.Queue(IN_LANE)
        self._fault: TidemillError | None = None
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
                except TidemillError as error:
                    self._fault = error
            chunk.let_go()


class _Meter:
    """How far it is, in bytes of members."""

    def __init__(self, report: Tell, total: int) -> None:
        self._report, self._total = report, total
        self._done = 0
        self._told = time.monotonic()

    def add(self, size: int) -> None:
        """So many bytes more."""
        self._done += size
        now = time.monotonic()
        if now - self._told >= TELL_EVERY or self._done == self._total:
            self._told = now
            fraction = self._done / self._total if self._total else 1.0
            self._report(Progress(fraction, _of(self._done, self._total)))


def _of(done: int, total: int) -> str:
    """`1.2 of 3.4 GB`: both in the unit of the second."""
    words, unit = amount(total).split(" ")
    return f"{done * float(words) / total if total else 0:.4g} of {words} {unit}"
