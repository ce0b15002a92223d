"""Packing: from a plan to a zip in its store, streamed from the sources; no local copy, and no database.

Reading ahead, hashing each member, hashing the whole, and writing go on side by side; what is in memory at a time does
not grow with the package.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
import structlog
from zlib_ng import zlib_ng

from tidemill.domain.package_plan import MANIFEST, Entry, FileEntry, Order, TextEntry, read_plan
from tidemill.domain.package_rules import name_faults
from tidemill.errors import InvalidInput, StorageError
from tidemill.executors.amounts import amount
from tidemill.executors.contract import Progress
from tidemill.publishing.package_buffers import Buffers, Chunk
from tidemill.publishing.package_output import Hashing, Output
from tidemill.publishing.package_reading import PIECE, Piece, changed, open_origin, pieces
from tidemill.publishing.package_writing import open_sink, to_the_end
from tidemill.publishing.zip_stream import ZipLayout, described, zip_size
from tidemill.storage.stores import folder_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

log = structlog.get_logger()

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
    with (
        _threads(2, "package-read") as reading,
        _threads(2, "package-write") as writing,
        _threads(1, "package-member") as hashing,
        _threads(1, "package-whole") as hashing_all,
    ):
        origins = {name: open_origin(name, place, reading, buffers) for name, place in order.sources.items()}
        sink = await open_sink(order.store, order.key, total, writing)
        output = Output(sink, hashing_all, buffers)
        try:
            packer = _Packer(order.entries, output, hashing, _Meter(report, sum(size for _, size in members)))
            async with aclosing(pieces(order.entries, origins)) as reading_on:
                async for piece in reading_on:
                    await packer.take(piece)
            manifest = await packer.finish()
            etag = await output.finish()
        except BaseException:
            await _left_nothing(order, output)
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


async def _left_nothing(order: Order, output: Output) -> None:
    """Take away what there is of it. What went wrong before is what is told, not what goes wrong here."""
    try:
        await to_the_end(output.abort())
    except StorageError as error:
        log.warning("what was built of a package cannot be taken away", package=order.name, why=error.message)


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

    def __init__(self, entries: Sequence[Entry], output: Output, pool: ThreadPoolExecutor, meter: _Meter) -> None:
        self._entries, self._output, self._meter = entries, output, meter
        self._hashing = Hashing(self._update, pool)
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
            await self._hashing.put(chunk)
        else:
            await self._hashing.put(chunk)
            await self._hashing.end()
            await self._write(self._layout.header(entry.into, size, self._crc))
            await self._output.write(chunk)
        chunk.let_go()
        self._done += chunk.size
        self._meter.add(chunk.size)
        if piece.last:
            await self._hashing.end()
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

    def _update(self, data: Buffer) -> None:
        self._digest.update(data)
        self._crc = zlib_ng.crc32(data, self._crc)


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
