"""Looking after the bytes of packages in their stores: whether they are there, and taking them away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError

from tidemill.errors import StorageError
from tidemill.storage.stores import open_store


async def size_of(store: str, options: Mapping[str, Any], key: str) -> int | None:
    """The size of what lies there; None where nothing does. Raises StorageError where the store cannot say."""
    if (path := _path(store, key)) is not None:
        return await asyncio.to_thread(lambda: path.stat().st_size if path.is_file() else None)
    try:
        return int((await obstore.head_async(open_store(store, options), key))["size"])
    except FileNotFoundError:
        return None
    except (BaseError, OSError) as error:
        raise StorageError(f"{store}/{key} cannot be looked at: {error}") from error


async def remove(store: str, options: Mapping[str, Any], key: str) -> None:
    """Take it away; what is not there is no error. Raises StorageError."""
    try:
        if (path := _path(store, key)) is not None:
            await asyncio.to_thread(_unlink, path)
        else:
            await obstore.delete_async(open_store(store, options), key)
    except FileNotFoundError:
        return
    except (BaseError, OSError) as error:
        raise StorageError(f"{store}/{key} cannot be removed: {error}") from error


def _path(store: str, key: str) -> Path | None:
    """Where it lies, in a folder of this machine."""
    parts = urlsplit(store)
    return Path(unquote(parts.path)) / key if parts.scheme == "file" else None


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
    with suppress(OSError):  # another package lies beside it
        path.parent.rmdir()
