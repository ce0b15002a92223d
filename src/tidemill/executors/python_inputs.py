"""Side inputs of a Python step: where they lie for an item, and their checksums, taken for every attempt."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tidemill.errors import StorageError
from tidemill.executors.contract import KeptFile
from tidemill.executors.workbench import Files, checksum
from tidemill.sdk.calling import raised
from tidemill.sdk.item import Item
from tidemill.sdk.step import DeclaredStep, SideInput

_PLACE = re.compile(r"\{([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}")

ALWAYS_READ = 1024 * 1024
"""Bytes; the checksum of a larger file is not taken again while its size, times and inode stay as they were."""

_MOST_REMEMBERED = 1000


class InputMissing(Exception):
    """A side input is not to be had; says which, and why."""

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.log = log


@dataclass(frozen=True, slots=True)
class Found:
    """A side input of one attempt: what is recorded of it, and where it can be read."""

    kept: KeptFile
    path: Path
    mark: tuple[int, ...] | None
    """What its file looked like; None for a copy of our own."""

    def changed(self) -> bool:
        """Whether the file is another one by now, so that the step may have read what is not recorded."""
        return self.mark is not None and _mark(self.path) != self.mark


class SideInputs:
    """Finds them. `files` fetches what does not lie on this machine."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[tuple[Any, ...], str] = {}

    async def find(self, step: DeclaredStep, item: Item, folder: Path) -> dict[str, Found]:
        """All that the step needs for this item, by name. Raises InputMissing."""
        return {
            name: found
            for name, where in step.inputs.items()
            if (found := await self._one(step, name, where, item, folder)) is not None
        }

    async def _one(self, step: DeclaredStep, name: str, where: SideInput, item: Item, folder: Path) -> Found | None:
        said = await asyncio.to_thread(_asked, where, item, name) if callable(where) else filled(str(where), item, name)
        if said is None:
            return None
        url = located(str(said), step.file.parent)
        own = folder / "inputs" / str(len(list(folder.glob("inputs/*"))))
        own.mkdir(parents=True)
        try:
            path = await self._files.fetch(url, own)
            local = not path.is_relative_to(own)
            sha256, size, mark = await asyncio.to_thread(self._checked, path, local)
        except (StorageError, OSError) as error:
            why = error.message if isinstance(error, StorageError) else str(error)
            raise InputMissing(f"The side input {name!r} is not to be had: {why}") from error
        return Found(KeptFile(name, size, sha256, url), path, mark if local else None)

    def _checked(self, path: Path, remember: bool) -> tuple[str, int, tuple[int, ...]]:
        """SHA-256, size, and what the file looked like before it was read."""
        mark = _mark(path)
        if mark is None:
            raise FileNotFoundError(f"There is no file {path}.")
        key = (path, *mark)
        if remember and mark[0] > ALWAYS_READ and key in self._known:
            return self._known[key], mark[0], mark
        sha256, size = checksum(path)
        if remember and mark[0] > ALWAYS_READ:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = sha256
        return sha256, size, mark


def _asked(where: Callable[[Item], str | Path | None], item: Item, name: str) -> str | Path | None:
    """What the step's own function says."""
    try:
        return where(item)
    except BaseException as error:  # noqa: BLE001 - also SystemExit: it must not take the worker along
        ending = raised(error)
        raise InputMissing(f"Where the side input {name!r} lies is not known: {ending.reason}", ending.log) from None


def filled(pattern: str, item: Item, name: str) -> str:
    """A path with what its places (`{name}`, `{status}`, `{metadata.detector}`) stand for. Raises InputMissing."""

    def value(place: re.Match[str]) -> str:
        first, *rest = place[1].split(".")
        found: Any = {"name": item.name, "status": item.status, "metadata": item.metadata}.get(first)
        for key in rest:
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is None or isinstance(found, Mapping | list):
            raise InputMissing(
                f"The side input {name!r} needs {place[1]} of the item, which {item.name} does not have."
            )
        text = str(found)
        if text.startswith("/") or ".." in text.split("/") or "\x00" in text:
            raise InputMissing(f"The side input {name!r} cannot be found by {place[1]}, which is {text!r}.")
        return text

    return _PLACE.sub(value, pattern)


def located(said: str, folder: Path) -> str:
    """The URL of a side input; a path is taken from the folder of the step's file."""
    if urlsplit(said).scheme and "://" in said:
        return said
    return (folder / Path(said).expanduser()).absolute().as_uri()


def _mark(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev
