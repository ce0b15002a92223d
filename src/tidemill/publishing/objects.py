"""Looking after the bytes of packages in their stores: whether they are there, and taking them away."""

from __future__ import annotations

import asyncio
import stat
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from tidemill.db.database import Row
from tidemill.errors import InvalidInput, StorageError, StorageRefused
from tidemill.storage.stores import folder_of, open_store
from tidemill.storage.troubles import trouble

AT_ONCE = 32
"""Objects that are looked at side by side."""
TRIED = f"{'0' * 16}/.tried"
"""The key of the empty object that tells whether a store can be written. It goes at once, or as a stray."""


async def size_of(store: str, options: Mapping[str, Any], key: str, *, opened: ObjectStore | None = None) -> int | None:
    """The size of what lies there; None where nothing does. Raises StorageError where the store cannot say: a folder
    that is not there at all may be on a disk that is not mounted."""
    try:
        if (folder := folder_of(store)) is not None:
            return await asyncio.to_thread(_size_in_folder, folder, key)
        return int((await obstore.head_async(opened or open_store(store, options), key))["size"])
    except FileNotFoundError:
        return None
    except (BaseError, OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise trouble(store, "looked at", error) from error


async def remove(store: str, options: Mapping[str, Any], key: str) -> None:
    """Take it away; what is not there is no error. Raises StorageError."""
    try:
        if (folder := folder_of(store)) is not None:
            await asyncio.to_thread(_unlink, folder / key)
        else:
            await obstore.delete_async(open_store(store, options), key)
    except FileNotFoundError:
        return
    except (BaseError, OSError) as error:
        raise trouble(store, "cleared", error) from error


async def check_writable(store: str, options: Mapping[str, Any]) -> None:
    """That packages can be written there: an empty object is, and goes again. Raises StorageError, InvalidInput."""
    folder = folder_of(store)
    try:
        if folder is not None:
            await asyncio.to_thread(_try_folder, folder)
            return
        opened = open_store(store, options, timeout="30s")
        await obstore.put_async(opened, TRIED, b"", use_multipart=False)
    except (BaseError, OSError) as error:
        raise trouble(store, "written", error) from error
    with suppress(BaseError, OSError):  # who may write need not be allowed to remove
        await obstore.delete_async(opened, TRIED)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Files of which nobody knows how they are, since their store does not say; they count as there."""

    store: str
    count: int
    why: str


@dataclass(slots=True)
class Look:
    """A look at many files, side by side. A store that cannot say is not asked again."""

    troubles: dict[str, StorageError | InvalidInput] = field(default_factory=dict)
    """By store."""
    unseen: Counter[str] = field(default_factory=Counter)
    """By store: the files of which nobody knows."""
    _opened: dict[tuple[str, str], ObjectStore] = field(default_factory=dict)

    async def amiss(self, rows: Sequence[Row]) -> dict[int, str]:
        """What is wrong with the bytes of computed files (`file, store, options, key, size`), by their ids, where
        something is."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def looked(row: Row) -> str | None:
            async with turns:
                return await self._amiss(row)

        found = await asyncio.gather(*(looked(row) for row in rows))
        return {row["file"]: why for row, why in zip(rows, found, strict=True) if why is not None}

    def told(self) -> list[Unseen]:
        """What the stores did not say."""
        return [Unseen(store, self.unseen[store], error.message) for store, error in self.troubles.items()]

    async def _amiss(self, row: Row) -> str | None:
        store = row["store"]
        if store in self.troubles:
            self.unseen[store] += 1
            return None
        try:
            size = await size_of(store, row["options"], row["key"], opened=self._open(store, row["options"]))
        except (StorageError, InvalidInput) as error:
            self.troubles.setdefault(store, error)
            self.unseen[store] += 1
            return None
        if size is None:
            return f"its bytes are gone from {store}"
        return None if size == row["size"] else f"{size:,} bytes lie in {store} where it has {row['size']:,}"

    def _open(self, store: str, options: Mapping[str, Any]) -> ObjectStore | None:
        if folder_of(store) is not None:
            return None
        key = store, repr(sorted(options.items()))
        if key not in self._opened:
            self._opened[key] = open_store(store, options, timeout="30s")
        return self._opened[key]


def _size_in_folder(folder: Path, key: str) -> int | None:
    try:
        found = (folder / key).stat()
    except (FileNotFoundError, NotADirectoryError):
        if not folder.is_dir():
            raise StorageError(f"{folder} cannot be looked at: it is not there. Is its disk mounted?") from None
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _try_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageRefused(f"{folder} cannot be written to: {(error.strerror or str(error)).lower()}.") from error


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
    with suppress(OSError):  # another package lies beside it
        path.parent.rmdir()
