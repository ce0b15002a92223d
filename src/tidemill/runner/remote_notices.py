"""The site's hints, heard once and passed on to all of its workers that have no database to listen to."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from contextlib import suppress

import structlog

from tidemill.db.database import Database
from tidemill.errors import DatabaseUnavailable
from tidemill.runner.link import DatabaseLink

log = structlog.get_logger()

REMEMBERED = 256
"""Hints that are kept for those who are not listening just now."""

PASSED_ON = frozenset({"", "cancel"})


class Bell:
    """Rings for each hint. `run` listens until it is cancelled."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._life = uuid.uuid4().hex[:8]
        self._rung = 0
        self._kept: deque[str] = deque(maxlen=REMEMBERED)
        self._ring = asyncio.Event()

    async def run(self) -> None:
        """Listen; whatever was said while nobody could is taken for one hint of each kind."""
        while True:
            with suppress(DatabaseUnavailable):
                async for notice in DatabaseLink(self._database).notices():
                    if notice in PASSED_ON:
                        self._strike(notice)
            await asyncio.sleep(1.0)
            for notice in sorted(PASSED_ON):
                self._strike(notice)

    async def after(self, position: str, seconds: float, closing: asyncio.Event) -> tuple[str, list[str]]:
        """The position now, and each kind of hint since `position`; waits so long for one, or until `closing`.

        After an unknown position, such as a restarted site's, there may have been all kinds.
        """
        found = self._since(position)
        if not found:
            waits = [asyncio.create_task(event.wait()) for event in (self._ring, closing)]
            try:
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()
            found = self._since(position)
        return f"{self._life}-{self._rung}", found

    def _since(self, position: str) -> list[str]:
        life, _, number = position.partition("-")
        missed = self._rung - int(number) if life == self._life and number.isdecimal() else REMEMBERED + 1
        if not 0 <= missed <= len(self._kept):
            return sorted(PASSED_ON)
        return sorted(set(list(self._kept)[len(self._kept) - missed :]))

    def _strike(self, notice: str) -> None:
        self._rung += 1
        self._kept.append(notice)
        ring, self._ring = self._ring, asyncio.Event()
        ring.set()
