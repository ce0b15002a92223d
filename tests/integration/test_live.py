"""The live socket under a real server: every change arrives, once made, at everyone; nothing is missed on the way."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvicorn
from tests.factory import MadeRun, make_run
from tests.transactions import the_feed_tells_all
from tests.webserver import Web, told, web_site
from websockets.asyncio.client import ClientConnection

from tidemill.db.database import Database
from tidemill.domain.states import TaskState, grid_code
from tidemill.feed import changes, live
from tidemill.feed.live import LiveFeed, Pace
from tidemill.feed.watching import QUEUE_LETTERS, Watcher
from tidemill.web import serve

MOVE = """
    with moved as (
        update task set step = %(step)s, state = %(state)s,
               finished_at = case when %(state)s in ('done', 'failed', 'cancelled') then now() end
        where run_id = %(run)s and position between %(low)s and %(high)s
        returning id, run_id, item_id, position, step, state
    )
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, state from moved
"""
KERNEL_HOLDS = 2**18
"""Bytes that may wait in the send buffer of one connection of `narrow_web`."""

NOTIFY = "select pg_notify('tidemill_change', '')"


async def move(database: Database, run: int, low: int, high: int, state: str = "done", step: int = 0) -> None:
    connection = await database.connect()
    async with connection, connection.transaction():
        await connection.execute(MOVE, {"run": run, "low": low, "high": high, "state": state, "step": step})
        await connection.execute(NOTIFY)


class Page:
    """What a run's page does: reads the grid, watches from its position, and applies what it is told."""

    def __init__(self, web: Web, socket: ClientConnection, run: int) -> None:
        self._web, self._socket, self._run = web, socket, run
        self.cells: list[str] = []
        self.seq = ""
        self.resets = 0

    async def open(self) -> None:
        grid = (await self._web.client.get(f"/api/runs/{self._run}/grid")).json()
        self.cells, self.seq = list(grid["cells"]), grid["seq"]
        await self.watch()

    async def watch(self) -> None:
        await self._socket.send(json.dumps({"watch": {"run": self._run, "since": self.seq}}))

    async def step(self) -> dict[str, Any]:
        message = await told(self._socket, lambda said: said.get("run") == self._run)
        if message.get("reset"):
            self.resets += 1
            await self.open()
        for position, cell in message.get("cells", ()):
            self.cells[position] = cell
        self.seq = message.get("seq", self.seq)
        return message

    async def until(self, cells: list[str]) -> None:
        async with asyncio.timeout(60):
            while self.cells != cells:
                await self.step()


async def truth(web: Web, run: int) -> list[str]:
    return list((await web.client.get(f"/api/runs/{run}/grid")).json()["cells"])


async def test_a_page_that_has_just_read_the_grid_is_told_none_of_it_again(database: Database, web: Web) -> None:
    made = await make_run(database, items=30)
    await move(database, made.run, 0, 29)
    await the_feed_tells_all(database)
    async with web.socket() as socket:
        page = Page(web, socket, made.run)
        await page.open()
        first = await told(socket, lambda said: "cells" in said)
        assert (first["cells"], first["seq"]) == ([], page.seq)
        await move(database, made.run, 3, 3, "failed")
        assert [cell[0] for cell in (await told(socket, lambda said: said.get("cells")))["cells"]] == [3]


async def test_what_changed_between_grid_and_watch_is_told_then_what_changes_after(
    database: Database, web: Web
) -> None:
    made = await make_run(database, items=10, steps=2)
    grid = (await web.client.get(f"/api/runs/{made.run}/grid")).json()
    await move(database, made.run, 2, 3)
    async with web.socket() as socket:
        await socket.send(json.dumps({"watch": {"run": made.run, "since": grid["seq"]}}))
        first = await told(socket, lambda said: "cells" in said)
        done = grid_code(0, TaskState.DONE)
        assert sorted(first["cells"]) == [[2, done], [3, done]]
        await move(database, made.run, 7, 7, "failed", 1)
        then = await told(socket, lambda said: "cells" in said)
        assert then["cells"] == [[7, grid_code(1, TaskState.FAILED)]]
        seen = await told(socket, lambda said: said.get("overview", {}).get("totals", {}).get("failed") == 1)
        assert seen["overview"]["totals"]["done"] == 2


