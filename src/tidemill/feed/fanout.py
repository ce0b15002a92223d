"""Following the feed over open connections: one reader per subject for a whole process, however many follow.

A channel reads what its followers want once per tick, writes it as bytes once, and gives all of them the same bytes. A
follower who is behind (it begins far back, or does not take what it is given) reads pages by itself, from its own
position, until it has come to where the channel is. So nobody waits for the slowest, and nobody is left out.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from tidemill.db.database import Database, Row
from tidemill.errors import DatabaseUnavailable
from tidemill.feed import changes
from tidemill.feed.changes import Position
from tidemill.feed.filters import Filter
from tidemill.feed.records import with_docs

log = structlog.get_logger()

TICK = 0.05
"""Seconds in which changes are gathered."""

POLL = 1.0
OPEN_POLL = 0.1
"""Seconds between looks without a hint; the second while a transaction holds back what others wrote."""

MOST_ROWS = 5000
REMEMBERED = 64
"""Frames that a channel keeps for those who are just coming."""

QUEUE, QUEUE_BYTES = 100, 8_000_000
"""Frames, and bytes in them, that may wait for one follower; above that it reads by itself."""

Writer = Callable[[Row], bytes]
"""Writes a result as one piece of a stream."""


class Hints(Protocol):
    """Who tells that something may have changed, and that the process is about to stop (`feed/live.py`)."""

    @property
    def hints(self) -> int: ...
    @property
    def closing(self) -> asyncio.Event: ...
    async def hinted(self, seconds: float, before: int | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What a channel is about: who wants the same in the same form shares it."""

    which: Filter
    docs: bool
    write: Writer


@dataclass(frozen=True, slots=True)
class Frame:
    """The changes after one position up to another: where each stands, its bytes, and all bytes in one."""

    after: Position
    upto: Position
    places: Sequence[Position]
    lines: Sequence[bytes]
    whole: bytes
    more: bool = False
    open: bool = False

    def rest(self, position: Position) -> Frame:
        """What of it comes after a position."""
        if position <= self.after:
            return self
        first = bisect_right(self.places, position)
        lines = self.lines[first:]
        upto = max(self.upto, position)
        return Frame(position, upto, self.places[first:], lines, b"".join(lines), self.more, self.open)

    def first(self, count: int) -> Frame:
        """Its first so many changes."""
        if count >= len(self.lines):
            return self
        lines = self.lines[:count]
        return Frame(self.after, self.places[count - 1], self.places[:count], lines, b"".join(lines), True)


class Follower:
    """One connection's place at a channel. `behind`: it is on its own again."""

    def __init__(self, position: Position) -> None:
        self.position = position
        """Everything up to here has been taken by `next`, or was nothing."""
        self.behind = False
        self._upto = position
        self._waiting: deque[Frame] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Give it a frame, or leave it behind if too much waits for it."""
        frame = frame.rest(self._upto)
        self._upto = max(self._upto, frame.upto)
        if frame.lines:
            if self._waiting and (len(self._waiting) >= QUEUE or self._bytes + len(frame.whole) > QUEUE_BYTES):
                self.leave_behind()
                return
            self._waiting.append(frame)
            self._bytes += len(frame.whole)
            self._ready.set()
        elif not self._waiting:
            self.position = self._upto

    def leave_behind(self) -> None:
        """From here on it reads by itself."""
        self.behind = True
        self._waiting.clear()
        self._ready.set()

    async def next(self, seconds: float) -> Frame | None:
        """The next frame; None if none came for so long, or if it is left behind."""
        if not self._waiting and not self.behind:
            self._ready.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ready.wait()
        if not self._waiting or self.behind:
            return None
        frame = self._waiting.popleft()
        self._bytes -= len(frame.whole)
        self.position = frame.upto if self._waiting else self._upto
        return frame


class Channel:
    """Reads one subject for all who follow it, as long as somebody does."""

    def __init__(self, database: Database, hints: Hints, subject: Subject) -> None:
        self._database, self._hints, self._subject = database, hints, subject
        self._position: Position | None = None
        self._recent: deque[Frame] = deque(maxlen=REMEMBERED)
        self.followers: set[Follower] = set()
        self.users = 0
        self.reading: asyncio.Task[None] | None = None

    def join(self, position: Position) -> Follower | None:
        """A place for somebody who has everything up to `position`; None if what comes next is no longer at hand."""
        if self._position is None:
            return None
        follower = Follower(position)
        if position < self._position:
            frames = [frame for frame in self._recent if frame.upto > position]
            if not frames or frames[0].after > position:
                return None
            for frame in frames:
                follower.put(frame)
            if follower.behind:  # so much has come since that it does better by itself
                return None
        self.followers.add(follower)
        return follower

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            before = self._hints.hints
            try:
                more, pause = await self._turn()
            except DatabaseUnavailable as error:
                log.warning("the feed cannot be read", error=error.message)
                more, pause = False, POLL / 2
            except Exception:  # each follower reads by itself, and finds out what is wrong
                log.exception("a channel of the feed cannot go on")
                self._position = None
                self._recent.clear()
                self._part(list(self.followers))
                more, pause = False, POLL
            if not more:
                await asyncio.sleep(TICK)
                await self._hints.hinted(pause, before)

    async def _turn(self) -> tuple[bool, float]:
        """Read once and hand it out: whether there is more, else how long to wait for a hint."""
        if self._position is None:
            async with self._database.begin() as session:
                self._position = changes.parse(await changes.now(session))
            return True, 0
        frame = await self.read(self._position, MOST_ROWS)
        self._position = frame.upto
        if frame.upto != frame.after:
            self._recent.append(frame)
            for follower in self.followers:
                follower.put(frame)
            self._part([follower for follower in self.followers if follower.behind])
        return frame.more, OPEN_POLL if frame.open else POLL

    async def read(self, position: Position, most: int) -> Frame:
        """The next frame after a position. Raises DatabaseUnavailable, InvalidInput, ChangesGone."""
        async with self._database.begin() as session:
            found = await changes.stretch(session, changes.seq_of(position), most, self._subject.which)
            results = [changes.result(row) for row in found.rows]
            if self._subject.docs:
                await with_docs(session, results)
        lines = [self._subject.write(result) for result in results]
        places = [(int(row["xid"]), int(row["id"])) for row in found.rows]
        return Frame(position, found.last, places, lines, b"".join(lines), found.more, found.open)

    def _part(self, followers: Sequence[Follower]) -> None:
        for follower in followers:
            follower.leave_behind()
            self.followers.discard(follower)


class Fanout:
    """The channels of a process."""

    def __init__(self, database: Database, hints: Hints) -> None:
        self._database, self._hints = database, hints
        self._channels: dict[Subject, Channel] = {}
        self.closing = hints.closing

    def enter(self, subject: Subject) -> Channel:
        """The channel of a subject, which reads from now on; `leave` must follow."""
        channel = self._channels.get(subject)
        if channel is None:
            channel = self._channels[subject] = Channel(self._database, self._hints, subject)
            channel.reading = asyncio.create_task(channel.run())
        channel.users += 1
        return channel

    def leave(self, subject: Subject, channel: Channel, follower: Follower | None) -> None:
        """One user less; nobody reads on for nobody."""
        if follower is not None:
            channel.followers.discard(follower)
        channel.users -= 1
        if channel.users == 0:
            del self._channels[subject]
            if channel.reading is not None:
                channel.reading.cancel()

    @property
    def reading(self) -> int:
        """How many channels there are."""
        return len(self._channels)
