"""What a process costs: seconds of CPU and peak memory, from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import psycopg


def cpu_seconds(pids: Iterable[int]) -> float | None:
    """Seconds of CPU that these processes have used, all threads; None where that cannot be known."""
    try:
        return sum(_one(pid) for pid in pids)
    except FileNotFoundError:
        return None


def _one(pid: int) -> float:
    """From the scheduler, in nanoseconds, where the kernel tells: ticks are too coarse for an idle process."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    try:
        nanoseconds = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
        if nanoseconds:
            return nanoseconds / 1e9
    except FileNotFoundError:
        pass
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """The most memory (resident, MB of 10^6 bytes) that a process has held; 0 where that cannot be known."""
    return _memory(pid, "VmHWM")


def megabytes(pid: int) -> float:
    """The memory that a process holds now (resident, MB)."""
    return _memory(pid, "VmRSS")


def _memory(pid: int, field: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field + ":")), 0.0)


def backends(url: str) -> list[int]:
    """The process ids of all that is connected to this database but the asker, if the server runs on this machine."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            " and backend_type = 'client backend'"
        ).fetchall()
    return [pid for (pid,) in rows if "postgres" in _command(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, PermissionError):
        return ""
