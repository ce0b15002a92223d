"""Reading a source: what lies there becomes files, and by the source's layout rules items and projects.

A folder is walked as a stream; what was seen goes into a temporary table some thousands of rows at a time, and is
merged in five statements whatever its number. Nothing is ever taken away: files that are gone are reported.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.db.models import Source
from tidemill.domain.layout import Layout
from tidemill.domain.mmif import mime_of
from tidemill.errors import InvalidInput, NotFound, StorageError

CHUNK = 5000
SHOWN = 1000
"""Keys listed of those that no rule matches, that are gone, or that cannot be stored; all are counted."""
PARTIAL = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp", "~")
"""Endings of files that somebody is still writing."""


@dataclass(slots=True)
class Listed:
    """Keys of one kind: how many, and the first of them."""

    count: int = 0
    keys: list[str] = field(default_factory=list)

    def add(self, key: str) -> None:
        self.count += 1
        if len(self.keys) < SHOWN:
            self.keys.append(key)


@dataclass(slots=True)
class SyncReport:
    """What a sync saw and did. Files that are gone from the source are only reported; their rows stay."""

    source: str
    seen: int = 0
    created: int = 0
    changed: int = 0
    items: int = 0
    """New items; likewise `projects`."""
    projects: int = 0
    skipped: int = 0
    """Hidden and partial files."""
    ignored: int = 0
    """Files that a rule leaves out."""
    unmatched: Listed = field(default_factory=Listed)
    """Keys that no rule matches."""
    unreadable: Listed = field(default_factory=Listed)
    """Files and folders that could not be read, or whose name is not UTF-8."""
    gone: Listed = field(default_factory=Listed)
    held_out: dict[str, int] = field(default_factory=dict)
    """Locked projects, and how many items they did not take."""


async def sync(session: AsyncSession, source: str) -> SyncReport:
    """Read a source by name. Raises NotFound, and what `sync_folder` raises."""
    found = await session.scalar(select(Source).where(Source.name == source))
    if found is None:
        raise NotFound(f"There is no source named {source!r}.", hint="`tidemill export` shows them.")
    return await sync_folder(session, found)


async def read_source(session: AsyncSession, source: str) -> str:
    """Read a source by name; what that came to, in words. Raises what `sync` raises."""
    found = await sync(session, source)
    new = f"{found.created:,} new files, {found.changed:,} changed, {found.items:,} new items"
    gone = f"; {found.gone.count:,} are gone" if found.gone.count else ""
    unmatched = f"; {found.unmatched.count:,} match no rule" if found.unmatched.count else ""
    return f"read {found.seen:,} files of {source}: {new}{gone}{unmatched}"


async def sync_folder(session: AsyncSession, source: Source) -> SyncReport:
    """Make the records match what lies in a source's folder.

    Raises StorageError (the folder is not there), InvalidInput (the source is no folder, or its rules make no sense).
    """
    folder = folder_of(source.url)
    layout = Layout.from_json(source.layout)
    if not await asyncio.to_thread(folder.is_dir):
        raise StorageError(f"The folder of source {source.name!r} is not there: {folder}")
    report = SyncReport(source.name)
    await fetch(session, "catalogue.lock_source", {"source": source.id})
    await fetch(session, "catalogue.seen_table")
    await fetch(session, "catalogue.seen_clear")
    rows = _rows(folder, layout, report)
    while chunk := await asyncio.to_thread(lambda: list(itertools.islice(rows, CHUNK))):
        await fetch(session, "catalogue.seen_add", {"rows": orjson.dumps(chunk).decode()})
        report.seen += len(chunk)
    await fetch(session, "catalogue.seen_analyze")
    await _merge(session, source.id, report)
    return report


def folder_of(url: str) -> Path:
    """The folder that a source's URL means. Raises InvalidInput for what is no folder of this machine."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if "://" not in url and url.startswith("/"):
        return Path(url)
    raise InvalidInput(
        f"A source at {url} cannot be read yet.", hint="Today a source is a folder: /path/to/it or file:///path/to/it."
    )


async def _merge(session: AsyncSession, source: int, report: SyncReport) -> None:
    files = await _one(session, "merge_files", source)
    report.created, report.changed = files["created"], files["changed"]
    report.items = (await _one(session, "merge_items", source))["items"]
    report.projects = (await _one(session, "merge_projects", source))["projects"]
    await _one(session, "merge_links", source)
    for row in await fetch(session, "catalogue.held_out"):
        report.held_out[row["project"]] = row["items"]
    for row in await fetch(session, "catalogue.gone", {"source": source, "limit": SHOWN}):
        report.gone.keys.append(row["key"])
        report.gone.count = row["total"]
    await fetch(session, "catalogue.synced", {"source": source})
    await fetch(session, "catalogue.announce")
    if report.created > CHUNK:
        await fetch(session, "catalogue.analyze")


async def _one(session: AsyncSession, statement: str, source: int) -> Row:
    row = await fetch_one(session, f"catalogue.{statement}", {"source": source})
    assert row is not None
    return row


def _rows(folder: Path, layout: Layout, report: SyncReport) -> Iterator[dict[str, Any]]:
    """What belongs into the catalogue, in no order; the rest is counted in the report."""
    for entry in _walk(str(folder), report):
        key = os.path.relpath(entry.path, folder).replace(os.sep, "/")
        try:
            key.encode()
            stat = entry.stat()
        except (UnicodeEncodeError, OSError):
            report.unreadable.add(os.fsencode(key).decode("utf-8", "backslashreplace"))
            continue
        row = _row(key, stat, layout, report)
        if row is not None:
            yield row


def _walk(folder: str, report: SyncReport) -> Iterator[os.DirEntry[str]]:
    """Regular files, links to them followed; links to folders are not, so that no walk goes in circles."""
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name.endswith(PARTIAL):
                        report.skipped += 1
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file():
                        yield entry
        except OSError:
            if here == folder:
                raise
            report.unreadable.add(os.path.relpath(here, folder))


def _row(key: str, stat: os.stat_result, layout: Layout, report: SyncReport) -> dict[str, Any] | None:
    try:
        place = layout.place(key)
    except LookupError:
        report.unmatched.add(key)
        return None
    if place is None:
        report.ignored += 1
        return None
    mime = mime_of(key)
    return {
        "key": key,
        "size": stat.st_size,
        "etag": f"{stat.st_mtime_ns:x}-{stat.st_size:x}",
        "modified_at": dt.datetime.fromtimestamp(stat.st_mtime, dt.UTC),
        "attributes": ({"mime": mime} if mime else {}) | place.attributes,
        "item": place.item,
        "project": place.project,
    }
