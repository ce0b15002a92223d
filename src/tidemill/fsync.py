"""Making what was written last, for every room that promises it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def fsync(path: Path) -> None:
    """Let a file, or what a folder lists, survive a power cut. Raises OSError; some mounted systems cannot do it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_if_possible(path: Path) -> None:
    """The same, where the system that it lies on can do it."""
    with suppress(OSError):
        fsync(path)
