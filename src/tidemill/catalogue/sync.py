"""Reading a source: the catalogue's files, items and projects become what lies there, by the source's layout rules.

The listing is a stream, copied beside the tables while it goes on; then it is merged in one transaction. What is
unchanged is not written. What is gone leaves the catalogue, unless it is more than the source may lose: then nothing is
changed. Each sync leaves a record, one that failed as well.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import psycopg
from sqlalchemy import select

from tidemill.catalogue.listing import LeftOut, listing
from tidemill.catalogue.merging import Connection, Merge
from tidemill.catalogue.sorting import Blocks
from tidemill.catalogue.sync_report import SyncReport
from tidemill.db.database import Database, translated
from tidemill.db.models import Source
from tidemill.db.queries import sql
from tidemill.domain.layout import Layout
from tidemill.errors import Conflict, NotFound, StorageError, TidemillError

Progress = Callable[[int], None]
"""Is told now and then how many files were seen so far."""
POLL = 0.5
"""Seconds between two looks whether another sync is finished."""


async def sync(
    database: Database,
    source: str,
    *,
    allow_wipe: bool = False,
    dry_run: bool = False,
    wait: bool = False,
    progress: Progress = lambda seen: None,
) -> SyncReport:
    """Make the catalogue true to a source, in one transaction; or only say what that would do.

    Where another sync of it is going on: `wait` until it is finished. Raises NotFound, StorageError (it cannot be
    read), InvalidInput (it is no source, or its rules make no sense), Conflict (another sync of it is going on; or more
    would go than it may lose, and `allow_wipe` is not given).
    """
    async with database.begin() as session:
        found = await session.scalar(select(Source).where(Source.name == source))
    if found is None:
        raise NotFound(f"There is no source named {source!r}.", hint="`tidemill export` shows them.")
    report = SyncReport(found.name, dry_run)
    async with _alone(database, found, wait) as (connection, started):
        merge = Merge(connection, found, report)
        try:
            with translated():
                await _do(connection, found, merge, started, allow_wipe, progress)
        except TidemillError as error:
            report.error, report.created, report.changed, report.deleted = error.message, 0, 0, 0
            with suppress(TidemillError), translated():  # where the database is the reason, nothing can be noted in it
                await merge.note(started)
            raise
    return report


def reader(database: Database) -> Callable[[str], Awaitable[str]]:
    """What a schedule does to read a source by name. It gives what that came to, in words; raises what `sync` does."""

    async def read(source: str) -> str:
        return (await sync(database, source)).in_words()

    return read


async def _do(
    connection: Connection,
    source: Source,
    merge: Merge,
    started: dt.datetime,
    allow_wipe: bool,
    progress: Progress,
) -> None:
    report, left_out = merge.report, LeftOut()
    blocks = Blocks(listing(source.url, source.options, left_out), Layout.from_json(source.layout), left_out)
    await merge.prepare()
    try:
        async for block in _ahead(blocks):
            await merge.copy(block)
            progress(blocks.found.seen)
    except StorageError as error:
        raise StorageError(f"Source {source.name!r} cannot be read. {error.message}", hint=error.hint) from error
    except OSError as error:
        raise StorageError(f"The listing could not be written to a temporary file: {error.strerror}") from error
    finally:
        report.take(blocks.found, left_out)
    async with connection.transaction():
        await merge.merge(allow_wipe=allow_wipe)
        if report.dry_run:
            raise psycopg.Rollback
        await merge.note(started)
    if report.dry_run:
        await merge.note(started)
    else:
        await merge.analyze()


async def _ahead(blocks: Blocks) -> AsyncIterator[bytes]:
    """The blocks, of which the next is made in a thread while its reader is busy with the one before."""
    making = asyncio.create_task(asyncio.to_thread(next, blocks, b""))
    try:
        while block := await making:
            making = asyncio.create_task(asyncio.to_thread(next, blocks, b""))
            yield block
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


@asynccontextmanager
async def _alone(database: Database, source: Source, wait: bool) -> AsyncIterator[tuple[Connection, dt.datetime]]:
    """Within: no other sync of this source. The lock goes with its connection, however this process ends."""
    connection = await database.connect()
    async with connection:
        while True:
            with translated():
                cursor = await connection.execute(sql("sync.alone").encode(), {"source": source.id})
                row = await cursor.fetchone()
            if row is not None and row["alone"]:
                break
            if not wait:
                raise Conflict(
                    f"Source {source.name!r} is being synced already.",
                    hint="Wait until that is finished; `tidemill sync --wait` does.",
                )
            await asyncio.sleep(POLL)
        try:
            yield connection, row["now"]
        finally:
            with suppress(psycopg.Error):  # a connection that is closed gives it back only when the server notices
                await connection.execute(sql("sync.free").encode(), {"source": source.id})
