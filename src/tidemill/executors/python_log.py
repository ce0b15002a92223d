"""What an attempt of a Python step says while it is at work: gathered for its record, passed on for who looks on."""

from __future__ import annotations

import asyncio
import threading

from tidemill.executors.contract import Progress, Report

EVERY = 0.2
"""Seconds between reports of one attempt."""

MOST = 64 * 1024 * 1024
"""Characters of a log that are kept. Of a longer one the beginning is, and the last lines."""

_LAST = 32 * 1024


class LogBook:
    """A `Listener` (see `sdk.task`): called from any thread; reports from the event loop, a few times a second."""

    def __init__(self, report: Report, most: int = MOST) -> None:
        self._report = report
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._size = 0
        self._beyond = ""
        self._left_out = 0
        self._unsaid: list[str] = []
        self._fraction: float | None = None
        self._due = False
        self._closed = False

    def progress(self, fraction: float) -> None:
        """How far it is, 0 to 1."""
        with self._lock:
            self._fraction = fraction
            self._call()

    def write(self, text: str) -> None:
        """More of the log."""
        if not text:
            return
        with self._lock:
            if self._closed:
                return
            if self._size < self._most:
                self._pieces.append(text)
            else:
                whole = self._beyond + text
                self._beyond = whole[-_LAST:]
                self._left_out += len(whole) - len(self._beyond)
            self._size += len(text)
            self._unsaid.append(text)
            self._call()

    def close(self) -> str:
        """The whole log. What comes after this is not heard any more."""
        with self._lock:
            self._closed = True
            text = "".join(self._pieces)
            if self._left_out:
                text += f"\n… {self._left_out:,} characters were left out here …\n"
            return text + self._beyond

    def _call(self) -> None:
        """See to it that what is new is reported soon. Called with the lock held."""
        if self._due or self._closed:
            return
        self._due = True
        try:
            self._loop.call_soon_threadsafe(self._loop.call_later, EVERY, self._tell)
        except RuntimeError:  # the worker has gone, and a thread of it still talks
            self._closed = True

    def _tell(self) -> None:
        with self._lock:
            if self._closed:
                return
            text, fraction = "".join(self._unsaid), self._fraction
            self._unsaid, self._fraction, self._due = [], None, False
        self._report(Progress(fraction, log=text))
