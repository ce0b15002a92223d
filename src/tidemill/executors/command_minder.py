"""Minds one command: starts it within its limits, and sees to it that nothing of it is left when it is over.

A program of its own, standard library only, run as `python -I -S command_minder.py`. Between a worker and a command
because only a process that the command's own children fall back to can find them all, and because it must act when the
worker is killed with -9: then the worker's end of the pipe at descriptor 0 closes, and everything is killed at once.

Descriptor 0: one line of JSON (`arguments`, `environment`, `folder`, `memory`, `cpu_time`, `grace`, `result`), later
perhaps `stop`: SIGTERM, and SIGKILL after `grace` seconds. Descriptors 1 and 2 are the command's. How it ended is
written to the file `result` as JSON.

Children that leave the command's process group are found because this process is their "subreaper" (Linux prctl 36); it
dies with its worker by prctl 1, should somebody else hold the pipe. Memory is what all of them really use together,
looked at ten times a second. Other systems than Linux have the process group and the pipe alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

LOOK_EVERY = 0.1
LAST_RITES = 5.0
"""Seconds in which killed processes must be gone; only one that hangs in the kernel takes longer."""
_PDEATHSIG, _SUBREAPER = 1, 36
_LINUX = sys.platform == "linux"
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Minder:
    """One command from start to end."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.child = 0
        self.ended: dict[str, Any] = {}
        self.killed_for = ""
        self.kill_at: float | None = None
        self.children_left = True
        self.orphaned = False
        self.heard: set[int] = set()
        """Signals that came and were not yet acted upon."""
        self.wake, self._wake_end = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._wake_end, False)

    def run(self) -> None:
        """Start the command and watch it until it and all that it started are gone."""
        self.listen()
        if error := self.start():
            self.reap()
            self.report(json.loads(error))
            return
        try:
            while not self.ended:
                self.turn()
        finally:
            self.sweep()
        self.report(self.ended)

    def listen(self) -> None:
        """Have signals wake this process. A handler only takes note: it may have come in the midst of anything."""
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: self.heard.add(number))

    def start(self) -> str:
        """Make the command's process; what went wrong, if it could not be started."""
        reading, writing = os.pipe()
        minder = os.getpid()
        self.child = os.fork()
        if self.child == 0:
            _become(self.order, minder, writing)
        os.close(writing)
        with contextlib.suppress(OSError):  # both sides set it: whoever comes first
            os.setpgid(self.child, self.child)
        with os.fdopen(reading, "rb") as pipe:
            return pipe.read().decode("utf-8", "replace")

    def turn(self) -> None:
        """Wait for news: the end of a process, a word from the worker, or the time to look again."""
        pause = LOOK_EVERY if self.order["memory"] and _LINUX else None
        if self.kill_at is not None:
            pause = max(self.kill_at - time.monotonic(), 0.0)
        ready, _, _ = select.select([self.wake] if self.orphaned else [0, self.wake], [], [], pause)
        if self.wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self.wake, 4096)
        if signal.SIGHUP in self.heard or (0 in ready and not _word()):
            self.orphaned = True  # from here on descriptor 0 has no news: it would be ready all the time
            self.kill("orphaned")
        elif signal.SIGTERM in self.heard or 0 in ready:
            self.stop()
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.kill("stopped")
        self.reap()
        if not self.ended and self.order["memory"] and uses_more(descendants(), self.order["memory"]):
            self.kill("memory")

    def stop(self) -> None:
        """Ask everything to end, and set the time at which it is made to."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + self.order["grace"]
            self.killed_for = self.killed_for or "stopped"
            self.signal(signal.SIGTERM)

    def kill(self, why: str) -> None:
        self.killed_for = self.killed_for or why
        self.signal(signal.SIGKILL)
        self.kill_at = time.monotonic() + LOOK_EVERY

    def signal(self, number: int) -> None:
        """Send a signal to the command's group and to all that left it."""
        if not (self.ended and _LINUX):  # then whatever is left of the group is below this process
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child, number)
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def reap(self) -> None:
        """Take note of every process that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.children_left = False
                return
            if pid == 0:
                return
            if pid == self.child:
                code = os.waitstatus_to_exitcode(status)
                self.ended = {"exit": code} if code >= 0 else {"signal": -code}

    def sweep(self) -> None:
        """Kill what the command left running: a step that is over is over."""
        ends = time.monotonic() + LAST_RITES
        while self.children_left and time.monotonic() < ends:
            self.signal(signal.SIGKILL)
            self.reap()
            if self.children_left:
                time.sleep(0.005)
        if not _LINUX:
            self.signal(signal.SIGKILL)

    def report(self, ended: dict[str, Any]) -> None:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = ended | {"killed_for": self.killed_for, "processor": usage.ru_utime + usage.ru_stime}
        part = self.order["result"] + ".part"
        with open(part, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would double the time to start
            json.dump(told, file)
        os.replace(part, self.order["result"])  # noqa: PTH105


def _word() -> bytes:
    """What the worker says; nothing when it is gone."""
    with contextlib.suppress(OSError):
        return os.read(0, 64)
    return b""


def _become(order: dict[str, Any], minder: int, writing: int) -> None:
    """In the child: be the command. Never returns."""
    try:
        os.setpgid(0, 0)
        _prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != minder:
            os._exit(127)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if order["cpu_time"]:
            seconds = max(1, round(order["cpu_time"]))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + max(1, round(order["grace"]))))
        _offer_to_oom_killer()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be inherited
            signal.signal(number, signal.SIG_DFL)
        os.chdir(order["folder"])
        os.execvpe(order["arguments"][0], order["arguments"], order["environment"])  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - whatever it is, this process must not go on as a second minder
        code = error.errno if isinstance(error, OSError) else None
        told = {"not_started": os.strerror(code) if code else str(error), "errno": code}
        os.write(writing, json.dumps(told).encode())
    os._exit(127)


def _offer_to_oom_killer() -> None:
    """Where the machine runs out of memory, the command goes before the worker and the database do."""
    with contextlib.suppress(OSError):
        handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(handle, b"500")
        os.close(handle)


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants() -> list[int]:
    """All processes below this one, as far as the system tells."""
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        pid = pending.pop()
        for child in _children(pid):
            found.append(child)
            pending.append(child)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            children += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return children


def uses_more(pids: list[int], limit: int) -> bool:
    """Whether these processes together use more than so many bytes; pages that they share count once.

    That takes the kernel a while to say, so it is asked only where it could make a difference.
    """
    if sum(_resident(pid) for pid in pids) <= limit:
        return False
    return len(pids) == 1 or sum(_proportional(pid) for pid in pids) > limit


def _resident(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _proportional(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return _resident(pid)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""


def main() -> None:
    """Read the order and carry it out."""
    worker = os.getppid()
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))
    _prctl(_PDEATHSIG, signal.SIGHUP)
    _prctl(_SUBREAPER, 1)
    if os.getppid() != worker:
        return
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 65536)
        if not chunk:  # the worker is gone before it said what to do
            return
        line += chunk
    Minder(json.loads(line)).run()


if __name__ == "__main__":
    main()
