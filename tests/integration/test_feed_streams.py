"""The feed over HTTP in all its modes, against writers with long transactions: each change comes, and comes once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest
from tests.followers import INSERT, KINDS, Stream, event_stream, following, until, write
from tests.transactions import the_feed_tells_all
from tests.webserver import Web

from tidemill.db.database import Database


async def get(web: Web, path: str, status: int = 200) -> Any:
    answer = await web.client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def by_pages(web: Web, mode: str, filters: str, over: asyncio.Event) -> list[int]:
    """Read page after page until the writers are over and nothing is left."""
    since, seen = "0", []
    while True:
        was_over = over.is_set()
        page = await get(web, f"/api/changes?since={since}&limit=23&feed={mode}&timeout=50{filters}")
        seen += [result["position"] for result in page["results"]]
        since = page["last_seq"]
        if was_over and not page["results"] and not page["pending"]:
            return seen


async def by_stream(web: Web, filters: str, over: asyncio.Event) -> list[int]:
    """Follow, cut the connection again and again, and go on from the last position told, heartbeats counted."""
    stream, cut_after = Stream(), 15
    while not (over.is_set() and stream.ended):
        last = "&timeout=700" if over.is_set() else "&heartbeat=100"
        async with following(web, f"/api/changes?feed=continuous&since={stream.last_seq}{last}{filters}", stream):
            enough = len(stream.results) + stream.heartbeats + cut_after
            await until(lambda n=enough: len(stream.results) + stream.heartbeats >= n or over.is_set() or stream.ended)
            if "timeout" in last:
                await until(lambda: stream.ended)
        cut_after = cut_after * 2 % 97
    return stream.numbers


async def by_events(web: Web, filters: str, over: asyncio.Event) -> list[int]:
    """As a browser: it comes back with `Last-Event-ID`, and its old `since` still in the address."""
    seen: list[int] = []
    place, quiet = "", 0
    while quiet < 2:
        headers = {"last-event-id": place} if place else {}
        quiet = quiet + 1 if over.is_set() else 0
        path = f"/api/changes?feed=eventsource&since=0&heartbeat=300{filters}"
        count = 0
        async for name, here, said in event_stream(web.client, path, **headers):
            place = here
            count += 1
            if name == "message":
                seen.append(said["position"])
                quiet = 0
            if count == 40 or name == "heartbeat":
                break
    return seen


@pytest.mark.parametrize("filters", ["", "&kind=run&kind=app"])
async def test_no_mode_skips_a_change_under_writers_with_long_transactions(
    database: Database, web: Web, filters: str
) -> None:
    written: dict[int, str] = {}
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        readers = {
            "normal": group.create_task(by_pages(web, "normal", filters, over)),
            "longpoll": group.create_task(by_pages(web, "longpoll", filters, over)),
            "continuous": group.create_task(by_stream(web, filters, over)),
            "eventsource": group.create_task(by_events(web, filters, over)),
        }
        await asyncio.gather(*(write(database, n, 40, written) for n in range(1, 9)))
        await the_feed_tells_all(database)
        over.set()
    wanted = {number for number, kind in written.items() if not filters or kind in ("run", "app")}
    assert len(wanted) > 150
    for mode, reader in readers.items():
        assert set(reader.result()) == wanted, mode
        assert len(reader.result()) == len(wanted), f"{mode}: each change comes once"


async def test_fifty_followers_get_the_same_in_the_same_order(database: Database, web: Web) -> None:
    written: dict[int, str] = {}
    streams = [Stream() for _ in range(50)]
    async with asyncio.TaskGroup() as group:
        stop = asyncio.Event()

        async def follow(stream: Stream, since: str) -> None:
            async with following(web, f"/api/changes?feed=continuous&heartbeat=500&since={since}", stream):
                await stop.wait()

        for number, stream in enumerate(streams):
            group.create_task(follow(stream, "0" if number % 2 else "now"))
        await until(lambda: all(stream.heartbeats for stream in streams), "all follow")
        await asyncio.gather(*(write(database, n, 25, written) for n in range(1, 9)))
        await until(lambda: all(len(stream.results) >= len(written) for stream in streams), "all have all")
        stop.set()
    assert all(stream.numbers == streams[0].numbers for stream in streams)
    assert set(streams[0].numbers) == set(written)
    await until(lambda: web_readers(web) == 0, "nobody reads on for nobody")


def web_readers(web: Web) -> int:
    return sum(1 for task in asyncio.all_tasks() if "Channel.run" in repr(task.get_coro()))


async def test_a_heartbeat_moves_a_filtered_readers_position(database: Database, web: Web) -> None:
    connection = await database.connect()
    async with connection, following(web, "/api/changes?feed=continuous&heartbeat=100&kind=project") as stream:
        await until(lambda: stream.heartbeats > 0)
        before = stream.last_seq
        for number in range(3):
            await connection.execute(INSERT, {"n": number, "kind": "task"})
        await the_feed_tells_all(database)
        newest = (await get(web, "/api/changes?since=now"))["last_seq"]
        assert newest != before
        await until(lambda: stream.last_seq == newest, "the position moves though nothing passes")
        assert stream.results == []
    assert (await get(web, f"/api/changes?since={newest}"))["results"] == []


async def test_a_stream_ends_after_its_limit_or_in_silence(database: Database, web: Web) -> None:
    connection = await database.connect()
    async with connection:
        for number in range(7):
            await connection.execute(INSERT, {"n": number, "kind": "task"})
    await the_feed_tells_all(database)
    async with following(web, "/api/changes?feed=continuous&limit=4") as stream:
        await until(lambda: stream.ended)
    assert stream.numbers == [0, 1, 2, 3]
    assert stream.last_seq == stream.results[-1]["seq"]
    async with following(web, f"/api/changes?feed=continuous&timeout=1000&since={stream.last_seq}") as stream:
        await until(lambda: stream.ended)
    assert (stream.numbers, stream.heartbeats) == ([4, 5, 6], 0)


async def test_a_longpoll_with_a_heartbeat_stays_open_until_there_is_something(database: Database, web: Web) -> None:
    said = []
    async with web.client.stream("GET", "/api/changes?feed=longpoll&since=now&heartbeat=100&timeout=1") as answer:
        async for line in answer.aiter_lines():
            said.append(line)
            if len(said) == 2:
                connection = await database.connect()
                async with connection:
                    await connection.execute(INSERT, {"n": 5, "kind": "task"})
                    await connection.execute("select pg_notify('tidemill_change', '')")
    assert said[:2] == ["", ""]
    assert json.loads(said[-1])["results"][0]["position"] == 5


async def test_a_stream_stays_open_while_the_database_is_away(database: Database, database_url: str, web: Web) -> None:
    name, admin = database_url.rsplit("/", 1)[1], database_url.rsplit("/", 1)[0] + "/postgres"
    written: dict[int, str] = {}
    async with following(web, "/api/changes?feed=continuous&heartbeat=200&since=0") as stream:
        await write(database, 1, 5, written)
        await until(lambda: set(stream.numbers) == set(written))
        writer = await database.connect()
        async with writer, await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
            await connection.execute(f"alter database {name} allow_connections false".encode())
            cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> %s"
            await connection.execute(cut, [name, writer.info.backend_pid])
            beats = stream.heartbeats
            await until(lambda: stream.heartbeats >= beats + 3, "it still shows signs of life")
            for number in (7, 8):
                await writer.execute(INSERT, {"n": number, "kind": "task"})
            await connection.execute(f"alter database {name} allow_connections true".encode())
        await until(lambda: set(stream.numbers) == {*written, 7, 8}, "what was written meanwhile")
        assert len(stream.numbers) == len(written) + 2
        assert stream.error is None


async def test_who_reads_slowly_is_left_behind_and_still_misses_nothing(database: Database, web: Web) -> None:
    """20 MB wait for a reader that takes its time, more than any queue holds."""
    connection = await database.connect()
    async with connection:
        fast = Stream()
        slow: list[int] = []
        path = "/api/changes?feed=continuous&heartbeat=1000&since=0"
        async with following(web, path, fast), web.client.stream("GET", path) as answer:
            lines = answer.aiter_lines()
            for turn in range(30):
                await connection.execute(
                    "insert into change (kind, run_id, position, state) select 'task', 1, n, repeat('x', 300)"
                    " from generate_series(%(first)s::int, %(first)s::int + 1499) n", {"first": turn * 1500},
                )  # fmt: skip
                await connection.execute("select pg_notify('tidemill_change', '')")
                await asyncio.sleep(0)
            await until(lambda: len(fast.results) >= 45_000, "the fast one is not held up")
            async for line in lines:
                said = json.loads(line)
                if "seq" in said:
                    slow.append(said["position"])
                if len(slow) == 45_000:
                    break
    assert fast.numbers == slow == list(range(45_000))


async def test_what_is_wrong_is_said_before_the_stream_begins(web: Web) -> None:
    for wrong, words in {
        "since=abc": "position",
        "since=900000000000000-1": "another one",
        "descending=true": "forward",
        "kind=tasks": "tasks",
        "laststep=x": "laststep",
        "feed=backwards": "feed",
        "heartbeat=soon": "heartbeat",
        "field.=3": "name",
    }.items():
        for mode in ("", "&feed=continuous", "&feed=eventsource"):
            said = (await get(web, f"/api/changes?{wrong}{'' if 'feed=' in wrong else mode}", 422))["error"]
            assert words in said["message"] + str(said["hint"]), wrong
    assert len(KINDS) == 3
    assert (await get(web, "/api/changes?style=all_docs&descending=false&limit=1"))["results"] == []
