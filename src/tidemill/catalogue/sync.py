"""Reading a source: the catalogue's files, items and projects become what lies there, by the source's layout rules.

The listing is a stream; it is merged by a handful of statements, whatever its size, in one transaction. What is
unchanged is not written. What is gone leaves the catalogue, unless it is more than the source may lose: then nothing is
changed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import psycopg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue.listing import SHOWN, LeftOut, Listed, listing
from tidemill.catalogue.spool import COLUMNS, Sorted, Spool
from tidemill.db.database import Database, Row, fetch, fetch_one, translated
from tidemill.db.models import Source
from tidemill.db.queries import sql
from tidemill.domain.layout import Layout
from tidemill.errors import Conflict, NotFound, StorageError

MANY = 5000
"""New files above which the planner is told."""


@dataclass(slots=True)
class SyncReport:
    """What a sync saw and did, or, if it was a dry run, would do."""

    source: str
    dry_run: bool = False
    seen: int = 0
    created: int = 0
    changed: int = 0
    deleted: int = 0
    items: int = 0
    """New items; likewise `projects`."""
    projects: int = 0
    locked: int = 0
    """Projects whose lock has come; `unlocked`: whose lock is gone."""
    unlocked: int = 0
    kept: int = 0
    """Files that are gone, and stay in the catalogue because their project is locked."""
    skipped: int = 0
    ignored: int = 0
    unmatched: Listed = field(default_factory=Listed)
    unreadable: Listed = field(default_factory=Listed)
    gone: Listed = field(default_factory=Listed)
    """Keys that left the catalogue."""
    held_out: dict[str, int] = field(default_factory=dict)
    """Locked projects, and how many items they did not take."""


async def sync(database: Database, source: str, *, allow_wipe: bool = False, dry_run: bool = False) -> SyncReport:
    """Make the catalogue true to a source, in one transaction; or only say what that would do.

    Raises NotFound, StorageError (it cannot be read), InvalidInput (it is no source, or its rules make no sense),
    Conflict (another sync of it is going on; or more would go than it may lose, and `allow_wipe` is not given).
    """
    async with database.begin() as session:
        found = await session.scalar(select(Source).where(Source.name == source))
    if found is None:
        raise NotFound(f"There is no source named {source!r}.", hint="`tidemill export` shows them.")
    layout, left_out = Layout.from_json(found.layout), LeftOut()
    async with _alone(database, found) as started:
        with Spool() as spool:
            seen = await asyncio.to_thread(_list, found, layout, left_out, spool)
            report = _report(found, seen, left_out, dry_run)
            try:
                async with database.begin() as session:
                    await _merge(session, found, spool, report, allow_wipe)
                    await _note(session, found, started, report)
                    if dry_run:
                        raise _DryRun
            except _DryRun:
                pass
    return report


def reader(database: Database) -> Callable[[AsyncSession, str], Awaitable[str]]:
    """What a schedule does to read a source by name. It gives what that came to, in words; raises what `sync` does."""

    async def read(_: AsyncSession, source: str) -> str:
        found = await sync(database, source)
        new = f"{found.created:,} new files, {found.changed:,} changed, {found.items:,} new items"
        gone = f"; {found.gone.count:,} are gone" if found.gone.count else ""
        unmatched = f"; {found.unmatched.count:,} match no rule" if found.unmatched.count else ""
        return f"read {found.seen:,} files of {source}: {new}{gone}{unmatched}"

    return read


def _list(source: Source, layout: Layout, left_out: LeftOut, spool: Spool) -> Sorted:
    try:
        return spool.fill(listing(source.url, source.options, left_out), layout)
    except StorageError as error:
        raise StorageError(f"Source {source.name!r} cannot be read. {error.message}", hint=error.hint) from error


async def history(session: AsyncSession, source: str | None = None, limit: int = 20) -> list[Row]:
    """The newest syncs, of one source if named: what each found and did."""
    return await fetch(session, "sync.history", {"source": source, "limit": limit})


class _DryRun(Exception):
    """Takes back what a dry run did."""


@asynccontextmanager
async def _alone(database: Database, source: Source) -> AsyncIterator[dt.datetime]:
    """Within: no other sync of this source. The lock goes with its connection, however this process ends."""
    connection = await database.connect()
    with translated():
        async with connection:
            cursor = await connection.execute(sql("sync.alone").encode(), {"source": source.id})
            row = await cursor.fetchone()
            if row is None or not row["alone"]:
                raise Conflict(f"Source {source.name!r} is being synced already.", hint="Wait until that is finished.")
            yield row["now"]


def _report(source: Source, found: Sorted, left_out: LeftOut, dry_run: bool) -> SyncReport:
    return SyncReport(
        source.name,
        dry_run,
        seen=found.seen,
        skipped=left_out.skipped,
        ignored=found.ignored,
        unmatched=found.unmatched,
        unreadable=left_out.unreadable,
    )


async def _merge(session: AsyncSession, source: Source, spool: Spool, report: SyncReport, allow_wipe: bool) -> None:
    await _copy(session, spool)
    await _guard(session, source, report, allow_wipe)
    report.projects = await _count(session, "merge_projects", source)
    await _locks(session, source, report)
    report.items = await _count(session, "merge_items", source)
    report.kept = await _count(session, "kept", source)
    report.deleted = await _count(session, "delete_files", source)
    report.changed = await _count(session, "change_files", source)
    report.created = await _count(session, "add_files", source)
    await fetch(session, "catalogue.analyze") if report.created > MANY else None
    await _count(session, "merge_links", source)
    await _count(session, "merge_members", source)
    for row in await fetch(session, "sync.held_out"):
        report.held_out[row["project"]] = row["items"]


async def _copy(session: AsyncSession, spool: Spool) -> None:
    await fetch(session, "sync.plan_for_sets")
    await fetch(session, "sync.seen_table")
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)
    with translated():
        async with raw.cursor() as cursor, cursor.copy(f"copy seen ({COLUMNS}) from stdin".encode()) as copy:
            for block in spool.blocks():
                await copy.write(block)
    await fetch(session, "sync.seen_analyze")


async def _guard(session: AsyncSession, source: Source, report: SyncReport, allow_wipe: bool) -> None:
    """Stop before more leaves the catalogue than the source may lose; a listing may be wrong."""
    losing = await fetch_one(session, "sync.losing", {"source": source.id, "limit": SHOWN})
    assert losing is not None
    gone, files = losing["gone"], losing["files"]
    report.gone = Listed(gone, losing["keys"])
    everything = gone == files and gone > 0
    if allow_wipe or not (everything or gone > files * source.may_lose):
        return
    share = "all" if everything else f"{gone / files:.0%} of"
    examples = ", ".join(losing["keys"][:5]) + (", …" if gone > 5 else "")
    raise Conflict(
        f"Source {source.name!r}: {share} its {files:,} files are gone ({gone:,}: {examples}); "
        f"it may lose {source.may_lose:.0%} at once. Nothing was changed.",
        hint="To take them out of the catalogue: --allow-bucket-wipe; with --dry-run it only says what would go.",
    )


async def _locks(session: AsyncSession, source: Source, report: SyncReport) -> None:
    unlocked = [row["name"] for row in await fetch(session, "sync.locks_gone", {"source": source.id})]
    row = await fetch_one(session, "sync.lock_projects", {"unlocked": unlocked})
    assert row is not None
    report.locked, report.unlocked = row["locked"], row["freed"]


async def _note(session: AsyncSession, source: Source, started: dt.datetime, report: SyncReport) -> None:
    counts = {key: getattr(report, key) for key in ("seen", "created", "changed", "deleted")}
    details: dict[str, Any] = {key: value for key, value in asdict(report).items() if key not in counts}
    params = counts | {"source": source.id, "started": started, "details": orjson.dumps(details).decode()}
    await fetch(session, "sync.synced", params)
    await fetch(session, "catalogue.announce")


async def _count(session: AsyncSession, statement: str, source: Source) -> int:
    row = await fetch_one(session, f"sync.{statement}", {"source": source.id})
    assert row is not None
    return int(row["n"])
