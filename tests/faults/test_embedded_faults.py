"""The embedded PostgreSQL when its parts are killed with -9: it comes back, and every acknowledged row is there."""

# ruff: noqa: ASYNC220 - what is waited for happens in other processes, which set no Event

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

import tidemill
from tidemill.db.embedded import EmbeddedServer
from tidemill.db.embedded_folder import open_lock, servers_in, try_lock

pytestmark = pytest.mark.fault

HOLD_IT = """
import asyncio, sys
from pathlib import Path
from tidemill.db.embedded import EmbeddedServer

async def hold():
    print(await EmbeddedServer(Path(sys.argv[1])).start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(hold())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "site" / "database")
    await server.start()
    yield server
    await server.stop()
    assert servers_in(server.folder / "data") == []


class Writer:
    """Inserts numbers one by one, over lost connections, and remembers which were acknowledged."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.acknowledged: list[int] = []
        self._next = 0

    async def write(self) -> None:
        url = await self.server.url()
        while True:
            with suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                    await connection.execute("CREATE TABLE IF NOT EXISTS numbers (n int)")
                    while True:
                        self._next += 1
                        await connection.execute("INSERT INTO numbers VALUES (%s)", [self._next])
                        self.acknowledged.append(self._next)
            url = await self.server.ensure()

    async def more(self, count: int) -> None:
        goal = len(self.acknowledged) + count
        while len(self.acknowledged) < goal:
            await asyncio.sleep(0.005)


def state(server: EmbeddedServer) -> dict[str, int]:
    found: dict[str, int] = json.loads((server.folder / "server.json").read_text())
    return found


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def until_free(server: EmbeddedServer, name: str) -> None:
    lock = open_lock(server.folder, name)
    while not try_lock(lock):
        await asyncio.sleep(0.01)
    os.close(lock)


def victims(server: EmbeddedServer, what: str) -> list[int]:
    postmaster, supervisor = state(server)["postgres"], state(server)["pid"]
    running = servers_in(server.folder / "data")
    backends = [pid for pid in running if pid != postmaster]
    return {
        "postmaster": [postmaster],
        "backends": backends,
        "supervisor": [supervisor],
        "supervisor and postmaster": [supervisor, postmaster],
        "everything": [supervisor, *running],
    }[what]


@pytest.mark.parametrize("what", ["postmaster", "backends", "supervisor", "supervisor and postmaster", "everything"])
async def test_acknowledged_rows_survive_a_kill(server: EmbeddedServer, what: str) -> None:
    writer = Writer(server)
    url = await server.url()
    async with asyncio.timeout(60):
        writing = asyncio.create_task(writer.write())
        for _ in range(2):
            await writer.more(100)
            kill(*victims(server, what))
        await writer.more(100)
        writing.cancel()
        await asyncio.wait([writing])
    assert await server.ensure() == url
    with psycopg.connect(url) as connection:
        kept = {n for (n,) in connection.execute("SELECT n FROM numbers")}
    assert len(writer.acknowledged) >= 300
    assert set(writer.acknowledged) <= kept


async def test_a_busy_orphan_of_a_killed_postmaster_does_not_block_the_next(server: EmbeddedServer) -> None:
    url = await server.url()
    busy = await psycopg.AsyncConnection.connect(url)
    endless = asyncio.create_task(busy.execute("DO $$ BEGIN LOOP END LOOP; END $$"))  # it never looks
    async with asyncio.timeout(60):
        with psycopg.connect(url, autocommit=True) as connection:
            while not connection.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'DO %'").fetchone():
                await asyncio.sleep(0.01)
        kill(state(server)["postgres"])
        with psycopg.connect(await server.ensure()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            await endless


async def test_many_processes_take_over_at_once(server: EmbeddedServer) -> None:
    others = [EmbeddedServer(server.folder) for _ in range(4)]
    url = await server.url()
    assert {await other.start() for other in others} == {url}
    old = state(server)
    kill(*victims(server, "everything"))
    assert set(await asyncio.gather(*(s.ensure() for s in [server, *others]))) == {url}
    assert state(server)["postgres"] != old["postgres"]
    for other in others:
        await other.stop()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_watch_brings_the_server_back_unasked(server: EmbeddedServer) -> None:
    old = state(server)
    watching = asyncio.create_task(server.watch())
    kill(*victims(server, "everything"))
    async with asyncio.timeout(60):
        while state(server).get("postgres", old["postgres"]) == old["postgres"]:
            await asyncio.sleep(0.02)
    watching.cancel()


async def test_the_server_stops_in_order_when_its_only_user_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "database"
    source = os.environ | {"PYTHONPATH": str(Path(tidemill.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_IT, str(folder)], stdout=subprocess.PIPE, text=True, env=source
    ) as user:
        assert user.stdout is not None
        url = await asyncio.to_thread(user.stdout.readline)
        assert url.startswith("postgresql://app:")
        user.kill()
    async with asyncio.timeout(60):
        await until_free(EmbeddedServer(folder), "supervisor.lock")
    assert servers_in(folder / "data") == []
    assert "database system is shut down" in (folder / "server.log").read_text()


async def test_a_first_start_killed_in_the_middle_is_done_again(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "database", durable=False)
    starting = asyncio.create_task(server.start())
    async with asyncio.timeout(60):
        while not (server.folder / "data.new" / "PG_VERSION").exists():
            await asyncio.sleep(0.005)
        kill(state(server)["pid"])
        url = await starting  # the same call sees the supervisor gone and starts over
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("tidemill",)
    await server.stop()


async def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(server: EmbeddedServer) -> None:
    url = await server.url()
    await server.stop()
    stale = server.folder / "data" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{server.folder / 'data'}\n1\n1\n\n127.0.0.1\n0 0\nready\n")
    owner = stale.parent.stat()
    os.chown(stale, owner.st_uid, owner.st_gid)
    assert await server.start() == url


async def test_the_server_stops_in_order_when_its_supervisor_is_killed(server: EmbeddedServer) -> None:
    url = await server.url()
    kill(state(server)["pid"])
    async with asyncio.timeout(60):
        await until_free(server, "postgres.lock")
    assert "database system is shut down" in (server.folder / "server.log").read_text()
    assert await server.ensure() == url
