"""Following changes live: one reader for a whole web process, however many pages are open.

NOTIFY is a hint, with a poll beneath it. What changed is found by comparing snapshots: every change that is visible now
and was not in the snapshot read last, whichever order the transactions committed in, without waiting for those still
open. Of a task that changed, its state now is sent, read in that same snapshot; so what a page shows never goes back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row, fetch_one, translated
from tidemill.errors import DatabaseUnavailable, TidemillError
from tidemill.feed import changes
from tidemill.feed.watching import BLOCK, WHOLE_RUN, Span, Watcher, reset_message

log = structlog.get_logger()

CHANNEL = "tidemill_change"
MOST_CELLS = 20_000
"""Tasks of one run that go in one message; above it the page is better off with a new snapshot."""

MOST_CATCH_UP = 100_000
"""Changes that a page may be behind when it comes back; above it, likewise."""

LOOK_AGAIN = 5.0
"""Seconds after which a watched run's overview is made again though nothing moved: its rate and times go on."""

LookAtRun = Callable[[AsyncSession, int], Awaitable[Any]]
LookAtRuns = Callable[[AsyncSession, Sequence[int]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between pushes of cells, between polls, and between two overviews of the same run."""

    tick: float = 0.05
    poll: float = 1.0
    overview: float = 1.0


@dataclass(slots=True)
class _Asked:
    """A watch that has not begun yet: it catches up from `after` first."""

    watcher: Watcher
    run: int
    after: changes.Position
    span: Span


class LiveFeed:
    """Tells watchers what changes in the runs that they watch. `run()` works until it is cancelled.

    `look_at_run` makes a run's overview, `look_at_runs` the list's rows of some runs; both are called at most once per
    `Pace.overview`, whoever watches, and return what orjson can write.
    """

    def __init__(
        self, database: Database, look_at_run: LookAtRun, look_at_runs: LookAtRuns, pace: Pace | None = None
    ) -> None:
        self._database = database
        self._look_at_run = look_at_run
        self._look_at_runs = look_at_runs
        self._pace = pace or Pace()
        self._watchers: set[Watcher] = set()
        self._asked: list[_Asked] = []
        self._hint = asyncio.Event()
        self._hints = 0
        self.closing = asyncio.Event()
        """Set when the process is about to stop: whoever follows for ever ends."""
        self._hinted = asyncio.Condition()
        self._seen: str | None = None
        self._seq = changes.START
        self._stale: dict[int, float] = {}
        """Watched runs whose overview is to be made again, with the time at which it may."""
        self._looked: dict[int, float] = {}
        self._stale_rows: set[int] = set()
        self._rows_at = 0.0

    # What sockets call.

    def join(self) -> Watcher:
        """A new watcher, who watches nothing yet."""
        watcher = Watcher()
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        self._watchers.discard(watcher)
        self._asked = [asked for asked in self._asked if asked.watcher is not watcher]

    def watch(self, watcher: Watcher, run: int, since: str, span: Span = WHOLE_RUN) -> None:
        """Send this run's changes from position `since` on, those of the tasks in `span`, and its overview.

        Raises InvalidInput for a position of the feed that is none.
        """
        after = changes.parse(since)
        self.unwatch(watcher, run)
        self._asked.append(_Asked(watcher, run, after, span))
        self._hint.set()

    def unwatch(self, watcher: Watcher, run: int) -> None:
        """Send nothing more of this run."""
        watcher.runs.pop(run, None)
        self._asked = [asked for asked in self._asked if asked.watcher is not watcher or asked.run != run]

    def watch_runs(self, watcher: Watcher, wanted: bool = True) -> None:
        """Send the list's row of every run that changes, or no more."""
        watcher.all_runs = wanted
        self._hint.set()

    @property
    def hints(self) -> int:
        """How often there was word that something may have changed."""
        return self._hints

    async def hinted(self, seconds: float, before: int | None = None) -> None:
        """Wait until something may have changed, but not longer than this; `before`: since there were so many hints."""
        before = self._hints if before is None else before
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._hinted:
                await self._hinted.wait_for(lambda: self._hints != before)

    # The work.

    async def run(self) -> None:
        """Listen and read until cancelled. A lost database is waited for; watchers keep their place meanwhile."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._read())

    async def _listen(self) -> None:
        while True:
            try:
                with translated():
                    async with await self._database.connect() as connection:
                        await connection.execute(f"listen {CHANNEL}".encode())
                        await self._hear()
                        async for _ in connection.notifies():
                            await self._hear()
            except DatabaseUnavailable as error:
                log.warning("live feed lost the database", error=error.message)
                await asyncio.sleep(self._pace.poll / 2)

    async def _hear(self) -> None:
        self._hint.set()
        async with self._hinted:
            self._hints += 1
            self._hinted.notify_all()

    async def _read(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait()):
                    await self._hint.wait()
            self._hint.clear()
            try:
                await self._turn()
            except DatabaseUnavailable as error:
                log.warning("live feed cannot read", error=error.message)
                # What was seen last may speak of transactions that a crash undid: go back to what is certain.
                self._seen = _from(changes.parse(self._seq)[0]) if self._seen else None
                await asyncio.sleep(self._pace.poll / 2)
            except Exception:  # one reader serves all pages: it tells the log and goes on
                log.exception("live feed failed to read")
                await asyncio.sleep(self._pace.poll)
            await asyncio.sleep(self._pace.tick)

    def _wait(self) -> float:
        """Seconds until there is something to do even without a hint."""
        due = [*self._stale.values(), *([self._rows_at + self._pace.overview] if self._stale_rows else [])]
        return max(0.0, min(self._pace.poll, min(due, default=float("inf")) - time.monotonic()))

    async def _turn(self) -> None:
        if not self._asked and not any(watcher.runs or watcher.all_runs for watcher in self._watchers):
            self._seen = None
            return
        async with self._database.begin() as session:
            if self._seen is None:
                self._seen = (await _moved(session, _FAR, [], 0))["seen"]
            self._seq = await changes.now(session)
            await self._begin(session)
            await self._follow(session)
            await self._overviews(session)
            await self._rows(session)

    async def _begin(self, session: AsyncSession) -> None:
        """Let those who asked catch up: one read per run, from the oldest position that any of them came with."""
        asked, self._asked = self._asked, []
        try:
            for run in dict.fromkeys(one.run for one in asked):
                ones = [one for one in asked if one.run == run]
                await self._catch_up(session, run, ones)
                asked = [one for one in asked if one.run != run]
        finally:
            self._asked[:0] = asked

    async def _catch_up(self, session: AsyncSession, run: int, ones: list[_Asked]) -> None:
        oldest = min(one.after for one in ones)
        row = await _moved(session, _from(oldest[0]), [run], MOST_CATCH_UP, oldest)
        ahead = int(row["seen"].split(":")[1])
        told = _Told(run, self._seq, row["stand"] or [])
        for one in ones:
            tasks, message = told.to(one.span)
            if row["changes"] >= MOST_CATCH_UP or tasks > MOST_CELLS or one.after[0] > ahead:
                self._send(one.watcher, reset_message(run))
                continue
            one.watcher.runs[run] = one.span
            self._send(one.watcher, message)
        self._stale.setdefault(run, 0.0)
        self._looked.pop(run, None)

    async def _follow(self, session: AsyncSession) -> None:
        """One read for all: what became visible since the last, sent to each who watches it."""
        watched = {run for watcher in self._watchers for run in watcher.runs}
        assert self._seen is not None
        row = await _moved(session, self._seen, sorted(watched), None)
        for run in {stand["run_id"] for stand in row["stand"] or ()}:
            self._deliver(_Told(run, self._seq, [stand for stand in row["stand"] if stand["run_id"] == run]))
        now = time.monotonic()
        for run in watched.intersection(row["runs"]):
            self._stale.setdefault(run, self._looked.get(run, 0.0) + self._pace.overview)
        for run in watched:
            if now - self._looked.get(run, now) > LOOK_AGAIN:
                self._stale.setdefault(run, now)
        self._stale_rows.update(row["runs"])
        self._seen = row["seen"]

    def _deliver(self, told: _Told) -> None:
        for watcher in [watcher for watcher in self._watchers if told.run in watcher.runs]:
            tasks, message = told.to(watcher.runs[told.run])
            if tasks > MOST_CELLS:
                watcher.drop(told.run)
            elif tasks:
                self._send(watcher, message)

    async def _overviews(self, session: AsyncSession) -> None:
        """What the page shows above the grid, made once per run for all who watch it, at most once a second."""
        now = time.monotonic()
        for run in [run for run, due in self._stale.items() if due <= now]:
            del self._stale[run]
            watchers = [watcher for watcher in self._watchers if run in watcher.runs]
            if not watchers:
                self._looked.pop(run, None)
                continue
            try:
                message = _json({"run": run, "seq": self._seq, "overview": await self._look_at_run(session, run)})
            except DatabaseUnavailable:
                raise
            except TidemillError as error:
                self._forget(run)
                message = _json({"run": run, "error": {"kind": type(error).__name__, "message": error.message}})
            self._looked[run] = now
            for watcher in watchers:
                self._send(watcher, message)

    def _forget(self, run: int) -> None:
        for watcher in self._watchers:
            watcher.runs.pop(run, None)

    async def _rows(self, session: AsyncSession) -> None:
        watchers = [watcher for watcher in self._watchers if watcher.all_runs]
        if not watchers or not self._stale_rows:
            self._stale_rows.clear()
            return
        now = time.monotonic()
        if now < self._rows_at + self._pace.overview:
            return
        rows = await self._look_at_runs(session, sorted(self._stale_rows))
        self._stale_rows.clear()
        self._rows_at = now
        message = _json({"runs": rows, "seq": self._seq})
        for watcher in watchers:
            self._send(watcher, message)

    def _send(self, watcher: Watcher, message: str) -> None:
        if not watcher.put(message):
            watcher.reset()


_FAR = "9000000000000000000:9000000000000000000:"
"""A snapshot in which everything is visible."""


def _from(xid: int) -> str:
    """A snapshot in which nothing from this transaction on is visible."""
    xid = max(xid, 3)
    return f"{xid}:{xid}:"


async def _moved(
    session: AsyncSession, seen: str, runs: list[int], most: int | None, after: changes.Position = (0, 0)
) -> Row:
    params = {"seen": seen, "runs": runs, "most": most, "block": BLOCK, "xid": str(after[0]), "id": after[1]}
    row = await fetch_one(session, "live.moved", params)
    assert row is not None
    return row


class _Told:
    """What moved in one run, for whoever shows which part of it: the same text for all who show the same."""

    def __init__(self, run: int, seq: str, stands: Sequence[Row]) -> None:
        self.run = run
        self._seq = seq
        self._stands = stands
        self._made: dict[Span, tuple[int, str]] = {}

    def to(self, span: Span) -> tuple[int, str]:
        """How many tasks of this span moved, and the message that says where they stand."""
        if span not in self._made:
            stands = [stand for stand in self._stands if span.holds(stand["block"])]
            cells = ",".join(stand["cells"] for stand in stands)
            message = f'{{"run":{self.run},"seq":"{self._seq}","cells":[{cells}]}}'
            self._made[span] = (sum(stand["tasks"] for stand in stands), message)
        return self._made[span]


def _json(message: dict[str, Any]) -> str:
    return orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS).decode()


__all__ = ["LiveFeed", "Pace", "Span", "Watcher"]
