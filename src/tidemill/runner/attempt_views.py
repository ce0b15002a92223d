"""What one attempt has said, live or for good, and the files that belong to it."""

from __future__ import annotations

import asyncio
import codecs
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, fetch_one
from tidemill.errors import NotFound
from tidemill.sdk.task import WHOLE_LOG
from tidemill.storage.files import FileStore

LOOK_EVERY = 0.5
"""Seconds between looks at a log that is followed."""

_NO_ROW = "There is no attempt {}-{}."


@dataclass(frozen=True, slots=True)
class LogPart:
    """What an attempt has said from character `start` up to `next`; what was asked for and lies before `start` is gone.

    `live`: more may come. `whole`: the file that holds all of a log that was too long for its row.
    """

    text: str
    start: int
    next: int
    live: bool
    state: str
    progress: float | None
    item: str
    run: int
    step: str
    error: str | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    whole: Mapping[str, Any] | None


async def log(session: AsyncSession, task: int, fence: int, since: int = 0) -> LogPart:
    """What an attempt has said since character `since`. Raises NotFound."""
    row = await fetch_one(session, "attempts.log", {"task": task, "fence": fence})
    if row is None:
        raise NotFound(_NO_ROW.format(task, fence))
    begins = row["total"] - len(row["log"])
    since = since if 0 <= since <= row["total"] else 0
    start = max(since, begins)
    whole = next((file for file in row["files"] or [] if file["name"] == WHOLE_LOG), None)
    return LogPart(
        text=row["log"][start - begins :],
        start=start,
        next=row["total"],
        live=row["live"],
        state=row["state"],
        progress=row["progress"],
        item=row["item"],
        run=row["run_id"],
        step=row["step_name"],
        error=row["error"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        whole=whole,
    )


async def follow(database: Database, files: FileStore, task: int, fence: int) -> AsyncIterator[str]:
    """All that an attempt has said, and what it says from now on, until it ends. Raises NotFound, StorageError."""
    since, live = 0, True
    while live:
        async with database.begin() as session:
            part = await log(session, task, fence, since)
        live = part.live
        if part.whole is not None:
            async for body in whole_log(files, part.whole, since):
                yield body
            return
        if part.start > since:
            yield f"… {part.start - since:,} characters were said before …\n"
        if part.text:
            yield part.text
        since = part.next
        if live:
            await asyncio.sleep(LOOK_EVERY)


async def whole_log(files: FileStore, whole: Mapping[str, Any], since: int) -> AsyncIterator[str]:
    """A whole log from character `since` on."""
    decoder, passed = codecs.getincrementaldecoder("utf-8")("replace"), 0
    async for piece in files.read(whole["url"]):
        text = decoder.decode(piece)
        skipped = min(max(since - passed, 0), len(text))
        passed += len(text)
        if text[skipped:]:
            yield text[skipped:]


async def files_of(session: AsyncSession, task: int, fence: int) -> Mapping[str, Any]:
    """`files` that an attempt put out, and `inputs`, the side inputs that it used. Raises NotFound."""
    row = await fetch_one(session, "attempts.files", {"task": task, "fence": fence})
    if row is None:
        raise NotFound(_NO_ROW.format(task, fence), hint="The files of an attempt are there once it has ended.")
    return row


async def file_of(session: AsyncSession, task: int, fence: int, name: str) -> Mapping[str, Any]:
    """The file of this name that an attempt put out: `name, size, sha256, url`. Raises NotFound."""
    files = (await files_of(session, task, fence))["files"]
    found = next((file for file in files if file["name"] == name), None)
    if found is None:
        known = ", ".join(repr(file["name"]) for file in files) or "none"
        raise NotFound(f"Attempt {task}-{fence} put out no file {name!r}; it put out: {known}.")
    return dict(found)


async def newest(session: AsyncSession, name: str) -> tuple[int, int]:
    """The attempt of an item that is at work, else the one that ended last. Raises NotFound."""
    item = await fetch_one(session, "look.item", {"name": name})
    if item is None:
        raise NotFound(f"There is no item named {name!r}.")
    row = await fetch_one(session, "attempts.newest", {"item": item["id"]})
    if row is None:
        raise NotFound(f"{name} has no attempt yet.")
    return row["task"], row["fence"]
