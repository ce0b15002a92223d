"""A folder for each process, so that what a killed process left behind can be told from what is in use."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path

_held: list[int] = []
"""Open locks: they are let go when this process ends, however it does."""


def own_folder(base: Path) -> Path:
    """A new folder in `base` for this process alone; those of processes that are gone are taken away meanwhile.

    The folder is in use as long as the lock beside it is held. Where a file system has no locks, nothing is taken away.
    """
    base.mkdir(parents=True, exist_ok=True)
    name = f"{os.getpid()}-{secrets.token_hex(3)}"
    lock = os.open(base / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    _held.append(lock)
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
    folder = base / name
    folder.mkdir()
    threading.Thread(target=_sweep, args=(base,), daemon=True).start()
    return folder


def _sweep(base: Path) -> None:
    for lock in base.glob("*.lock"):
        with suppress(OSError):
            _take_away(lock)


def _take_away(lock: Path) -> None:
    handle = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its process lives
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink()
    finally:
        os.close(handle)
