"""Where steps handle files: a folder of its own for each attempt, and the store that files come from and go to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidemill.executors.contract import KeptFile


class Files(Protocol):
    """Where files come from and go to; see `storage.files.FileStore`. Methods raise StorageError."""

    async def keep(self, path: Path, name: str) -> KeptFile:
        """Make a local file safe under `name` before anything speaks of it."""
        ...

    async def fetch(self, url: str, folder: Path) -> Path:
        """A local path at which the file at `url` can be read; a copy goes into `folder`."""
        ...


@dataclass(frozen=True, slots=True)
class Workbench:
    """`folder`: where the attempts' folders are made."""

    folder: Path
    files: Files

    @contextmanager
    def place(self, key: str) -> Iterator[Path]:
        """An empty folder for the attempt `key`, gone with all that is in it at the end."""
        place = self.folder / key
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
