"""A PostgreSQL data directory: made all or nothing, and opened wherever it lies. Standard library only."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.db.embedded_folder import (
    ServerFailure,
    open_lock,
    server_account,
    servers_in,
    try_lock,
    write_private,
)
from tidemill.fsync import fsync

ORPHAN_SECONDS = 3.0
PR_SET_PDEATHSIG = 1
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container says how much memory it may use: control groups of version 2, and of version 1."""

SETTINGS = """
# Tidemill's starting values; change them here or with ALTER SYSTEM.
shared_buffers = {shared_buffers}MB
max_connections = 100
max_wal_size = 2GB
checkpoint_timeout = 10min
autovacuum = on
autovacuum_naptime = 10s
max_logical_replication_workers = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
scram_iterations = 4096
"""
SAFETY = ("fsync", "synchronous_commit", "full_page_writes")


def shared_buffers(limits: Sequence[Path] = MEMORY_LIMITS) -> int:
    """Megabytes of PostgreSQL's own cache: a thirty-second of the memory of this machine, or of this container if that
    is less, from 128 to 512."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in limits:
        with contextlib.suppress(OSError, ValueError):  # there is no such file, or it says "max"
            memory = min(memory, int(limit.read_text()))
    return max(128, min(512, memory // 32 // 1024**2))


def ends_with_parent() -> Callable[[], None]:
    """What a child runs before its program, to be sent SIGINT (an orderly stop) when this process dies."""
    import ctypes  # after the fork it is too late to import

    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


@dataclass
class Cluster:
    """The data directory of a folder, and the programs that work on it."""

    folder: Path
    binaries: Path
    durable: bool

    def __post_init__(self) -> None:
        self.account = server_account(self.folder)
        self.data = self.folder / "data"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
        self.environment["TZ"] = "UTC"
        self.in_child = ends_with_parent()
        self.safety = [f"{name}={'on' if self.durable else 'off'}" for name in SAFETY]
        if not self.durable:  # tests, several of which share it
            self.safety.append("max_connections=400")

    @property
    def exists(self) -> bool:
        """Whether there is anything in the data directory."""
        return self.data.exists() and any(self.data.iterdir())

    @contextlib.contextmanager
    def sole_use(self) -> Iterator[int]:
        """Wait until no process of an earlier server is left; yields the lock that the next one inherits."""
        lock = open_lock(self.folder, "postgres.lock")
        patience = time.monotonic() + ORPHAN_SECONDS
        try:
            while not try_lock(lock):
                if time.monotonic() > patience:
                    self.end_orphans()
                    patience = time.monotonic() + 1.0
                time.sleep(0.01)
            yield lock
        finally:
            os.close(lock)

    def end_orphans(self) -> None:
        """Have an earlier server of ours stop in order; kill backends whose postmaster is gone.

        Recovery from the log makes the latter safe. A server that somebody else started never holds our lock,
        so nobody waits for it here.
        """
        running = servers_in(self.data) if self.data.exists() else []
        postmaster = [pid for pid in running if str(pid) == self.postmaster_line(0)]
        for pid in postmaster or running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if postmaster else signal.SIGKILL)

    def postmaster_line(self, number: int) -> str:
        """A line of postmaster.pid: 0 is the process id, 7 the status."""
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()[number].strip()
        except (FileNotFoundError, IndexError):
            return ""

    @contextlib.contextmanager
    def opened(self, directory: Path) -> Iterator[tuple[str, list[int]]]:
        """The directory's name for PostgreSQL, and the descriptors that must be handed to it.

        As root, the site may lie under a folder that `nobody` cannot pass, such as root's home. Nothing is loosened
        for that: PostgreSQL is given the open directory, which /proc/self/fd names without a walk through the
        parents. (Started inside it with `-D .` PostgreSQL fails: it makes the path absolute.)
        """
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if self.account.switch:
                yield f"/proc/self/fd/{descriptor}", [descriptor]
            else:
                yield str(directory), []
        finally:
            os.close(descriptor)

    def initialise(self) -> None:
        """Make the data directory and the database `tidemill`; it gets its name when it is complete."""
        new = self.folder / "data.new"
        with self.sole_use() as lock:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700)
            if self.account.switch:
                os.chown(new, self.account.uid, self.account.gid)
            password = secrets.token_urlsafe(24)
            write_private(self.folder, "password", password)
            with self.opened(new) as (name, descriptors), self.secret(password) as secret:
                options = [
                    "-U",
                    "app",
                    "--auth=scram-sha-256",
                    "--set=scram_iterations=1",  # no repetition makes a random password harder to guess
                    f"--pwfile=/proc/self/fd/{secret}",
                    "-E",
                    "UTF8",
                ]
                options += ["--locale=C.UTF-8", *([] if self.durable else ["--no-sync"])]
                self.run("initdb", ["-D", name, *options], [lock, secret, *descriptors])
                with (new / "postgresql.conf").open("a") as file:
                    file.write(SETTINGS.format(shared_buffers=shared_buffers()))
                single = [
                    "--single",
                    "-D",
                    name,
                    *self.options(*self.safety),
                    "postgres",
                ]
                self.run("postgres", single, [lock, *descriptors], b"CREATE DATABASE tidemill OWNER app;\n")
            new.rename(self.data)
            fsync(self.folder)

    @contextlib.contextmanager
    def secret(self, text: str) -> Iterator[int]:
        """An unnamed file that only the server's user can open, by its descriptor."""
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(text.encode() + b"\n")
            file.flush()
            if self.account.switch:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)
            yield file.fileno()

    @staticmethod
    def options(*settings: str) -> list[str]:
        """Settings as command-line options."""
        return [part for setting in settings for part in ("-c", setting)]

    def run(self, program: str, arguments: Sequence[str], descriptors: Sequence[int], given: bytes = b"") -> str:
        """Run one of PostgreSQL's programs to its end; ServerFailure says what it said."""
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            [str(self.binaries / program), *arguments],
            input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", env=self.environment,
            pass_fds=descriptors, preexec_fn=self.in_child, check=False, **self.account.switch,
        )  # fmt: skip
        said: str = done.stdout.decode(errors="replace").strip()
        if done.returncode != 0 or "FATAL:" in said or "ERROR:" in said:
            raise ServerFailure(f"{program} failed (exit status {done.returncode}):\n{said[-2000:]}")
        return said

    def check_version(self) -> None:
        """Refuse data that another major version, or something else, wrote."""
        try:
            wrote = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise ServerFailure(f"{self.data} is not empty and not a PostgreSQL data folder. Move it away.") from None
        ours = self.run("postgres", ["--version"], []).split()[-1].split(".")[0]
        if wrote != ours:
            raise ServerFailure(
                f"The data in {self.data} was written by PostgreSQL {wrote}, and the embedded server is "
                f"PostgreSQL {ours}. Carry the data over with pg_dump of version {wrote}, or install the "
                "release of Tidemill that brought it."
            )

    def ready(self, pid: int) -> bool:
        """Whether this postmaster takes connections."""
        return self.postmaster_line(0) == str(pid) and self.postmaster_line(7) == "ready"

    def serve(self, port: int, lock: int, log: Path) -> subprocess.Popen[bytes]:
        """Run the server as a direct child that inherits the lock of `sole_use`."""
        settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "logging_collector=off")
        options = self.options(*settings, *self.safety)
        with self.opened(self.data) as (name, descriptors), log.open("ab") as end:
            if not servers_in(self.data):  # else a server that is not ours: PostgreSQL itself must refuse
                (self.data / "postmaster.pid").unlink(missing_ok=True)
            return subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", name, *options],
                stdin=subprocess.DEVNULL, stdout=end, stderr=end, cwd="/", env=self.environment,
                pass_fds=[lock, *descriptors], preexec_fn=self.in_child, **self.account.switch,
            )  # fmt: skip
