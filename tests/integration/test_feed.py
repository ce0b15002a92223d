"""The change feed under real concurrent writers: nothing is skipped, and snapshots and following join."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from tests.factory import make_run
from tests.transactions import the_feed_tells_all

from tidemill.catalogue.sync import sync
from tidemill.db.database import Database
from tidemill.db.models import Source
from tidemill.errors import InvalidInput
from tidemill.feed import changes
from tidemill.feed.filters import Filter

INSERT = "insert into change (kind, run_id, position, state) values ('task', 1, %(n)s, 'done')"


async def _write(database: Database, writer: int, count: int, written: set[int]) -> None:
    """Transactions that stay open for different times, so that they commit in another order than they began."""
    chance = random.Random(writer)
    connection = await database.connect()
    async with connection:
        for number in range(count):
            key = writer * 100_000 + number
            async with connection.transaction():
                await connection.execute(INSERT, {"n": key})
                await asyncio.sleep(chance.choice([0, 0, 0.002, 0.02]))
                await connection.execute(INSERT, {"n": key + 50_000})
            written |= {key, key + 50_000}


async def _page(database: Database, since: str | None, limit: int = 1000, **how: Any) -> changes.Page:
    async with database.begin() as session:
        return await changes.read(session, since, limit, **how)


async def _now(database: Database) -> str:
    async with database.begin() as session:
        return await changes.now(session)


async def test_no_change_is_skipped_while_writers_commit_out_of_order(database: Database) -> None:
    written: set[int] = set()
    seen: list[int] = []
    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(_write(database, n, 60, written)) for n in range(1, 7)]
        since: str | None = None
        while True:
            over = all(writer.done() for writer in writers)
            page = await _page(database, since, 37)
            seen += [result["position"] for result in page.results]
            since = page.last_seq
            if over and not page.results and len(seen) >= len(written):
                break
    assert len(written) == 6 * 60 * 2
    assert set(seen) == written
    assert len(seen) == len(written), "each change comes once when it is read by position"


async def test_a_snapshot_and_what_follows_it_join_without_a_gap(database: Database) -> None:
    written: set[int] = set()
    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(_write(database, n, 40, written)) for n in range(1, 5)]
        joins = []
        while not all(writer.done() for writer in writers):
            async with database.begin() as session:
                seq = await changes.hold_snapshot(session)
                await asyncio.sleep(0.005)
                found = await session.execute(text("select position from change where kind = 'task'"))
                joins.append((seq, {row.position for row in found}))
    assert len(joins) > 3
    for seq, state in joins:
        followed: set[int] = set()
        since = seq
        while (page := await _page(database, since)).results:
            followed |= {result["position"] for result in page.results}
            since = page.last_seq
        assert state | followed == written


async def test_an_open_transaction_holds_back_only_what_could_come_after_it(database: Database) -> None:
    connection = await database.connect()
    async with connection:
        await connection.execute(INSERT, {"n": 1})
        async with database.begin() as early:
            await early.execute(text("insert into change (kind, run_id, position) values ('task', 1, 2)"))
            await connection.execute(INSERT, {"n": 3})
            page = await _page(database, None)
            assert 3 not in [result["position"] for result in page.results]
    await the_feed_tells_all(database)
    page = await _page(database, page.last_seq)
    assert {2, 3} <= {result["position"] for result in page.results}


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[list[psycopg.AsyncConnection[Any]]]:
    """Connections to another database of the server."""
    url = f"{database_url.rsplit('/', 1)[0]}/postgres"
    connections = [await psycopg.AsyncConnection.connect(url) for _ in range(3)]
    yield connections
    for connection in connections:
        await connection.close()


async def test_what_begins_in_another_database_after_a_reader_asked_holds_nothing_back(
    database: Database, elsewhere: list[psycopg.AsyncConnection[Any]]
) -> None:
    async with await database.connect() as connection, database.begin() as session:
        for number, other in enumerate(elsewhere):
            await other.execute("select pg_current_xact_id()")
            await connection.execute(INSERT, {"n": number})
            seq = await changes.now(session)
            assert seq == await session.scalar(
                text("select xid::text || '-' || id from change order by xid desc, id desc limit 1")
            )


async def test_what_ends_in_another_database_while_a_reader_asks_holds_nothing_back(
    database: Database, elsewhere: list[psycopg.AsyncConnection[Any]]
) -> None:
    over, late = asyncio.Event(), []

    async def busy(other: psycopg.AsyncConnection[Any]) -> None:
        while not over.is_set():
            await other.execute("select pg_current_xact_id()")
            await other.commit()

    async with asyncio.TaskGroup() as group, await database.connect() as connection:
        for other in elsewhere:
            group.create_task(busy(other))
        for number in range(150):
            await connection.execute(INSERT, {"n": number})
            async with database.begin() as session:
                seq = await (changes.hold_snapshot if number % 2 else changes.now)(session)
                newest = await session.scalar(text("select max(xid::text::numeric) from change"))
                late += [number] if changes.parse(seq)[0] != newest else []
        over.set()
    assert not late


async def test_pages_say_where_they_end_and_what_is_left(database: Database) -> None:
    connection = await database.connect()
    async with connection:
        for number in range(5):
            await connection.execute(INSERT, {"n": number})
        await connection.execute("insert into change (kind, run_id, state) values ('run', 2, 'done')")
    await the_feed_tells_all(database)
    first = await _page(database, None, 2)
    assert (len(first.results), first.pending) == (2, 4)
    assert first.last_seq == first.results[-1]["seq"]
    rest = await _page(database, first.last_seq, 100)
    assert ([result["position"] for result in rest.results[:3]], rest.pending) == ([2, 3, 4], 0)
    assert rest.results[-1]["id"] == "run:2"
    assert rest.results[-1]["changes"] == [{"state": "done", "step": None, "name": None}]
    assert (await _page(database, rest.last_seq)).results == []
    only = await _page(database, None, which=Filter(run=2))
    assert [result["kind"] for result in only.results] == ["run"]
    assert (await _page(database, None, which=Filter(kinds=("run",)))).results == only.results
    assert only.last_seq == rest.last_seq, "a filtered reader does not read the rest again"


async def test_what_is_no_position_is_refused(database: Database) -> None:
    for wrong in ("x", "1", "1-", "-1-2", "1-2; drop table change", "99999999999999999999-1"):
        with pytest.raises(InvalidInput):
            await _page(database, wrong)
    with pytest.raises(InvalidInput, match="another one"):
        await _page(database, "900000000000000-1")
    with pytest.raises(InvalidInput):
        await _page(database, None, 0)
    assert (await _page(database, "now")).results == []


async def test_positions_begin_before_the_first_change(database: Database) -> None:
    assert await _now(database) == changes.START
    await make_run(database, items=1)
    connection = await database.connect()
    async with connection:
        await connection.execute(INSERT, {"n": 7})
    await the_feed_tells_all(database)
    assert [result["position"] for result in (await _page(database, changes.START)).results] == [None, 7]


async def test_other_bytes_of_a_file_are_a_change_of_its_items(database: Database, tmp_path: Path) -> None:
    for name in ("a,b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.dat").write_text("x")
    rules = [{"pattern": "{item}/*.dat", "split": ","}]
    async with database.begin() as session:
        session.add(Source(name="data", url=tmp_path.as_uri(), layout={"rules": rules}))

    async def told() -> list[str]:
        """The items that a sync is told of in the feed."""
        await the_feed_tells_all(database)
        since = await _now(database)
        await sync(database, "data")
        await the_feed_tells_all(database)
        return sorted(result["item"] for result in (await _page(database, since)).results)

    assert set(await told()) == {"a", "b", "c"}
    assert await told() == []
    (tmp_path / "a,b" / "x.dat").write_text("other bytes")
    assert await told() == ["a", "b"]
    async with database.begin() as session:
        rows = await session.execute(text("select revision from item"))
        assert set(rows.scalars()) == {1}, "their records are as they were"
        await session.execute(
            text("update source set layout = jsonb_set(layout, '{rules,0,attributes}', '{\"n\": 1}')")
        )
    assert await told() == ["a", "b", "c"], "the rules give them other attributes"
    assert await told() == []
