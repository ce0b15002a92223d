"""How a worker hands results in, and how it bears a site that is out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import structlog

from tidemill.db.database import Row
from tidemill.errors import AccessRefused, DatabaseRefused, DatabaseUnavailable
from tidemill.runner.link import Exchanging, Link
from tidemill.runner.results import Result, refused

log = structlog.get_logger()

MOST_RESULTS = 1000
SHORT = 1.0
"""Seconds; a longer pause ends when the worker is told to stop."""

MOST_CUTS = 3
"""Times that a worker which leaves bears a site out of reach; then its leases decide."""


class Handing:
    """Hands in over an exchange. One result that breaks a rule of the tables fails alone."""

    def __init__(self, exchange: Exchanging) -> None:
        self._exchange = exchange

    async def hand_in(
        self, results: Sequence[Result], room: int, rooms: Mapping[str, int] | None = None
    ) -> tuple[list[Row], list[Row]]:
        """Hand a set in and claim up to `room` tasks: (tasks moved, tasks claimed). Raises DatabaseUnavailable.

        `rooms`: of the engines that are named here, at most so many.
        """
        documents = [document for result in results for document in result.documents]
        try:
            return await self._exchange.finish_and_claim([one.row for one in results], documents, room, rooms)
        except DatabaseRefused as error:
            if not results:
                raise
            return await self._singly(results, error), []

    async def _singly(self, results: Sequence[Result], error: DatabaseRefused) -> list[Row]:
        """Find the one that breaks a rule, and let it fail."""
        if len(results) == 1:
            log.error("result refused", task=results[0].row["task"], error=error.message)
            return await self._refused(refused(results[0], error.message))
        moved = []
        for result in results:
            some, _ = await self.hand_in([result], 0)
            moved += some
        return moved

    async def _refused(self, result: Result) -> list[Row]:
        try:
            moved, _ = await self._exchange.finish_and_claim([result.row], [], 0)
        except DatabaseRefused as error:  # not even that: its lease runs out, and that is recorded
            log.error("result dropped", task=result.row["task"], error=error.message)
            return []
        return moved


def first_set(results: Sequence[Result], largest: int) -> int:
    """How many of the first results go in one exchange of so many bytes: at least one."""
    size = count = 0
    for result in results[:MOST_RESULTS]:
        if count and size + result.size > largest:
            break
        size += result.size
        count += 1
    return count


class Patience:
    """Says once that the site is out of reach, and once that it is back; waits as the link says in between."""

    def __init__(self, link: Link, poll: float) -> None:
        self._link = link
        self._poll = poll
        self._failures = 0
        self.stop = asyncio.Event()
        """Set when the worker is told to stop, which ends a long pause."""

    async def bear(self, error: DatabaseUnavailable) -> None:
        """The site could not be reached: wait a while."""
        if not self._failures:
            log.warning("the site is out of reach; work in hand goes on", error=error.message)
        pause = self._link.pause(self._failures)
        self._failures += 1
        if pause <= SHORT or self.stop.is_set():
            await asyncio.sleep(min(pause, self._poll))
            return
        stop = asyncio.create_task(self.stop.wait())
        await asyncio.wait([stop], timeout=pause)
        stop.cancel()

    def reached(self) -> None:
        """The site has answered."""
        if self._failures:
            log.info("the site is in reach again")
            self._failures = 0


async def say_all(words: Iterable[Callable[[], Awaitable[object]]], link: Link) -> None:
    """A worker's last words to its site, in order. A cut costs a try, and not what is still to be said."""
    cuts = 0
    for word in words:
        while cuts < MOST_CUTS:
            try:
                await word()
                break
            except DatabaseUnavailable:
                cuts += 1
                await asyncio.sleep(link.pause(0))
            except AccessRefused:
                return