async def test_a_change_reaches_two_hundred_pages(database: Database, web: Web) -> None:
    made = await make_run(database, items=300, steps=1)
    async with asyncio.timeout(120):
        sockets = await asyncio.gather(*(web.socket().__aenter__() for _ in range(200)))
        try:
            pages = [Page(web, socket, made.run) for socket in sockets]
            await pages[0].open()
            for page in pages[1:]:
                page.cells, page.seq = list(pages[0].cells), pages[0].seq
                await page.watch()
            for low in range(0, 300, 50):
                await move(database, made.run, low, low + 49)
            await asyncio.gather(*(page.until([grid_code(0, TaskState.DONE)] * 300) for page in pages))
            assert sum(page.resets for page in pages) == 0
        finally:
            await asyncio.gather(*(socket.close() for socket in sockets))


async def test_following_never_misses_what_concurrent_writers_do(database: Database, web: Web) -> None:
    made = await make_run(database, items=200, steps=4)

    async def write(writer: int) -> None:
        chance = random.Random(writer)
        for _ in range(40):
            low = chance.randrange(0, 190)
            await slow_move(database, made, low, chance)

    async with web.socket() as one, web.socket() as other:
        early, late = Page(web, one, made.run), Page(web, other, made.run)
        await early.open()
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(write(n)) for n in range(4)]
            await asyncio.sleep(0)
            await late.open()
            while not all(writer.done() for writer in writers):
                await asyncio.wait(writers, timeout=0.2)
        final = await truth(web, made.run)
        await early.until(final)
        await late.until(final)
        assert len(set(final)) > 4


async def slow_move(database: Database, made: MadeRun, low: int, chance: random.Random) -> None:
    """Moves one task, in a transaction that took its number early and commits late."""
    connection = await database.connect()
    async with connection, connection.transaction():
        await connection.execute("select pg_current_xact_id()")
        await asyncio.sleep(chance.choice([0, 0.005, 0.03]))
        state = chance.choice(["waiting", "done", "failed", "cancelled"])
        params = {"run": made.run, "low": low, "high": low, "state": state, "step": chance.randrange(4)}
        await connection.execute(MOVE, params)
        await connection.execute(NOTIFY)


async def test_changes_arrive_without_any_notification(database: Database, web: Web) -> None:
    made = await make_run(database, items=3, steps=1)
    async with web.socket() as socket:
        page = Page(web, socket, made.run)
        await page.open()
        connection = await database.connect()
        async with connection:
            params = {"run": made.run, "low": 1, "high": 1, "state": "done", "step": 0}
            await connection.execute(MOVE, params)
        await page.until([grid_code(0, s) for s in (TaskState.WAITING, TaskState.DONE, TaskState.WAITING)])


async def test_following_goes_on_after_every_database_connection_is_cut(
    database: Database, database_url: str, web: Web
) -> None:
    made = await make_run(database, items=20, steps=1)
    async with web.socket() as socket:
        page = Page(web, socket, made.run)
        await page.open()
        await move(database, made.run, 0, 4)
        await page.until(await truth(web, made.run))
        with psycopg.connect(database_url, autocommit=True) as killer:
            cut = """select pg_terminate_backend(pid) from pg_stat_activity
                     where datname = current_database() and pid <> %s"""
            assert killer.execute(cut, [killer.info.backend_pid]).rowcount >= 1
            killer.execute(MOVE, {"run": made.run, "low": 5, "high": 9, "state": "done", "step": 0})
        await move(database, made.run, 10, 14)
        done, waiting = grid_code(0, TaskState.DONE), grid_code(0, TaskState.WAITING)
        await page.until([done] * 15 + [waiting] * 5)
        # And NOTIFY is heard again: somebody listens.
        await somebody_listens(database)
        await move(database, made.run, 15, 19)
        await page.until([done] * 20)


