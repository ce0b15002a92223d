"""What takes long to be there, and is wanted late, is begun when a run of the whole suite begins.

So no test stands still while it is being made: a real S3 service, the environments of the examples, a server that
speaks CouchDB's protocol. Nothing depends on it: the fixtures that want these make what is not there, and wait for what
is being made; what fails here fails there, with words.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tests.ceph import lacking, used

BESIDE = ["nice", "-n", "5"] if shutil.which("nice") else []
ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    [sys.executable, "-c", "from tests.couchdb import installed; installed()"],
    *([sys.executable, str(ROOT / "examples" / one / "setup_env.py")] for one in ("archive", "experiment", "portal")),
]
"""In the order in which they are wanted."""


class Ahead:
    """At work from the start on; `end` gives back what it holds, and stops what it has not done."""

    def __init__(self, ceph: Path) -> None:
        """`ceph`: the folder in which the tests will look for their S3 service."""
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._command: subprocess.Popen[bytes] | None = None
        jobs = [threading.Thread(target=self._make)]
        if not lacking():
            jobs.append(threading.Thread(target=self._hold, args=(ceph,)))
        self._jobs = jobs
        for job in jobs:
            job.start()

    def end(self) -> None:
        self._ended.set()
        with self._lock, suppress(ProcessLookupError):
            if self._command is not None and self._command.poll() is None:
                os.killpg(self._command.pid, signal.SIGKILL)
        for job in self._jobs:
            job.join()

    def _hold(self, folder: Path) -> None:
        with suppress(RuntimeError), used(folder):  # if it does not come up, the tests that want it say so
            self._ended.wait()

    def _make(self) -> None:
        for command in COMMANDS:
            with self._lock:
                if self._ended.is_set():
                    return
                quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                self._command = subprocess.Popen([*BESIDE, *command], cwd=ROOT, start_new_session=True, **quiet)
            self._command.wait()
