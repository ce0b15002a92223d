"""What a step prints and logs goes into its attempt's log, also where many steps run in one process.

Which attempt is speaking is a context variable: it follows a thread that we start and an async function, though not
into threads that a step starts by itself; what those print goes where it always went.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

Write = Callable[[str], None]

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"
"""How a line of `logging` reads in an attempt's log where the step's file has not set up its own."""

_speaking: ContextVar[Write | None] = ContextVar("tidemill_speaking", default=None)


@contextmanager
def captured(write: Write) -> Iterator[None]:
    """Within: what this thread or coroutine prints, or logs with `logging`, is given to `write`."""
    _listen()
    token = _speaking.set(write)
    try:
        yield
    finally:
        _speaking.reset(token)


def watch_streams() -> None:
    """From here on whatever takes `sys.stdout` or `sys.stderr` can be captured; call it before steps are loaded."""
    for name in ("stdout", "stderr"):
        if not isinstance(getattr(sys, name), _Stream):
            setattr(sys, name, _Stream(getattr(sys, name)))


def _listen() -> None:
    """Streams may have been put back since; and where nobody has set up `logging`, attempts hear it from INFO on."""
    watch_streams()
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_Handler())
        if root.level == logging.WARNING:
            root.setLevel(logging.INFO)


class _Stream:
    """In place of a standard stream: an attempt's words go to its log, all others to the stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        write = _speaking.get()
        if write is None:
            return self._stream.write(text)
        write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _speaking.get() is None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    """Records of an attempt go to its log; others to where Python's last resort sends them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(LOG_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        write = _speaking.get()
        if write is not None:
            write(self.format(record) + "\n")
        elif logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)
