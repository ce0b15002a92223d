"""Between a worker and a step in a process of its own (Linux): nothing of the step outlives it, or the worker.

Only a process that the step's own children fall back to can find them all, those in sessions of their own too, and only
one that the worker's end does not kill can act upon it. So the process that the worker starts minds a fork of itself.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

LAST_RITES = 5.0
"""Seconds in which killed processes must be gone; only one that hangs in the kernel takes longer."""
END = signal.SIGUSR1
"""Comes when the worker is gone, or from the worker: kill everything, and end."""

_PDEATHSIG, _SUBREAPER = 1, 36


def minded(line: int) -> None:
    """Return in a child of this process; this process itself stays to mind it, and ends as the child did.

    `line`: the descriptor over which the child talks to the worker.
    """
    worker, minder = os.getppid(), os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    awaited = {signal.SIGCHLD, END}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    _prctl(_PDEATHSIG, END)
    _prctl(_SUBREAPER, 1)
    if os.getppid() != worker:
        os._exit(1)
    child = os.fork()
    if child == 0:
        _prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != minder:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os.close(line)
    ended = None
    while ended is None and signal.sigwait(awaited) == signal.SIGCHLD:
        ended = _reaped(child)
    ended = _swept(child, ended)
    _end_as(signal.SIGKILL if ended is None else ended)


def _reaped(child: int, ended: int | None = None) -> int | None:
    """Take note of what has ended; how the child did, once it has. Raises ChildProcessError when none is left."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid == 0:
            return ended


def _swept(child: int, ended: int | None) -> int | None:
    """Kill what there is, until nothing is left; how the child ended."""
    ends = time.monotonic() + LAST_RITES
    with suppress(ChildProcessError):
        while time.monotonic() < ends:
            for pid in _children():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            ended = _reaped(child, ended)
            time.sleep(0.002)
    return ended


def _children() -> list[int]:
    """Children of this process, which has one thread. A killed one's own children are here before it is reaped."""
    try:
        return [int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except FileNotFoundError:  # a kernel that does not tell: then all of the group, this process with it
        os.killpg(0, signal.SIGKILL)
        raise


def _end_as(status: int) -> None:
    """End with the same exit code, or by the same signal."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the child has left its own, where that is wanted
        with suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
