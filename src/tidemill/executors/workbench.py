"""Where steps handle files: a folder of its own for each attempt, and the store that files come from and go to."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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

    @asynccontextmanager
    async def at(self, key: str) -> AsyncIterator[Path]:
        """The same for the event loop, which a large folder does not hold up."""
        place = self.folder / key
        await asyncio.to_thread(_made_empty, place)
        try:
            yield place
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def _made_empty(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)


def checksum(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes of a local file. Blocking."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()
