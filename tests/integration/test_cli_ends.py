"""The end of a command, and a standard error that takes nothing any more: neither keeps it from ending as it should."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.program import Started

HANGS = """
import asyncio, sys, threading
from tidemill.cli import door
from tidemill.cli.edge import run_program
from tidemill.cli.threads import leave
from tidemill.errors import InvalidInput

async def work():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    print("at work", flush=True)
    try:
        if sys.argv[1] == "fails":
            raise InvalidInput("it is wrong")
        await asyncio.Event().wait()
    finally:
        print("over", flush=True)

try:
    door.run(work())
except InvalidInput:
    code = 3
except KeyboardInterrupt:
    code = 130
sys.exit(leave(code))
"""
"""A command one of whose threads never ends."""


@contextmanager
def started(*words: str) -> Iterator[Started]:
    pipe = subprocess.PIPE
    with Started(subprocess.Popen([sys.executable, "-c", *words], stdout=pipe, stderr=pipe)) as program:
        yield program


def test_signals_while_threads_are_waited_for_are_no_fault() -> None:
    with started(HANGS, "waits") as program:
        program.until("at work")
        program.signal()
        program.until("over")
        for _ in range(2):  # the next, at which it would end at once, is not reached
            time.sleep(0.05)
            program.signal()
        assert program.end() == 130
        assert "Error" not in program.said


def test_a_command_that_failed_and_whose_thread_hangs_can_be_ended() -> None:
    with started(HANGS, "fails") as program:
        program.until("over")
        program.signal()
        assert program.end() == 3
        assert "Error" not in program.said
