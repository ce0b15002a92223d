"""Connections to the database: neither end holds on to one whose other end is gone without a word."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.rows import scalar_row
from sqlalchemy import text
from tests.faults.proxy import proxied

from tidemill.catalogue import field_index, metadata
from tidemill.db.database import Database, translated
from tidemill.errors import DatabaseUnavailable, InvalidInput


@pytest.fixture(params=["for models", "of one's own"])
async def connection(database: Database, request: pytest.FixtureRequest) -> Any:
    if request.param == "of one's own":
        async with await database.connect() as own:
            yield own
        return
    async with database.begin() as session:
        yield (await (await session.connection()).get_raw_connection()).driver_connection


async def test_both_ends_notice_a_cut_within_half_a_minute(connection: psycopg.AsyncConnection[Any]) -> None:
    assert not connection.info.host.startswith("/"), "the tests' server is reached by TCP"
    server = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
    for name, value in {**server, "tcp_user_timeout": "25000"}.items():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            assert await (await cursor.execute("select current_setting(%s)", [name])).fetchone() == value, name
    ours = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "25000"}
    assert ours.items() <= connection.info.get_parameters().items()


async def test_the_server_ends_a_worker_that_is_stopped_in_the_middle_of_a_transaction(database: Database) -> None:
    """What it held is free for others; it finds its connection lost, and nothing refused, when it goes on."""
    async with await database.connect() as stopped, await database.connect() as other:
        setting = await (await stopped.execute("show idle_in_transaction_session_timeout")).fetchone()
        assert setting == {"idle_in_transaction_session_timeout": "30s"}
        await stopped.execute("set idle_in_transaction_session_timeout = '50ms'")

        async def work() -> None:
            with translated():
                async with stopped.transaction():
                    await stopped.execute("lock table task in access exclusive mode")
                    await other.execute("select count(*) from task")
                    await stopped.execute("select 1")

        with pytest.raises(DatabaseUnavailable):
            await work()


async def test_who_is_done_with_a_lock_gives_it_back_though_the_server_hears_no_goodbye(
    database: Database, database_url: str
) -> None:
    async with database.begin() as session:
        await session.execute(text('insert into site (title, fields) values (\'\', \'{"age": {"type": "integer"}}\')'))

    async with proxied(database_url) as proxy:
        proxy.hides_goodbyes = True

        async def address() -> str:
            return proxy.url

        through = Database(address)
        await field_index.tend(through, least=0)
        with pytest.raises(InvalidInput):
            await metadata.load(through, metadata.LoadWish())
        async with database.begin() as session:
            held = text("select count(*) from pg_locks where locktype = 'advisory' and database = "
                        "(select oid from pg_database where datname = current_database())")  # fmt: skip
            assert await session.scalar(held) == 0
            assert await session.scalar(text("select count(*) from field_table where ready_at is not null")) == 1
        await through.close()
