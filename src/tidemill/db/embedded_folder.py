"""The folder of an embedded server: its locks, its small files, and the user that the server runs as.

Files: `data/` (PostgreSQL's own), `data.new/` (a first start under way; never served), `password`, `port`,
`server.json` (the state, for the site's processes), `server.log`, and three files that are only locked:
`users.lock` (shared, by every process of the site), `supervisor.lock` (by the supervisor), `postgres.lock` (handed
down to PostgreSQL, so it is free only when the postmaster and every one of its backends have ended).

The supervisor runs this without any installed package: standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import random
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ServerFailure(Exception):
    """PostgreSQL could not be made ready; the message is for people."""


@dataclass(frozen=True)
class Account:
    """The user that PostgreSQL runs as: it refuses to run as root."""

    uid: int
    gid: int

    @property
    def switch(self) -> dict[str, Any]:
        """Arguments for `subprocess` that change to this user; none when we are it."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if os.geteuid() == 0 else {}


def server_account(folder: Path) -> Account:
    """Ourselves; as root, the owner of what is there, or else `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for place in (folder / "data", folder):
        with contextlib.suppress(FileNotFoundError):
            owner = place.stat()
            if owner.st_uid != 0:
                return Account(owner.st_uid, owner.st_gid)
    nobody = pwd.getpwnam("nobody")  # its group is nogroup, or nobody, or another: the entry knows
    return Account(nobody.pw_uid, nobody.pw_gid)


def open_lock(folder: Path, name: str) -> int:
    """Open a lock file of the folder, making it if need be; nothing is locked yet."""
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_to_owner(folder, descriptor)
    return descriptor


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take the lock if it is free, without waiting."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def give_to_owner(folder: Path, file: int | Path) -> None:
    """As root in somebody else's site, leave them able to use it afterwards."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def write_private(folder: Path, name: str, text: str) -> None:
    """Put a file of mode 0600 in place in one move, so nobody reads half of it."""
    descriptor, path = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    give_to_owner(folder, Path(path))
    Path(path).replace(folder / name)


def log_tail(path: Path, lines: int = 12) -> str:
    """The end of a log, in at most 4 kB."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return ""


def servers_in(data: Path) -> list[int]:
    """Process ids of PostgreSQL on this data directory, backends too: all of them work in it."""
    found = []
    here = data.stat()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text().strip() == "postgres" and os.path.samestat((entry / "cwd").stat(), here):
                found.append(int(entry.name))
    return found


def free_port(preferred: int | None) -> int:
    """A port of 127.0.0.1 that nobody listens on, the preferred one if possible.

    It is below the range from which the kernel takes ports for outgoing connections: in that range, a client
    that tries to reach a stopped server can be given this very port, and be connected to itself.
    """
    for port in [*([preferred] if preferred else []), *random.sample(range(20000, 32768), 200)]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerFailure("No free port on 127.0.0.1 between 20000 and 32767.")
