"""Positions that the site keeps for its readers, and what becomes of changes that are old: nothing goes unsaid."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from tests.followers import INSERT
from tests.transactions import the_feed_tells_all
from tests.webserver import Web

from tidemill.db.database import Database
from tidemill.errors import ChangesGone
from tidemill.feed import changes, cursors, pruning
from tidemill.runner.housekeeping import prune_changes


async def made(database: Database, count: int, days: int = 0, *, told: bool = True) -> list[str]:
    """So many changes, so many days old; their positions. `told`: the feed tells of them all by now."""
    connection = await database.connect()
    async with connection:
        for number in range(count):
            await connection.execute(INSERT, {"n": number, "kind": "task"})
        await connection.execute(
            "update change set at = now() - make_interval(days => %s) where at > now() - interval '1 h'", [days]
        )
    if told:
        await the_feed_tells_all(database)
    async with database.begin() as session:
        rows = await session.execute(text("select xid::text || '-' || id as seq from change order by xid, id"))
        return [row.seq for row in rows][-count:]


async def call(web: Web, method: str, path: str, status: int = 200, **more: Any) -> Any:
    answer = await web.client.request(method, path, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_cursor_goes_forward_only_unless_told_otherwise(database: Database, web: Web) -> None:
    seqs = await made(database, 5)
    path = "/api/cursors/the%20spectrum%2Fa"
    await call(web, "GET", path, 404)
    assert [one["seq"] for one in (await call(web, "GET", "/api/changes?cursor=the spectrum/a"))["results"]] == seqs
    told = await call(web, "PUT", path, json={"seq": seqs[2]})
    assert told == {"name": "the spectrum/a", "seq": seqs[2], "moved": True}
    told = await call(web, "PUT", path, json={"seq": seqs[0]})
    assert (told["seq"], told["moved"]) == (seqs[2], False)
    page = await call(web, "GET", "/api/changes?cursor=the spectrum/a&limit=1")
    assert [one["seq"] for one in page["results"]] == seqs[3:4]
    assert (await call(web, "GET", path))["pending"] == 2
    told = await call(web, "PUT", path, json={"seq": seqs[0], "rewind": True})
    assert (told["seq"], told["moved"]) == (seqs[0], True)
    (listed,) = (await call(web, "GET", "/api/cursors"))["cursors"]
    assert (listed["name"], listed["seq"], listed["pending"], listed["lost"]) == ("the spectrum/a", seqs[0], 4, False)
    await call(web, "DELETE", path)
    await call(web, "DELETE", path, 404)


async def test_what_is_no_position_moves_no_cursor(database: Database, web: Web) -> None:
    await call(web, "PUT", "/api/cursors/mine", 422, json={"seq": "nowhere"})
    await call(web, "PUT", "/api/cursors/mine", 422, json={"seq": "900000000000000-1"})
    await call(web, "PUT", "/api/cursors/%20", 422, json={"seq": "0"})
    assert (await call(web, "GET", "/api/cursors"))["cursors"] == []


async def test_many_at_one_cursor_never_turn_it_back(database: Database) -> None:
    seqs = await made(database, 60)
    seen: list[str] = []

    async def acknowledge(part: list[str]) -> None:
        for seq in part:
            async with database.begin() as session:
                await cursors.acknowledge(session, "shared", seq)

    async def look(over: asyncio.Event) -> None:
        while not over.is_set():
            async with database.begin() as session:
                seen.append(await cursors.position(session, "shared") or "0-0")

    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(look(over))
        await asyncio.gather(*(acknowledge(seqs[n::5]) for n in range(5)))
        over.set()
    assert [changes.parse(seq) for seq in seen] == sorted(changes.parse(seq) for seq in seen)
    async with database.begin() as session:
        assert await cursors.position(session, "shared") == seqs[-1]


async def read(database: Database, since: str) -> list[str]:
    await the_feed_tells_all(database)
    async with database.begin() as session:
        return [result["seq"] for result in (await changes.read(session, since)).results]


async def test_old_changes_are_removed_and_who_needs_them_is_told(database: Database, web: Web) -> None:
    old = await made(database, 30, days=400)
    young = await made(database, 5, days=10)
    await prune_changes(365).do(database)
    assert await read(database, old[-1]) == young
    for since in ("0", old[0], old[-2]):
        with pytest.raises(ChangesGone, match="no longer kept"):
            await read(database, since)
    for mode in ("normal", "longpoll", "continuous", "eventsource"):
        said = await call(web, "GET", f"/api/changes?since={old[3]}&feed={mode}", 410)
        assert (said["error"]["kind"], "snapshot" in said["error"]["hint"]) == ("ChangesGone", True)
    shot = await call(web, "GET", "/api/changes/snapshot")
    assert await read(database, shot["seq"]) == []
    assert [one["seq"] for one in (await call(web, "GET", f"/api/changes?since={old[-1]}"))["results"]] == young


async def test_what_a_reader_or_a_watch_has_still_to_see_is_kept(database: Database) -> None:
    old = await made(database, 40, days=400)
    await made(database, 3)
    async with database.begin() as session:
        await cursors.acknowledge(session, "slow", old[20])
        assert await pruning.prune(session, 365) == 21
    assert await read(database, old[20]) == [*old[21:], *await read(database, old[-1])]
    async with database.begin() as session:
        await cursors.acknowledge(session, "slow", old[35])
        await session.execute(text("insert into batch (name) values ('w')"))
        await session.execute(text("insert into pipeline (name) values ('w')"))
        await session.execute(text("insert into pipeline_version (pipeline_id, number) select id, 1 from pipeline"))
        await session.execute(
            text(
                "insert into run (batch_id, pipeline_version_id, steps)"
                " select b.id, v.id, 1 from batch b, pipeline_version v"
            )
        )
        await session.execute(
            text("insert into watch (run_id, name, seen) select id, 'w', :seen from run"),
            {"seen": f"{old[30].split('-')[0]}:{old[30].split('-')[0]}:"},
        )
        assert await pruning.prune(session, 365) == 9
    assert len(await read(database, old[29])) == 13


async def test_a_reader_that_stood_still_for_a_year_is_not_waited_for_and_named(database: Database) -> None:
    old = await made(database, 10, days=400)
    async with database.begin() as session:
        await cursors.acknowledge(session, "forgotten", old[3])
        await session.execute(text("update consumer set updated_at = now() - interval '366 days'"))
    with structlog.testing.capture_logs() as logs:
        await prune_changes(100).do(database)
    assert [entry["cursor"] for entry in logs if entry["log_level"] == "warning"] == []
    assert await read(database, old[-1]) == []
    async with database.begin() as session:
        (lost,) = await cursors.listing(session)
    assert lost["lost"]
    with pytest.raises(ChangesGone):
        await read(database, old[3])


async def test_pruning_goes_chunk_by_chunk_to_the_first_that_is_young(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await made(database, 25, days=400)
    monkeypatch.setattr(pruning, "CHUNK", 10)
    async with database.begin() as session:
        await session.execute(
            text("update change set at = now() where xid::text || '-' || id = :seq"), {"seq": old[17]}
        )
    await prune_changes(365).do(database)
    assert await read(database, old[16]) == old[17:]


async def test_nothing_is_removed_before_an_open_transaction(database: Database) -> None:
    async with database.begin() as early:
        await early.execute(text("insert into change (kind, position) values ('task', 99)"))
        old = await made(database, 3, days=400, told=False)
        async with database.begin() as session:
            assert await pruning.prune(session, 365) == 0
    assert len(await read(database, "0")) == 4
    assert old
