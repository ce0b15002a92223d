"""Handing files out: links for people who may have them, each counted once, and what a link of ours leads to."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.accounts.people import Person
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import AccessRefused, Gone, KeyRefused, NotFound, StorageAway
from tidemill.publishing.links import Link, Seal, What, dated, disposition, opened, path_of
from tidemill.settings import Settings
from tidemill.storage.presigning import presigned, size_in_store
from tidemill.storage.stores import folder_of

PURPOSE = "downloads"
"""What links are signed with: `Settings.signing_key` of this."""

HEAD_ALONE = "tidemill.head"
"""In the ASGI scope of a request for the head of an answer: nobody takes anything, so nothing is counted."""


class Signing(Protocol):
    """What links need of a site that is open."""

    @property
    def settings(self) -> Settings: ...


@dataclass(frozen=True, slots=True)
class Served:
    """A file of a folder, as a link of ours leads to it."""

    path: Path
    filename: str
    size: int
    etag: str
    """Without quotes; the SHA-256 of a computed file."""
    sha256: str
    """Empty for an original file."""
    modified: dt.datetime


async def link(
    session: AsyncSession,
    site: Signing,
    computed_file_id: int,
    holder: Person | None,
    *,
    base: str = "",
    counted: bool = True,
) -> Link:
    """A link to a computed file, for the holder of a token (None: for an operator), and count it as a download.

    `base`: the site's address as its caller knows it (`https://portal.example.org`), for links to the site itself;
    `counted` False: somebody only looks whether there is one.
    Raises NotFound, Gone (replaced, removed, expired), KeyRefused, and StorageAway where the file's store does not
    answer or no longer has it; then nothing is counted.
    """
    person = _admitted(holder)
    row = await fetch_one(session, "downloads.offered", {"id": computed_file_id, "person": person})
    if row is None:
        raise NotFound(f"There is no computed file {computed_file_id}.")
    _check_offered(row)
    made = await _made(site, "computed", row, person, dated(row["name"], row["now"].date()), base)
    if counted:
        await fetch(session, "downloads.count", {"id": computed_file_id, "person": person})
    return made


async def original_link(
    session: AsyncSession,
    site: Signing,
    file_id: int,
    holder: Person | None,
    *,
    base: str = "",
    counted: bool = True,
) -> Link:
    """Likewise to an original file as it lies in its source, where `publishing.originals` offers them."""
    person = _admitted(holder)
    row = await fetch_one(session, "downloads.original", {"id": file_id})
    if row is None:
        raise NotFound(f"There is no original file {file_id} to be downloaded.")
    made = await _made(site, "original", row, person, PurePosixPath(row["key"]).name or "file", base)
    if counted:
        noted = {"original": f"{row['source']}/{row['key']}", "person": person}
        await fetch(session, "downloads.note_original", noted)
    return made


async def originals(
    session: AsyncSession, *, item: str | None = None, project: str | None = None, limit: int, offset: int = 0
) -> tuple[list[Row], int]:
    """The original files of an item or a project that can be had by `original_link`: `{id, source, key, size, etag,
    attributes, changed_at}` in order of key, and how many there are."""
    params = {"item": item, "project": project, "limit": limit, "offset": offset}
    rows = await fetch(session, "downloads.originals", params)
    return rows, rows[0]["total"] if rows else 0


async def served(session: AsyncSession, site: Signing, file: str, middle: str, filename: str) -> Served:
    """What a link of ours (`/download/<file>/<middle>/<filename>`) leads to, if it is still good.

    Raises AccessRefused for one that is forged, has expired, or whose token was revoked; Gone for a file that was
    removed; StorageAway for one that is not where it should be.
    """
    seal = opened(site.settings.signing_key(PURPOSE), file, middle, filename)
    name = "downloads.served" if seal.what == "computed" else "downloads.served_original"
    row = await fetch_one(session, name, {"id": seal.id, "token": seal.token})
    if row is None:
        raise Gone("This file is here no longer.")
    if row["revoked"]:
        raise AccessRefused("The token that this link was made for was revoked.", hint="Ask for a new one.")
    if row["now"] >= seal.expires:
        raise AccessRefused("This link has expired.", hint="Ask for another; what was fetched so far can be kept.")
    if row["removed"] or row["expired"]:
        raise Gone(
            "This file was replaced or has expired, and is here no longer.", hint="Ask for the one there is now."
        )
    return await asyncio.to_thread(_found, row, seal)


def _admitted(holder: Person | None) -> int | None:
    """Who downloads, None for an operator. Raises KeyRefused."""
    if holder is None:
        return None
    if (why := holder.refusal()) is not None:
        raise KeyRefused(why)
    return holder.id


def _check_offered(row: Row) -> None:
    if row["newer"] is not None:
        raise Gone(f"{row['name']} was made anew: it is computed file {row['newer']} now.")
    if row["expired"]:
        raise Gone(f"{row['name']} has expired.", hint="Ask for the dataset again, and it is built again.")
    if row["removed"]:
        raise Gone(f"{row['name']} is here no longer.")


async def _made(site: Signing, what: What, row: Row, person: int | None, filename: str, base: str) -> Link:
    seconds = max(1, int((row["until"] - row["now"]).total_seconds()))
    if folder := folder_of(row["store"]):
        await asyncio.to_thread(_whole, folder, row)
        seal = Seal(what, row["id"], int(row["now"].timestamp()) + seconds, person or 0, filename)
        url = base.rstrip("/") + path_of(site.settings.signing_key(PURPOSE), seal)
    else:
        size = await size_in_store(row["store"], row["options"], row["key"])
        if size != row["size"]:
            raise StorageAway(f"{filename} has {size:,} bytes in its store, but should have {row['size']:,}.")
        url = await presigned(row["store"], row["options"], row["key"], seconds, disposition(filename))
    expires_at = row["now"] + dt.timedelta(seconds=seconds)
    return Link(url, filename, expires_at, row["size"], row["sha256"])


def _found(row: Row, seal: Seal) -> Served:
    folder = folder_of(row["store"])
    if folder is None:  # a link of ours leads to folders alone
        raise Gone("This file has moved.", hint="Ask for another link.")
    path, changed = _whole(folder, row)
    etag = row["sha256"] or f"{changed:x}-{row['size']:x}"
    modified = row["updated_at"] if row["sha256"] else dt.datetime.fromtimestamp(changed / 1e9, dt.UTC)
    return Served(path, seal.filename, row["size"], etag, row["sha256"], modified)


def _whole(folder: Path, row: Row) -> tuple[Path, int]:
    """Where the file lies, never outside of its folder, and when it was changed (nanoseconds). Raises StorageAway."""
    away = StorageAway(
        "The file is not where it should be now.", hint="Try again later; the site's keepers can see why."
    )
    try:
        path = (folder / row["key"]).resolve(strict=True)
        found = path.stat()
    except (OSError, ValueError) as error:
        raise away from error
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise away
    if found.st_size != row["size"]:
        name = PurePosixPath(row["key"]).name
        raise StorageAway(f"{name} has {found.st_size:,} bytes in its folder, but should have {row['size']:,}.")
    return path, found.st_mtime_ns
