"""Transactions that tests wait for."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from tidemill.db.database import Database

_OPEN = text(
    "select query from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
    "and xact_start is not null and backend_type = 'client backend'"
)


async def no_transaction_is_open(database: Database) -> None:
    """Return once no other connection is in a transaction: one that is just ending is not one that stays.

    PostgreSQL's own processes, which vacuum at any time, do not count. Fails after 30 s with what stays open.
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
