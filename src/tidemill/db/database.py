"""One door to PostgreSQL: sessions for models, plain psycopg connections for what moves sets or listens.

Nothing else in Tidemill catches `psycopg.Error`; here it becomes one of ours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg.errors import IdleInTransactionSessionTimeout
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Composed
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from tidemill.db.queries import sql
from tidemill.errors import Conflict, DatabaseBusy, DatabaseRefused, DatabaseUnavailable, TidemillError

Row = dict[str, Any]
Address = Callable[[], Awaitable[str]]
"""Tells where the database is now; an embedded server may have come up elsewhere."""

SESSION = (
    "-c timezone=UTC -c jit=off -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    " -c tcp_user_timeout=25000"
)
"""Without the keepalives the server would hold the locks of a machine that lost its power for two hours."""

STALLED = 30
"""Seconds after which the server ends a worker's connection that says nothing in the middle of a transaction."""

HOT_PLANS = (
    f"{SESSION} -c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
    f" -c idle_in_transaction_session_timeout={STALLED}s"
)
"""The hot statements are planned once per connection: with sets as one parameter a custom plan is never better. They
find rows by key; without the second setting a plan made while a table was small would go on reading all of it. The
system of a process that is stopped in mid-transaction still answers keepalives: its tasks would stay locked."""

KEPT_ALIVE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25000,
}
"""The same on our side: a server that is gone without a word is noticed within half a minute."""


class Database:
    """A PostgreSQL database, reached through `address`."""

    def __init__(self, address: Address, *, pool_size: int = 5) -> None:
        self._address = address
        self._engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=self._connect_plain,
            pool_size=pool_size,
            max_overflow=20,
            pool_pre_ping=True,
        )
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def _connect_plain(self) -> psycopg.AsyncConnection[Any]:
        with translated():
            return await psycopg.AsyncConnection.connect(await self._address(), options=SESSION, **KEPT_ALIVE)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """A session in a transaction: commits at the end, rolls back on an error."""
        with translated():
            async with self._sessions.begin() as session:
                yield session

    async def connect(self) -> psycopg.AsyncConnection[Row]:
        """A connection of one's own, in autocommit, for a worker's exchange or to listen on."""
        with translated():
            return await psycopg.AsyncConnection.connect(
                await self._address(),
                autocommit=True,
                row_factory=dict_row,
                options=HOT_PLANS,
                prepare_threshold=1,
                **KEPT_ALIVE,
            )

    async def close(self) -> None:
        await self._engine.dispose()


async def fetch(
    session: AsyncSession,
    name: str,
    params: Mapping[str, Any] | None = None,
    parts: Mapping[str, Composable] | None = None,
    *,
    prepare: bool | None = None,
) -> list[Row]:
    """Run a named statement (`tasks.claim`) in the session's transaction; its rows as dicts, in order.

    `parts`: what stands for the names in braces of a statement that is composed. `prepare` False: plan it each time for
    its parameters, as one needs that has many parts of which few are used.
    """
    connection = await session.connection()
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)
    with translated():
        async with raw.cursor(row_factory=dict_row) as cursor:
            statement = sql(name).encode() if parts is None else composed(name, parts)
            await cursor.execute(statement, params or {}, prepare=prepare)
            return await cursor.fetchall() if cursor.description else []


async def fetch_one(
    session: AsyncSession,
    name: str,
    params: Mapping[str, Any] | None = None,
    parts: Mapping[str, Composable] | None = None,
) -> Row | None:
    """The first row of a named statement, or None."""
    rows: Sequence[Row] = await fetch(session, name, params, parts)
    return rows[0] if rows else None


def composed(name: str, parts: Mapping[str, Composable]) -> Composed:
    """A named statement, or a piece of one, with its parts."""
    return SQL(sql(name)).format(**parts)


@contextmanager
def translated() -> Iterator[None]:
    """The one place where driver errors become ours."""
    try:
        yield
    except TidemillError:
        raise
    except (psycopg.Error, DBAPIError, OSError) as error:
        raise _ours(error) from error


def _ours(error: Exception) -> Exception:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, TidemillError):
        return cause
    if isinstance(cause, psycopg.errors.UniqueViolation):
        return Conflict(cause.diag.message_detail or str(cause))
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return DatabaseBusy()
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | OSError | IdleInTransactionSessionTimeout):
        return DatabaseUnavailable(f"The database cannot be reached: {str(cause).strip()}")
    if isinstance(cause, psycopg.Error):
        return DatabaseRefused(f"The database refused a statement: {str(cause).strip()}")
    return error
