"""Those who watch live: what each of them watches, and the bounded queue that their messages wait in."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import orjson

QUEUE = 64
"""Messages that may wait for one watcher: some three seconds of a busy run."""

QUEUE_LETTERS = 1_000_000
"""Letters that these messages may have together, unless it is a single one."""


BLOCK = 10_000
"""Positions of a run that are told of together: a page of a long run shows two such blocks."""


@dataclass(frozen=True, slots=True)
class Span:
    """The positions of a run that a page shows: whole blocks. `last` None: to the end, however far the run grows."""

    first: int = 0
    last: int | None = None

    def holds(self, block: int) -> bool:
        """Whether a block (its number, from 0) is told to this page."""
        return self.first // BLOCK <= block and (self.last is None or block <= self.last // BLOCK)


WHOLE_RUN = Span()


class Watcher:
    """One open page. Messages are put in whole, already serialised, the same object for all who watch the same."""

    def __init__(self, size: int = QUEUE, letters: int = QUEUE_LETTERS) -> None:
        self._size, self._most_letters = size, letters
        self._queue: deque[str] = deque()
        self._letters = 0
        self._ready = asyncio.Event()
        self.runs: dict[int, Span] = {}
        """Runs that this watcher is sent the changes of, each with the positions that it shows."""
        self.all_runs = False
        """Whether it is sent the list's rows of every run that changes."""

    def put(self, message: str) -> bool:
        """Hand over a message; False where the queue is full, and the watcher has to begin again."""
        if self._queue and (len(self._queue) >= self._size or self._letters + len(message) > self._most_letters):
            return False
        self._append(message)
        return True

    def reset(self) -> None:
        """Throw away what waits and say so for each thing watched: the page reads the state and watches again."""
        self._queue.clear()
        self._letters = 0
        for run in sorted(self.runs):
            self._append(reset_message(run))
        if self.all_runs:
            self._append(RUNS_RESET)
        self.runs.clear()
        self.all_runs = False

    def drop(self, run: int) -> None:
        """Stop watching one run and say that its state must be read again."""
        if run in self.runs:
            span = self.runs.pop(run)
            if not self.put(reset_message(run)):
                self.runs[run] = span
                self.reset()

    async def next(self) -> str:
        """The oldest message; waits for one."""
        while not self._queue:
            self._ready.clear()
            await self._ready.wait()
        message = self._queue.popleft()
        self._letters -= len(message)
        return message

    def _append(self, message: str) -> None:
        self._queue.append(message)
        self._letters += len(message)
        self._ready.set()

    @property
    def waiting(self) -> int:
        return len(self._queue)


RUNS_RESET = '{"runs":true,"reset":true}'


def reset_message(run: int) -> str:
    """Tells a page that changes were left out: it reads the run's grid again and watches from there."""
    return orjson.dumps({"run": run, "reset": True}).decode()