async def listeners(database: Database) -> int:
    connection = await database.connect()
    async with connection:
        cursor = await connection.execute(
            "select count(*) as n from pg_stat_activity "
            "where datname = current_database() and query = 'listen tidemill_change'"
        )
        row = await cursor.fetchone()
        assert row is not None
        return int(row["n"])


async def somebody_listens(database: Database) -> None:
    async with asyncio.timeout(60):
        while not await listeners(database):
            await asyncio.sleep(0.05)


async def test_one_listener_serves_all_sockets(database: Database, web: Web) -> None:
    made = await make_run(database, items=3, steps=1)
    sockets = await asyncio.gather(*(web.socket().__aenter__() for _ in range(20)))
    pages = [Page(web, socket, made.run) for socket in sockets]
    await asyncio.gather(*(page.open() for page in pages))
    await asyncio.gather(*(page.step() for page in pages))
    await somebody_listens(database)
    assert await listeners(database) == 1
    await asyncio.gather(*(socket.close() for socket in sockets))


@pytest.fixture
async def narrow_web(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Web]:
    """A site whose connections hold little, and that does not ask whether who reads nothing is still there."""
    bound = serve._bound

    def narrow(host: str, port: int) -> socket.socket:
        listener = bound(host, port)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_HOLDS // 2)  # which the kernel doubles
        return listener

    monkeypatch.setattr(serve, "_bound", narrow)
    monkeypatch.setattr(uvicorn, "Config", partial(uvicorn.Config, ws_ping_interval=None))
    async with web_site(database, database_url, tmp_path) as web:
        yield web


async def test_a_page_that_takes_nothing_begins_again_and_holds_nobody_up(database: Database, narrow_web: Web) -> None:
    web = narrow_web
    items = 10_000
    made = await make_run(database, items=items, steps=2)
    stir = """with told as (
                  insert into change (kind, run_id, task_id, position, step, state)
                  select 'task', run_id, id, position, step, state from task where run_id = %(run)s)
              select pg_notify('tidemill_change', '')"""
    narrow = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", web.port))
    connection = await database.connect()
    async with connection, web.socket() as quick, web.socket(sock=narrow, max_queue=1, ping_interval=None) as stuck:
        fast, slow = Page(web, quick, made.run), Page(web, stuck, made.run)
        await fast.open()
        await slow.open()
        # The stuck page reads nothing: its side of the connection fills up, then the server's, then the queue.
        sent = 0
        while sent < 3 * (KERNEL_HOLDS + QUEUE_LETTERS):
            await connection.execute(stir, {"run": made.run})
            message = await told(quick, lambda said: said.get("cells") or "reset" in said)
            assert len(message["cells"]) == items, "the quick page gets every message"
            sent += len(json.dumps(message["cells"], separators=(",", ":")))
        await move(database, made.run, 0, 99)
        await fast.until(await truth(web, made.run))
        await slow.until(await truth(web, made.run))
        assert slow.resets >= 1


async def test_a_watchers_queue_is_bounded(database: Database) -> None:
    watcher = Watcher(size=3)
    watcher.runs = {7, 8}
    watcher.all_runs = True
    assert [watcher.put(f"{n}") for n in range(4)] == [True, True, True, False]
    watcher.reset()
    assert [json.loads(await watcher.next()) for _ in range(watcher.waiting)] == [
        {"run": 7, "reset": True},
        {"run": 8, "reset": True},
        {"runs": True, "reset": True},
    ]
    assert (watcher.runs, watcher.all_runs) == (set(), False)


