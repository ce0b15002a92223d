"""What every room needs of folders that are to last."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Let what a folder lists survive a power cut. Raises OSError; some mounted systems cannot do it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder_if_possible(folder: Path) -> None:
    """The same, where the system of this folder can do it."""
    with suppress(OSError):
        sync_folder(folder)
