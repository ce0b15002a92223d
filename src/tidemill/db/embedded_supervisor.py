"""The keeper of one site's PostgreSQL: a small process of its own that starts, watches and stops the server.

`tidemill.db.embedded` starts it; it needs the standard library alone, so that it is up in a few hundredths of a
second and stays small. It outlives the process that started it: the server runs as long as any process of the site
holds a shared lock on `users.lock`, is restarted when it dies, and is stopped in order when the last user is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemill.db.embedded_cluster import Cluster
from tidemill.db.embedded_folder import ServerFailure, free_port, open_lock, try_lock, write_private

LOG_BYTES = 8 << 20
POLL_SECONDS = 0.25
STOP_SECONDS = 60.0
RESTART_SECONDS = 0.5  # between two restarts, so that a server that dies again and again takes no whole core


@dataclass
class Supervisor:
    """One server, from its first start to its end."""

    folder: Path
    cluster: Cluster
    users: int
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    stopping: bool = False
    server: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.log = self.folder / "server.log"
        self.wake, wakes = socket.socketpair()
        for end in (self.wake, wakes):
            end.setblocking(False)
        self._wakes = wakes
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop_soon)

    def _stop_soon(self, *_: object) -> None:
        self.stopping = True

    def keep(self) -> None:
        """Serve until told to stop or until nobody uses the server."""
        self.report("starting")
        if not self.cluster.exists:
            self.cluster.initialise()
        self.cluster.check_version()
        self.start()
        started = time.monotonic() - RESTART_SECONDS
        while not (self.stopping or try_lock(self.users)):
            self.pause(POLL_SECONDS)
            if self.server is not None and self.server.poll() is not None and not self.stopping:
                self.report("starting")
                time.sleep(max(0.0, started + RESTART_SECONDS - time.monotonic()))
                self.start()
                started = time.monotonic()
            self.rotate_log()
        self.stop()

    def pause(self, seconds: float) -> None:
        """Sleep until a child ends, a signal comes, or the time is over."""
        if select.select([self.wake], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                self.wake.recv(4096)

    def report(self, state: str, **more: Any) -> None:
        """Tell the site's processes: starting, ready (with port), stopping, stopped or failed (with error)."""
        record = {"supervisor": self.name, "pid": os.getpid(), "state": state, **more}
        write_private(self.folder, "server.json", json.dumps(record))

    def start(self) -> None:
        """Start the server and wait until it takes connections; ServerFailure quotes its log."""
        for _ in range(3):
            mark = self.log.stat().st_size if self.log.exists() else 0
            port = self.launch()
            while self.server is not None and self.server.poll() is None:
                if self.stopping:
                    return
                if self.cluster.ready(self.server.pid):
                    self.report("ready", port=port, postgres=self.server.pid)
                    return
                self.pause(0.01)
        with self.log.open("rb") as file:
            file.seek(mark)
            said = file.read()[-4000:].decode(errors="replace").strip()
        raise ServerFailure(f"PostgreSQL ended while starting. Its log says:\n{said or '(nothing)'}")

    def launch(self) -> int:
        """Run the server on the kept port, or on another if that is taken; returns the port."""
        kept = self.folder / "port"
        with self.cluster.sole_use() as lock:  # before the port: an earlier server may still listen on it
            port = free_port(int(kept.read_text()) if kept.exists() else None)
            write_private(self.folder, "port", str(port))
            self.server = self.cluster.serve(port, lock, self.log)
        return port

    def stop(self) -> None:
        """Stop the server: in order, and if that takes too long, at once."""
        self.report("stopping")
        for how, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
            if self.server is None or self.server.poll() is not None:
                break
            self.server.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.wait(patience)
        self.report("stopped")

    def rotate_log(self) -> None:
        """Keep one older log; the file is emptied in place because PostgreSQL holds it open."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self.log, self.folder / "server.log.1")
                os.truncate(self.log, 0)


def main(directory: str, programs: str, mode: str) -> int:
    """Become the folder's supervisor, unless there is one; returns the exit status."""
    os.umask(0o077)
    folder = Path(directory)
    lock = open_lock(folder, "supervisor.lock")
    patience = time.monotonic() + 0.5  # those who only look whether it is held hold it for an instant
    while not try_lock(lock):
        if time.monotonic() > patience:
            return 0
        time.sleep(0.01)
    if os.fork():  # the lock stays with the child; whoever started us need not wait for it
        os._exit(0)
    cluster = Cluster(folder, Path(programs), durable=mode == "durable")
    supervisor = Supervisor(folder, cluster, open_lock(folder, "users.lock"))
    try:
        supervisor.keep()
    except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the site's processes are told
        words = str(error) if isinstance(error, ServerFailure) else f"{type(error).__name__}: {error}"
        supervisor.report("failed", error=words)
        return 1
    return 0
