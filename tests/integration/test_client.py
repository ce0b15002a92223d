"""The Python client against a real site: records, runs, and following the feed across cuts, restarts and stops."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.factory import make_run
from tests.faults.proxy import proxied
from tests.followers import INSERT, until, write
from tests.transactions import the_feed_tells_all
from tests.webserver import Web, web_site

from tidemill import Client
from tidemill.db.database import Database
from tidemill.db.embedded_folder import free_port
from tidemill.errors import AccessRefused, ChangesGone, InvalidInput, NotFound, SiteUnavailable
from tidemill.feed import pruning
from tidemill.runner import runs
from tidemill.sdk import changes as following
from tidemill.sdk.changes import Changes
from tidemill.sdk.connection import Stale


@pytest.fixture
async def client(web: Web) -> AsyncIterator[Client]:
    with Client(web.url, web.key) as one:
        yield one


class Consumer:
    """A loop over the changes in a thread of its own, as a program has it."""

    def __init__(self, changes: Changes, work: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self.changes, self.work = changes, work
        self.numbers: list[int] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        try:
            for change in self.changes:
                self.numbers.append(change["position"])
                self.work(change)
        except Exception as error:
            self.error = error

    async def end(self) -> None:
        self.changes.stop()
        await asyncio.to_thread(self.thread.join, 60)
        assert not self.thread.is_alive()


def position(seq: str) -> list[int]:
    """A `seq` as it is compared: 10-1 comes after 9-1."""
    return [int(number) for number in seq.split("-")]


@asynccontextmanager
async def consuming(client: Client, *args: Any, **filters: Any) -> AsyncIterator[Consumer]:
    consumer = Consumer(client.changes(*args, **filters))
    try:
        yield consumer
    finally:
        await consumer.end()


async def insert(database: Database, numbers: range, kind: str = "task") -> None:
    connection = await database.connect()
    async with connection:
        for number in numbers:
            await connection.execute(INSERT, {"n": number, "kind": kind})
        await connection.execute("select pg_notify('tidemill_change', '')")


async def stands(web: Web, cursor: str) -> str | None:
    answer = await web.client.get(f"/api/cursors/{cursor}")
    return answer.json()["seq"] if answer.status_code == 200 else None


async def test_records_and_runs(client: Client, database: Database) -> None:
    rows = [{"name": f"i{n}", "metadata": {"n": n}} for n in range(3)] + [{"name": ""}]
    answers = await asyncio.to_thread(client.items.add, rows)
    assert [answer["outcome"] for answer in answers[:3]] == ["created"] * 3
    assert answers[3]["error"]
    edited = await asyncio.to_thread(lambda: client.items.patch("i1", metadata={"n": 5}, revision=1))
    assert edited["revision"] == 2
    with pytest.raises(Stale) as stale:
        await asyncio.to_thread(lambda: client.items.patch("i1", status="bad", revision=1))
    assert stale.value.record["metadata"] == {"n": 5}
    record = (await asyncio.to_thread(client.items.get, "i1"))["item"]
    assert (record["status"], record["metadata"]) == ("good", {"n": 5})
    assert [row["name"] for row in await asyncio.to_thread(client.items.search, "i")] == ["i0", "i1", "i2"]
    with pytest.raises(NotFound):
        await asyncio.to_thread(client.items.get, "nobody")
    shot = await asyncio.to_thread(lambda: client.snapshot(fields={"n": 5}))
    assert [one["name"] for one in shot["items"]] == ["i1"]

    made = await make_run(database, items=2)
    run = await asyncio.to_thread(lambda: client.runs.start(made.batch, made.pipeline, paused=True))
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(client.runs.wait, run["id"], 0)
    waiting = asyncio.create_task(asyncio.to_thread(client.runs.wait, run["id"]))
    async with database.begin() as session:
        await runs.cancel(session, run["id"])
        await runs.announce(session)
    assert (await waiting)["state"] == "cancelled"


async def test_who_is_not_let_in_is_told(web: Web) -> None:
    with Client(web.url, "wrong") as stranger:
        with pytest.raises(AccessRefused):
            await asyncio.to_thread(stranger.items.get, "i")
        async with consuming(stranger) as consumer:
            await until(lambda: consumer.error is not None)
        assert isinstance(consumer.error, AccessRefused)
    with pytest.raises(InvalidInput):
        Client("mill.example.org", "x")
    with Client("http://127.0.0.1:9", "x") as nowhere, pytest.raises(SiteUnavailable):
        await asyncio.to_thread(nowhere.items.search)


async def test_a_mistake_in_a_filter_is_raised_in_the_loop(client: Client) -> None:
    async with consuming(client, kind="tusk") as consumer:
        await until(lambda: consumer.error is not None)
    assert isinstance(consumer.error, InvalidInput)


async def test_a_change_is_acknowledged_when_the_next_is_asked_for(
    database: Database, web: Web, client: Client
) -> None:
    await insert(database, range(3))
    changes = client.changes("mine")
    first = await asyncio.to_thread(next, changes)
    assert await stands(web, "mine") is None, "it is still being worked on"
    second = await asyncio.to_thread(next, changes)
    await asyncio.to_thread(next, changes)
    waiting = asyncio.create_task(asyncio.to_thread(next, changes, None))
    await until(lambda: changes.last_seq is not None and position(changes.last_seq) > position(second["seq"]))

    async def saved() -> bool:
        return await stands(web, "mine") == changes.last_seq

    await until(saved, "the loop waits, so its position is handed in")
    changes.stop()
    assert await waiting is None
    assert first["position"] == 0
    await insert(database, range(3, 5))
    async with consuming(client, "mine") as consumer:
        await until(lambda: consumer.numbers == [3, 4], "it goes on where the other ended")


async def test_what_was_not_finished_comes_again(database: Database, web: Web, client: Client) -> None:
    await insert(database, range(5))

    def die_at_the_third() -> None:
        with client.changes("mine") as changes:
            for change in changes:
                if change["position"] == 2:
                    break

    await asyncio.to_thread(die_at_the_third)
    again = client.changes("mine")
    assert (await asyncio.to_thread(next, again))["position"] <= 2
    again.stop()


async def test_a_filtered_readers_position_moves_with_heartbeats(
    database: Database, web: Web, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT", 0.1)
    async with consuming(client, "quiet", kind="project") as consumer:
        await insert(database, range(3))
        await the_feed_tells_all(database)
        newest = (await web.client.get("/api/changes?since=now")).json()["last_seq"]

        async def there() -> bool:
            return await stands(web, "quiet") == newest

        await until(there)
        assert consumer.numbers == []


async def test_cuts_leave_no_gap_and_turn_nothing_back(database: Database, web: Web) -> None:
    """The connection is cut again and again, in the middle of what the site says, while writers go on."""
    written: dict[int, str] = {}
    async with proxied(f"{web.url}/") as proxy:
        told = 0

        def now_and_then(chunk: bytes) -> bool:
            nonlocal told
            if b'"seq"' not in chunk:
                return False
            told += 1
            return told % 2 == 0 and proxy.cuts < 12

        proxy.lose_answer = now_and_then
        with Client(proxy.url, web.key) as client:
            async with consuming(client, "mine") as consumer:
                await asyncio.gather(*(write(database, n, 40, written) for n in range(1, 7)))
                await until(lambda: len(consumer.numbers) >= len(written), "all has come", 60)
                async with asyncio.timeout(60):
                    for n in itertools.count(7):  # all may have come in a few chunks
                        if proxy.cuts >= 4:
                            break
                        await write(database, n, 2, written)
                        await until(lambda: len(consumer.numbers) >= len(written), "that has come", 60)
    assert set(consumer.numbers) == set(written)
    assert len(consumer.numbers) == len(written), "nothing comes twice"
    assert consumer.error is None


async def test_a_restart_of_the_site_is_waited_out(database: Database, database_url: str, tmp_path: Path) -> None:
    port = free_port(None)
    async with web_site(database, database_url, tmp_path, port=port) as web:
        client = Client(web.url, web.key)
        consumer = Consumer(client.changes("mine"))
        await insert(database, range(5))
        await until(lambda: consumer.numbers == [0, 1, 2, 3, 4])
    await insert(database, range(5, 9))  # nobody is there to hear it
    async with web_site(database, database_url, tmp_path, port=port) as web:
        await until(lambda: consumer.numbers == list(range(9)), "what came meanwhile")
        await insert(database, range(9, 12))
        await until(lambda: consumer.numbers == list(range(12)))
        await consumer.end()
        await the_feed_tells_all(database)
        newest = (await web.client.get("/api/changes?since=now")).json()["last_seq"]
        assert await stands(web, "mine") == newest
    with closing(client):
        assert consumer.error is None


async def test_two_with_one_cursor_leave_nothing_out_and_never_turn_it_back(
    database: Database, web: Web, client: Client
) -> None:
    written: dict[int, str] = {}
    seen: list[str] = []
    async with consuming(client, "shared") as one, consuming(client, "shared") as other:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write(database, 1, 60, written))
            while not writing.done():
                if (seq := await stands(web, "shared")) is not None:
                    seen.append(seq)
        await until(lambda: set(one.numbers) | set(other.numbers) >= set(written))
    assert seen == sorted(seen, key=position)
    await the_feed_tells_all(database)
    newest = (await web.client.get("/api/changes?since=now")).json()["last_seq"]
    assert await stands(web, "shared") == newest


async def test_a_loop_that_falls_behind_the_feed_is_told(database: Database, web: Web, client: Client) -> None:
    await insert(database, range(3))
    await the_feed_tells_all(database)
    async with database.begin() as session:
        await session.execute(text("update change set at = now() - interval '2 days'"))
        assert await pruning.prune(session, 1) == 3
    async with consuming(client) as consumer:
        await until(lambda: consumer.error is not None)
    assert isinstance(consumer.error, ChangesGone)


async def test_a_signal_stops_a_loop_that_waits(web: Web, tmp_path: Path) -> None:
    """In the main thread of a program, where the handler runs in the middle of the waiting."""
    program = tmp_path / "consumer.py"
    program.write_text(
        "import signal, sys\n"
        "from tidemill import Client\n"
        "changes = Client(sys.argv[1], sys.argv[2]).changes('mine', since='now')\n"
        "signal.signal(signal.SIGTERM, lambda *_: changes.stop())\n"
        "print('waiting', flush=True)\n"
        "for change in changes:\n    print(change)\n"
        "print('stopped', flush=True)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), web.url, web.key, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"waiting\n"
    process.send_signal(signal.SIGTERM)
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (said, process.returncode) == (b"stopped\n", 0)


async def test_a_loop_that_is_left_without_a_word_ends(database: Database, web: Web, client: Client) -> None:
    await insert(database, range(2))

    def leave() -> None:
        for _ in client.changes():
            break

    before = threading.active_count()
    await asyncio.to_thread(leave)
    await until(lambda: threading.active_count() <= before + 1, "its thread has ended")
