"""Workers as child processes of `tidemill up`: started again when they die, gone when their parent is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tidemill.cli.exits import Exit
from tidemill.cli.output import say

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a worker that died is started again; doubled while it keeps dying."""

STEADY = 60.0
"""Seconds that a worker must have lived for its death to count as the first."""


class WorkerProcess:
    """One `tidemill worker` of this site, kept up.

    It is in a session of its own, so that a Ctrl-C at the terminal reaches the parent alone, which passes it on. It
    holds the reading end of a pipe of ours: when we die, however, the kernel closes the other end and it leaves.
    """

    def __init__(self, site: Path) -> None:
        self._site = site
        self._process: asyncio.subprocess.Process | None = None
        self._signals = 0
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Pass a signal on: the first lets work in hand finish, the second gives it back."""
        self._signals += 1
        self._stop.set()
        self._send()

    async def keep(self) -> Exit:
        """Keep it up until it was told to stop; how it then ended."""
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self._signals:
            began = loop.time()
            try:
                code = await self._run_once()
                what = f"The worker ended ({_why(code)})"
            except OSError as error:  # the machine has no process or memory to give at the moment
                code = Exit.INTERNAL
                what = f"The worker could not be started ({error.strerror})"
            if self._signals:
                return Exit.INTERRUPTED if self._signals > 1 and code == Exit.INTERRUPTED else Exit.OK
            pause = FIRST_PAUSE if loop.time() - began > STEADY else min(pause * 2, LONGEST_PAUSE)
            say(f"{what}; starting it again in {pause:g} s.")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
        return Exit.OK

    async def _run_once(self) -> int:
        """Start it and wait for its end; its exit code. Raises OSError where there is nothing to start it with."""
        theirs, ours = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tidemill.cli", "--site", str(self._site), "worker", "--lifeline", str(theirs),
                stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr, pass_fds=(theirs,), start_new_session=True,
            )  # fmt: skip
            os.close(theirs)
            theirs = -1
            if self._signals:  # it came while the process was being made
                self._send()
            return await self._process.wait()
        finally:
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)
            self._process = None

    def _send(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)


def _why(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
