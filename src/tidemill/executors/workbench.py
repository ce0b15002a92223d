"""Where steps handle files: a folder of its own for each attempt, and the store that files come from and go to."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tidemill.executors.contract import KeptFile


class Files(Protocol):
    """Where files come from and go to; see `storage.files.FileStore`. Methods raise StorageError."""

    async def keep(self, path: Path, name: str) -> KeptFile:
        """Make a local file safe under `name` before anything speaks of it."""
        ...

    async def fetch(self, url: str, folder: Path, reach: Mapping[str, Any] | None = None) -> Path:
        """A local path at which the file at `url` can be read; a copy goes into `folder`. `reach`: how its store is
        reached (see `domain.record_document.reaches`)."""
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
        async with self.spot(key) as place:
            await asyncio.to_thread(place.mkdir, parents=True)
            yield place

    @asynccontextmanager
    async def spot(self, key: str) -> AsyncIterator[Path]:
        """A path at which the attempt `key` may make a folder, for attempts that seldom need one; gone at the end."""
        place = self.folder / key
        await _cleared(place)
        try:
            yield place
        finally:
            await _cleared(place)

    async def keep_text(self, key: str, name: str, text: str) -> KeptFile:
        """Keep a text among the files of the attempt `key`. Raises StorageError, OSError."""
        async with self.at(f"{key}-{name}") as place:
            await asyncio.to_thread((place / name).write_text, text, encoding="utf-8")
            return await self.files.keep(place / name, name)


async def _cleared(place: Path) -> None:
    if place.exists():
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def checksum(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes of a local file. Blocking."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()
