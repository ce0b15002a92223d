"""The minder by itself: signals that come in the midst of its work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tidemill.executors import command_minder

LEAVES = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)", sys.argv[1]], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""
"""Starts a child that a kill of its process, or of its group, would not reach."""


def alive(mark: str) -> list[psutil.Process]:
    """Processes that have this word in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mark in process.cmdline():
                found.append(process)
    return found


def minded(mark: str, folder: Path) -> subprocess.Popen[bytes]:
    minder = subprocess.Popen(
        [sys.executable, "-I", "-S", command_minder.__file__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": os.defpath}, start_new_session=True,
    )  # fmt: skip
    order = {
        "arguments": [sys.executable, "-I", "-c", LEAVES, mark],
        "environment": {}, "folder": str(folder), "memory": None, "cpu_time": None, "grace": 5.0,
        "result": str(folder / "result"),
    }  # fmt: skip
    assert minder.stdin is not None
    assert minder.stdout is not None
    minder.stdin.write(json.dumps(order).encode() + b"\n")
    minder.stdin.flush()
    assert minder.stdout.readline() == b"ready\n"
    return minder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems find no children that left the group")
def test_signals_upon_signals_leave_nothing_running(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-upon"
    try:
        for _ in range(6):
            with minded(mark, tmp_path) as minder:
                ends = time.monotonic() + 0.3
                while minder.poll() is None and time.monotonic() < ends:
                    os.kill(minder.pid, signal.SIGHUP)
            assert minder.returncode in (0, -signal.SIGHUP), "the latter while it ends, with its work done"
            assert not alive(mark)
            assert json.loads((tmp_path / "result").read_text())["killed_for"] == "orphaned"
    finally:
        for process in alive(mark):
            process.kill()
