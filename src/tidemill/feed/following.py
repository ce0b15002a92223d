"""One follower of the feed from beginning to end: by pages while it is behind, by its channel when it is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tidemill.errors import DatabaseUnavailable
from tidemill.feed.changes import Position
from tidemill.feed.fanout import TICK, Channel, Fanout, Follower, Frame, Subject

PAGE = 1000
AGAIN = 0.5
"""Seconds until a lost database is asked again."""

LOOK_UP = 0.5
"""Seconds after which it is asked whether the process is about to stop."""


@dataclass(frozen=True, slots=True)
class Terms:
    """`heartbeat`: seconds of silence after which one is told the position all the same. Without: `timeout` seconds of
    silence end it. `limit`: so many changes end it."""

    heartbeat: float | None = None
    timeout: float = 60.0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of what a follower gets: bytes of changes, or none in a heartbeat or at the end. `position`: as far as it
    has come with this piece."""

    data: bytes
    position: Position
    last: bool = False


async def follow(fanout: Fanout, subject: Subject, since: Position, terms: Terms) -> AsyncIterator[Part]:
    """What comes after `since`, for ever or as the terms say. A lost database is waited for.

    Raises ChangesGone for a follower so far behind that the feed no longer reaches back to it.
    """
    channel = fanout.enter(subject)
    journey = _Journey(channel, since)
    try:
        told, left = time.monotonic(), terms.limit
        while not fanout.closing.is_set():
            silence = terms.heartbeat if terms.heartbeat is not None else terms.timeout
            frame = await journey.next(min(LOOK_UP, max(0.0, told + silence - time.monotonic())))
            if frame is not None and frame.lines:
                frame = frame if left is None else frame.first(left)
                left = None if left is None else left - len(frame.lines)
                yield Part(frame.whole, frame.upto)
                told = time.monotonic()
                if left == 0:
                    yield Part(b"", frame.upto, last=True)
                    return
            elif time.monotonic() >= told + silence:
                yield Part(b"", journey.position, last=terms.heartbeat is None)
                if terms.heartbeat is None:
                    return
                told = time.monotonic()
    finally:
        fanout.leave(subject, channel, journey.follower)


class _Journey:
    """Where a follower is, and how it gets its next frame from there."""

    def __init__(self, channel: Channel, since: Position) -> None:
        self._channel = channel
        self._position = since
        self.follower: Follower | None = None

    @property
    def position(self) -> Position:
        """Everything up to here has been told."""
        return self.follower.position if self.follower is not None else self._position

    async def next(self, seconds: float) -> Frame | None:
        """The next frame, which may be empty; None if there was none for so long."""
        if self.follower is None:
            self.follower = self._channel.join(self._position)
        if self.follower is None:
            return await self._page(seconds)
        frame = await self.follower.next(seconds)
        if self.follower.behind:
            self._position = self.follower.position
            self.follower = None
        return frame

    async def _page(self, seconds: float) -> Frame | None:
        try:
            frame = await self._channel.read(self._position, PAGE)
        except DatabaseUnavailable:
            await asyncio.sleep(min(seconds, AGAIN) or AGAIN)
            return None
        self._position = frame.upto
        if not frame.more and not frame.lines:
            await asyncio.sleep(TICK)  # at the end already, where the channel will be in a moment
        return frame
