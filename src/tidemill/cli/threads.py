"""Threads at a command's end: after a signal, one that waits for a service that does not answer holds up no end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

GRACE = 1.0
"""Seconds that threads get after a signal, when all else has ended."""
SLICE = 0.1
"""Seconds between looks for a signal, while threads are waited for that may never end."""
REST = 0.2
"""Seconds for those that only need to notice that there is nothing more to do."""
told_to_end = threading.Event()
"""Set at the first signal."""


class Threads(ThreadPoolExecutor):
    """The event loop's threads. Its end waits for what they do; from a signal on, only for a moment."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="tidemill")
        self._at_work: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job = super().submit(fn, *args, **kwargs)
        self._at_work.add(job)
        job.add_done_callback(self._at_work.discard)
        return job

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if not wait:
            return
        while self._at_work and not told_to_end.is_set():
            _ended(self._at_work, SLICE)
        if told_to_end.is_set():
            super().shutdown(wait=False, cancel_futures=True)
            _ended(self._at_work, GRACE)


def _ended(jobs: set[Future[Any]], seconds: float) -> None:
    wait(list(jobs), seconds)


def leave(code: int) -> int:
    """The exit code, after a signal at which all threads have ended; where one has not, the process ends here.

    Python itself would wait for it at its end. All that is to be tidied up has been by now.
    """
    if told_to_end.is_set():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends now in any case
        ends = time.monotonic() + REST
        for thread in _others():
            thread.join(max(0.0, ends - time.monotonic()))
        if _others():
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)
    return code


def _others() -> list[threading.Thread]:
    main = threading.main_thread()
    return [one for one in threading.enumerate() if one is not main and not one.daemon and one.is_alive()]