async def test_a_page_that_was_away_too_long_begins_again(database: Database, web: Web) -> None:
    made = await make_run(database, items=30_000, steps=1)
    await move(database, made.run, 0, 29_999)
    async with web.socket() as socket:
        await socket.send(json.dumps({"watch": {"run": made.run, "since": changes.START}}))
        assert (await told(socket, lambda said: "run" in said)) == {"run": made.run, "reset": True}
        await socket.send(json.dumps({"watch": {"run": made.run, "since": "900000000000-1"}}))
        assert (await told(socket, lambda said: "run" in said)) == {"run": made.run, "reset": True}


async def test_the_list_of_runs_hears_of_runs_that_change(database: Database, web: Web) -> None:
    one, other = await make_run(database, items=4), await make_run(database, items=4)
    async with web.socket() as socket:
        await socket.send(json.dumps({"watch": {"runs": True}}))
        await socket.send(json.dumps({"watch": {"run": other.run, "since": changes.START}}))
        await told(socket, lambda said: said.get("run") == other.run)
        await move(database, one.run, 0, 1)
        message = await told(socket, lambda said: any(row["id"] == one.run for row in said.get("runs", ())))
        assert [(row["id"], row["done"]) for row in message["runs"]] == [(one.run, 2)]


async def test_who_watches_no_more_hears_no_more(database: Database, web: Web) -> None:
    one, other = await make_run(database, items=4), await make_run(database, items=4)
    async with web.socket() as socket:
        first, second = Page(web, socket, one.run), Page(web, socket, other.run)
        await first.open()
        await told(socket, lambda said: said.get("run") == one.run and "overview" in said)
        await second.open()
        await told(socket, lambda said: said.get("run") == other.run and "overview" in said)
        await socket.send(json.dumps({"unwatch": {"run": one.run}}))
        await socket.send(json.dumps({"nonsense": 1}))
        await told(socket, lambda said: "error" in said)
        await move(database, one.run, 0, 3)
        await move(database, other.run, 0, 3)
        heard: list[int] = []
        await told(socket, lambda said: heard.append(said["run"]) is None and said["run"] == other.run)
        assert one.run not in heard


async def test_the_socket_answers_nonsense_with_an_error_and_stays_open(database: Database, web: Web) -> None:
    made = await make_run(database, items=1)
    async with web.socket() as socket:
        for wrong in ("{", "[]", '{"watch":{"run":"x"}}', '{"watch":{"run":1,"since":"abc"}}', '{"watch":{"run":1}}'):
            await socket.send(wrong)
            assert "message" in (await told(socket, lambda said: True))["error"]
        await socket.send(json.dumps({"watch": {"run": made.run + 50, "since": changes.START}}))
        missing = await told(socket, lambda said: "error" in said)
        assert (missing["run"], missing["error"]["kind"]) == (made.run + 50, "NotFound")
        page = Page(web, socket, made.run)
        await page.open()
        assert (await page.step())["run"] == made.run


async def test_an_overview_is_made_once_for_all_and_not_for_every_change(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_AGAIN", 3600)
    made = await make_run(database, items=50, steps=1)
    looks: list[int] = []

    async def look_at_run(_: Any, run: int) -> Any:
        looks.append(run)
        return {"look": len(looks)}

    async def look_at_runs(_: Any, runs: Any) -> Any:
        return []

    feed = LiveFeed(database, look_at_run, look_at_runs, Pace(tick=0.01, overview=3600))
    reading = asyncio.create_task(feed.run())
    watchers = [feed.join() for _ in range(30)]
    for watcher in watchers:
        feed.watch(watcher, made.run, changes.START)
    done = grid_code(0, TaskState.DONE)
    for position in range(50):
        await move(database, made.run, position, position)
    async with asyncio.timeout(60):
        for watcher in watchers:
            left = set(range(50))
            while left:
                left -= {
                    position for position, cell in json.loads(await watcher.next()).get("cells", ()) if cell == done
                }
    assert looks == [made.run]
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
