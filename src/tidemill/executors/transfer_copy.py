"""One file from one place to another: streamed, resumed where it was cut, read back, and only then given its name."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from tidemill.executors.places.contract import CHUNK, Incoming, Place, Seen, Taken, Trouble

TAIL = 256 * 1024
"""Bytes at the end of a part file that are compared before a transfer goes on behind them."""

Tell = Callable[[int], None]
"""Called with the number of bytes that were dealt with since the last call; a negative one where work was in vain."""


@dataclass(slots=True)
class Digests:
    """The checksums of a stream of bytes. `names`: besides SHA-256."""

    names: tuple[str, ...] = ()
    size: int = 0
    _all: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._all = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", *self.names}}

    def update(self, data: bytes) -> None:
        self.size += len(data)
        for digest in self._all.values():
            digest.update(data)

    def hex(self, name: str = "sha256") -> str:
        return str(self._all[name].hexdigest())


@dataclass(frozen=True, slots=True)
class Job:
    """What to copy. `expected`: checksums by name that the file must have, as its record says."""

    source: Place
    source_key: str
    target: Place
    target_key: str
    overwrite: bool = False
    expected: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Copied:
    """A file that is whole and verified at the target. `copied`: bytes that really went over; 0 if it was there."""

    size: int
    sha256: str
    md5: str
    copied: int
    resumed_at: int = 0


async def copy(job: Job, tell: Tell) -> Copied:
    """Copy one file. Raises Trouble, Taken (other bytes have the name) and Unusable; a part file stays where it can."""
    seen = await job.source.look(job.source_key)
    if seen is None:
        raise Trouble(f"{job.source.told(job.source_key)} is not there.")
    there = await job.target.look(job.target_key)
    if there is not None:
        if there.size == seen.size and (same := await _same(job, seen, tell)):
            return same
        if not job.overwrite:
            raise Taken
    incoming = await job.target.receive(job.target_key, seen)
    try:
        return await _through(job, seen, incoming, tell)
    finally:
        await incoming.close()


async def _same(job: Job, seen: Seen, tell: Tell) -> Copied | None:
    """The file at the target, if it has the same bytes."""
    ours, theirs = _digests(job), Digests()
    await _read(job.source.read(job.source_key, 0, seen.size), ours, tell)
    await _read(job.target.read(job.target_key, 0, seen.size), theirs, tell)
    if ours.hex() != theirs.hex():
        tell(-ours.size - theirs.size)
        return None
    await _settled(job, seen, ours)
    return _copied(job, ours, 0)


async def _through(job: Job, seen: Seen, incoming: Incoming, tell: Tell) -> Copied:
    start = await _resumed(job, seen, incoming)
    digests = _digests(job)
    await _send(job, seen, incoming, digests, start, tell)
    await _settled(job, seen, digests, incoming)
    try:
        await incoming.finish(seen.size, job.overwrite)
        back = Digests()
        await _read(incoming.read_back(), back, tell)
        if back.hex() != digests.hex():
            await incoming.discard()
            raise Trouble(
                f"{job.target.told(job.target_key)} was read back with other bytes than were sent "
                f"({back.size} bytes, {digests.size} sent); it is copied anew."
            )
        await incoming.publish(job.overwrite)
    except Taken:
        return await _overtaken(job, seen, incoming, tell)
    return _copied(job, digests, seen.size - start, start)


async def _overtaken(job: Job, seen: Seen, incoming: Incoming, tell: Tell) -> Copied:
    """Somebody else gave a file that name meanwhile: the same one, as another attempt of ours would, or another."""
    await incoming.discard()
    if (same := await _same(job, seen, tell)) is None:
        raise Taken
    return same


async def _resumed(job: Job, seen: Seen, incoming: Incoming) -> int:
    """From where to go on: where the last try left off, less one chunk, whose pieces may have come out of order.

    Only if what lies there ends as the source does at that place; all of it is read back in the end in any case.
    """
    start = min(incoming.there, seen.size) // CHUNK * CHUNK - CHUNK
    if start <= 0:
        return 0
    tail = min(TAIL, start)
    ours = Gathered()
    await _read(job.source.read(job.source_key, start - tail, start), ours, lambda _: None)
    return start if await incoming.peek(start - tail, tail) == bytes(ours.data) else 0


async def _send(job: Job, seen: Seen, incoming: Incoming, digests: Digests, start: int, tell: Tell) -> None:
    """Read the whole source, for its checksums; write what is beyond `start`."""
    at = 0
    async with aclosing(ahead(job.source.read(job.source_key, 0, seen.size))) as chunks:
        async for chunk in chunks:
            hashing = asyncio.to_thread(digests.update, chunk)
            if at + len(chunk) > start:
                skipped = max(start - at, 0)
                await asyncio.gather(hashing, incoming.write(at + skipped, chunk[skipped:]))
            else:
                await hashing
            at += len(chunk)
            tell(len(chunk))


async def _settled(job: Job, seen: Seen, digests: Digests, incoming: Incoming | None = None) -> None:
    """The source is what it was when it was first looked at, and what its record says. Raises Trouble."""
    where = job.source.told(job.source_key)
    now = await job.source.look(job.source_key)
    if now != seen or digests.size != seen.size:
        if incoming is not None:
            await incoming.discard()
        was = f"{seen.size} bytes then, {now.size if now else 'none'} now"
        raise Trouble(f"{where} changed while it was being copied ({was}).")
    for name, expected in job.expected.items():
        if digests.hex(name) != expected:
            if incoming is not None:
                await incoming.discard()
            raise Trouble(f"{where} has the {name.upper()} {digests.hex(name)}, but its record says {expected}.")


def _digests(job: Job) -> Digests:
    return Digests(tuple(job.expected))


def _copied(job: Job, digests: Digests, copied: int, start: int = 0) -> Copied:
    md5 = digests.hex("md5") if "md5" in job.expected else ""
    return Copied(digests.size, digests.hex(), md5, copied, start)


@dataclass(slots=True)
class Gathered:
    """Bytes kept as they come."""

    data: bytearray = field(default_factory=bytearray)

    def update(self, chunk: bytes) -> None:
        self.data += chunk


async def _read(chunks: AsyncIterator[bytes], into: Digests | Gathered, tell: Tell) -> None:
    async with aclosing(ahead(chunks)) as found:
        async for chunk in found:
            await asyncio.to_thread(into.update, chunk)
            tell(len(chunk))


async def ahead(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same chunks; the next is fetched while one is dealt with."""

    async def following() -> bytes | None:
        return await anext(chunks, None)

    coming = asyncio.ensure_future(following())
    try:
        while (chunk := await coming) is not None:
            coming = asyncio.ensure_future(following())
            yield chunk
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        if hasattr(chunks, "aclose"):
            await chunks.aclose()


async def checked(place: Place, key: str, tell: Tell) -> str | None:
    """The SHA-256 of a file as it lies in a place; None where it is not there."""
    seen = await place.look(key)
    if seen is None:
        return None
    digests = Digests()
    await _read(place.read(key, 0, seen.size), digests, tell)
    return digests.hex()
