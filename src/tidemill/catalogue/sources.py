"""Sources, and what each sync of them did."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import NotFound

LARGEST_ID = 2**63 - 1


async def listing(session: AsyncSession) -> list[Row]:
    """The sources: `name, url, options, layout, may_lose, synced_at, files, size, reading, last_sync`.

    `reading`: whether a sync of it is going on now, anywhere; `last_sync` is None where there was none.
    """
    return await fetch(session, "sources.list", {"name": None})


async def get(session: AsyncSession, name: str) -> Row:
    """One source. Raises NotFound."""
    row = await fetch_one(session, "sources.list", {"name": name}) if "\0" not in name else None
    if row is None:
        raise NotFound(f"There is no source named {name!r}.", hint="`tidemill export` shows them.")
    return row


async def syncs(
    session: AsyncSession,
    source: str | None = None,
    *,
    limit: int = 20,
    before: int | None = None,
    effective: bool = False,
) -> list[Row]:
    """The newest syncs, of one source if named: `id, source, started_at, finished_at, seen, created, changed, deleted,
    details`, the last being the rest of `SyncReport`. `effective`: only those that changed something, or failed."""
    params = {"source": source, "limit": limit, "before": before, "effective": effective}
    return await fetch(session, "sources.syncs", params)


async def one_sync(session: AsyncSession, number: int) -> Row:
    """One sync; `newest`: whether none of its source is newer. Raises NotFound."""
    row = await fetch_one(session, "sources.sync", {"id": number}) if 0 < number <= LARGEST_ID else None
    if row is None:
        raise NotFound(f"There is no sync {number}.", hint="Those that found nothing to do are kept for a month.")
    return row


async def chosen(session: AsyncSession, source: str | None, bucket: str | None) -> list[str]:
    """The names of the sources that are meant: all, one, or those in a bucket (`bucket`, or `bucket/prefix`).

    Raises NotFound that says what there is.
    """
    rows = await fetch(session, "sources.names")
    names = [row["name"] for row in rows if bucket is None or _lies_in(row["url"], bucket)]
    if bucket is not None and not names:
        there = ", ".join(f"{row['name']} at {row['url']}" for row in rows) or "there are none"
        raise NotFound(f"No source lies in the bucket {bucket!r}.", hint=f"The sources: {there}.")
    if source is None:
        return names
    if source not in names and bucket is not None and source in [row["name"] for row in rows]:
        raise NotFound(f"Source {source!r} does not lie in the bucket {bucket!r}.")
    return [source]


def _lies_in(url: str, bucket: str) -> bool:
    """Whether a source is this bucket, or something in it."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return False
    wanted = _parts(bucket.partition("://")[2] or bucket)
    return _parts(f"{parts.netloc}/{unquote(parts.path)}")[: len(wanted)] == wanted


def _parts(path: str) -> Sequence[str]:
    return [part for part in path.split("/") if part]
