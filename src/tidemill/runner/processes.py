"""Which process a worker is, beyond doubt, and whether it still lives: for workers on one machine.

A PID alone is given out again, and says nothing in another container; boot, namespace and start time settle it. Where
/proc is missing every worker counts as alive, and its lease decides.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """`name` is `<boot>/<pid namespace>/<pid>/<start>`; the start is empty where /proc does not say."""

    name: str

    @property
    def pid(self) -> int:
        return int(self.name.split("/")[2])

    @classmethod
    def this(cls) -> Process:
        return cls(f"{cls.machine()}{os.getpid()}/{_started(os.getpid()) or ''}")

    @classmethod
    def named(cls, name: str) -> Process:
        return cls(name)

    @staticmethod
    @cache
    def machine() -> str:
        """What the names of all processes that this one can see begin with."""
        try:
            boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            space = (PROC / "self/ns/pid").readlink().name
        except OSError:
            return f"unknown-{os.getpid()}//"
        return f"{boot}/{space}/"

    def alive(self) -> bool:
        """False only if this process is certainly gone."""
        if not self.name.startswith(self.machine()):
            return True
        _, _, pid, started = self.name.split("/")
        return _started(int(pid)) == started


def _started(pid: int) -> str | None:
    """When a process began, in clock ticks since boot (field 22 of proc_pid_stat(5)); None if there is none."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
