"""The metadata files of the sources as they were synced: which there are, and their bytes if still the same."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import sources
from tidemill.db.database import Row, fetch
from tidemill.domain.keys import is_path
from tidemill.domain.table_rows import Belongs
from tidemill.domain.tables import Table
from tidemill.errors import Conflict, InvalidInput, StorageError
from tidemill.storage.stores import open_store

SMALL = 1024 * 1024
"""Bytes up to which a file is fetched whole, while others are read."""
AHEAD = 64
"""Small files that are on their way at once, at most."""
THREADS = 16


@dataclass(frozen=True, slots=True)
class Origin:
    """A source that table files lie in."""

    id: int
    name: str
    url: str
    options: Mapping[str, Any]
    synced: bool


@dataclass(frozen=True, slots=True)
class TableFile:
    """One table file as last synced."""

    table: Table
    origin: Origin
    belongs: Belongs
    size: int
    etag: str

    @property
    def key(self) -> str:
        return self.belongs.key


async def origins(session: AsyncSession, bucket: str | None) -> list[Origin]:
    """The sources, or those that are named: by a name, or as `bucket` or `bucket/prefix`. Raises NotFound."""
    rows = await fetch(session, "metadata.sources")
    if bucket is None or bucket in (names := [row["name"] for row in rows]):
        names = [bucket] if bucket is not None else [row["name"] for row in rows]
    else:
        names = await sources.chosen(session, None, bucket)
    return [
        Origin(row["id"], row["name"], row["url"], row["options"], row["synced"])
        for row in rows
        if row["name"] in names
    ]


async def find(session: AsyncSession, tables: Sequence[Table], places: Sequence[Origin]) -> list[TableFile]:
    """The files of these tables in their sources, in the order of the tables and of their keys.

    A file that matches several patterns is the first table's. Raises Conflict for a source that was never synced.
    """
    found: list[TableFile] = []
    taken: set[tuple[int, str]] = set()
    for table in tables:
        for origin in places:
            if table.source not in (None, origin.name):
                continue
            if not origin.synced:
                raise Conflict(f"Source {origin.name!r} was never synced.", hint="Sync it first: tidemill sync.")
            pattern = table.pattern()
            head, tail = table.ends()
            for row in await fetch(session, "metadata.files", {"source": origin.id, "head": head, "tail": tail}):
                match = pattern.fullmatch(row["key"])
                if match is not None and (origin.id, row["key"]) not in taken:
                    taken.add((origin.id, row["key"]))
                    found.append(
                        TableFile(table, origin, _belongs(table, row, match.groupdict()), row["size"], row["etag"])
                    )
    return found


def _belongs(table: Table, row: Row, groups: Mapping[str, str | None]) -> Belongs:
    named = {name: text for name, text in groups.items() if text is not None}
    items = named.get("item", "").split(table.separator) if table.separator else [named.get("item", "")]
    return Belongs(
        row["key"],
        named.get("project", row["project"]),
        tuple(dict.fromkeys(one for item in items if (one := item.strip()))),
        named,
    )


def contents(files: Sequence[TableFile]) -> Iterator[tuple[TableFile, Iterator[bytes]]]:
    """Each file with its bytes. Blocking. Small ones are fetched ahead, many at a time; large ones come in pieces.

    While its bytes are read, each raises InvalidInput where they are no longer those that were synced, StorageError.
    """
    stores = {file.origin.id: file.origin for file in files}
    opened = {id_: _opened(origin) for id_, origin in stores.items()}
    with ThreadPoolExecutor(THREADS, thread_name_prefix="metadata") as pool:
        waiting: deque[tuple[TableFile, _Pieces, Future[bytes] | None]] = deque()
        coming = iter(files)
        try:
            while True:
                while len(waiting) < AHEAD and (file := next(coming, None)) is not None:
                    small = file.size <= SMALL
                    pieces = _Pieces(file, opened[file.origin.id])
                    waiting.append((file, pieces, pool.submit(b"".join, pieces) if small else None))
                if not waiting:
                    return
                file, pieces, job = waiting.popleft()
                yield file, iter(pieces) if job is None else _once(job)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Pieces:
    """The bytes of a file, out of a folder or a store, read anew at each iteration."""

    def __init__(self, file: TableFile, place: Path | ObjectStore) -> None:
        self._file, self._place = file, place

    def __iter__(self) -> Iterator[bytes]:
        if not is_path(self._file.key):
            raise InvalidInput("its key is no path that leads down, so that it cannot be read safely.")
        if isinstance(self._place, Path):
            return _local(self._place / self._file.key, self._file)
        return _stored(self._place, self._file)


def _opened(origin: Origin) -> Path | ObjectStore:
    parts = urlsplit(origin.url)
    if parts.scheme == "file" or "://" not in origin.url:
        return Path(unquote(parts.path))
    return open_store(origin.url, origin.options)


def _once(job: Future[bytes]) -> Iterator[bytes]:
    yield job.result()


def _local(path: Path, file: TableFile) -> Iterator[bytes]:
    try:
        with path.open("rb") as opened:
            _same(_etag(os.fstat(opened.fileno())), file)
            while piece := opened.read(SMALL):
                yield piece
            _same(_etag(os.fstat(opened.fileno())), file)
    except FileNotFoundError:
        raise InvalidInput(_CHANGED) from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error


def _stored(store: ObjectStore, file: TableFile) -> Iterator[bytes]:
    try:
        found = obstore.get(store, file.key)
        _same((found.meta["e_tag"] or "").strip('"'), file)
        for piece in found.stream(min_chunk_size=SMALL):
            yield bytes(piece)
    except FileNotFoundError:
        raise InvalidInput(_CHANGED) from None
    except (BaseError, OSError, ValueError) as error:
        raise StorageError(f"{file.key} of source {file.origin.name!r} cannot be read: {error}") from error


_CHANGED = "it has changed since its source was synced; sync first."


def _same(etag: str, file: TableFile) -> None:
    if file.etag and etag != file.etag:
        raise InvalidInput(_CHANGED)


def _etag(stat: os.stat_result) -> str:
    """As the listing of a folder has it."""
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"
