"""Transactions that tests wait for."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from tidemill.db.database import Database
from tidemill.feed import changes

_OPEN = text(
    "select query from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
    "and xact_start is not null and backend_type = 'client backend'"
)


async def no_transaction_is_open(database: Database) -> None:
    """Return once no other connection is in a transaction: one that is just ending is not one that stays.

    PostgreSQL's own processes, which vacuum at any time, do not count. Fails after a minute with what stays open.
    """
    open_ones: list[str] = []
    try:
        async with asyncio.timeout(60):
            while open_ones := await _open_ones(database):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"a transaction stays open: {open_ones}") from None


async def _open_ones(database: Database) -> list[str]:
    async with database.begin() as session:
        return list(await session.scalars(_OPEN))


async def the_feed_tells_all(database: Database) -> None:
    """Return once the feed holds every change that is committed.

    Another transaction of the database that was open before holds it back: also of a duty, or of a vacuum.
    """
    newest = text("select xid::text || '-' || id from change order by xid desc, id desc limit 1")
    async with asyncio.timeout(60):
        while True:
            async with database.begin() as session:
                last = await session.scalar(newest)
            async with database.begin() as session:
                if last is None or await changes.now(session) == last:
                    return
            await asyncio.sleep(0.01)
