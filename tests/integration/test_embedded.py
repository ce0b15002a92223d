"""The embedded PostgreSQL: first start, sharing, places that the server's user cannot reach, and refusals."""

# ruff: noqa: ASYNC220 - a pipe to another process is made at once

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest

import tidemill
from tidemill.db.embedded import EmbeddedServer
from tidemill.db.embedded_binaries import MODULE, packaged_binaries
from tidemill.db.embedded_cluster import shared_buffers
from tidemill.db.embedded_folder import free_port, servers_in
from tidemill.errors import EmbeddedServerError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
Make = Callable[..., EmbeddedServer]

USE_IT = """
import asyncio, sys
from pathlib import Path
import psycopg
from tidemill.db.embedded import EmbeddedServer

async def use():
    server = EmbeddedServer(Path(sys.argv[1]), cache=Path(sys.argv[2]) if sys.argv[2:] else None)
    url = await server.start()
    with psycopg.connect(url) as connection:
        print(url, connection.execute("SHOW data_directory").fetchone()[0], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()

asyncio.run(use())
"""


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes servers in the test's folder and stops them all at the end."""
    made: list[EmbeddedServer] = []

    def one(folder: Path | None = None, *, durable: bool = False) -> EmbeddedServer:
        made.append(EmbeddedServer(folder or tmp_path / "site" / "database", durable=durable))
        return made[-1]

    yield one
    for server in made:
        await server.stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are closed to all but their owner."""
    folder = Path(tempfile.mkdtemp(prefix="tidemill-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def ask(url: str, sql: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(sql).fetchone()
    assert row is not None
    return row[0]


def python_for_all() -> str:
    """A Python of this version that every user can run: root's own is often in root's home."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        resolved = Path(python).resolve()
        if resolved.exists() and all(p.stat().st_mode & 0o001 for p in resolved.parents):
            return python
    pytest.skip("an ordinary user can reach no Python of this version")


def other_process(
    *arguments: Path, path: Path | None = None, python: str = sys.executable, **how: object
) -> subprocess.Popen[str]:
    """Another process of the site; it prints the address, and lets go at the end of its standard input."""
    searched = os.pathsep.join(str(p) for p in (path, Path(tidemill.__file__).parents[1]) if p)
    return subprocess.Popen(
        [python, "-c", USE_IT, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": searched}, **how,  # type: ignore[call-overload]
    )  # fmt: skip


async def test_first_start_gives_a_database_that_is_private_and_utf8(make: Make) -> None:
    server = make(durable=True)
    url = await server.start()
    assert await server.start() == url == await server.url()
    assert ask(url, "SELECT current_user || '@' || current_database()") == "app@tidemill"
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert [ask(url, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "timezone")] == ["on", "on", "UTC"]
    assert ask(url, "SHOW listen_addresses") == "127.0.0.1"
    # Ours is random, and quickly checked; what people think of may not be.
    assert ask(url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'").startswith("SCRAM-SHA-256$1:")
    assert ask(url, "SHOW scram_iterations") == "4096"
    password = server.folder / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password.read_text(), "guess"))


async def test_data_port_and_password_outlast_a_stop(make: Make) -> None:
    server = make()
    url = await server.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    await server.stop()
    assert servers_in(server.folder / "data") == []
    assert await server.start() == url
    assert ask(url, "SELECT n FROM kept") == 42
    assert "not properly shut down" not in (server.folder / "server.log").read_text()


async def test_a_taken_port_is_exchanged_for_another(make: Make) -> None:
    server = make()
    url = await server.start()
    await server.stop()
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    taker = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port)
    async with taker:
        assert await server.start() != url
        assert ask(await server.url(), "SELECT 1") == 1


async def test_the_last_process_that_lets_go_stops_the_server(make: Make) -> None:
    first = make()
    url = await first.start()
    second = other_process(first.folder)
    assert second.stdout is not None
    assert (await asyncio.to_thread(second.stdout.readline)).split()[0] == url
    await first.stop()
    assert ask(url, "SELECT 1") == 1  # the one that started it is gone, the other still uses it
    _, complaint = await asyncio.to_thread(second.communicate, "")
    assert (second.returncode, complaint) == (0, "")
    assert servers_in(first.folder / "data") == []


async def test_many_first_starts_at_once_make_one_database(make: Make, tmp_path: Path) -> None:
    others = [other_process(tmp_path / "site" / "database") for _ in range(3)]
    try:
        url = await make().start()
        for other in others:
            assert other.stdout is not None
            assert (await asyncio.to_thread(other.stdout.readline)).split()[0] == url
        assert len({ask(url, "SELECT pg_postmaster_start_time()")}) == 1
        log = (tmp_path / "site" / "database" / "server.log").read_text()
        assert log.count("database system is ready to accept connections") == 1
    finally:
        for other in others:
            await asyncio.to_thread(other.communicate, "")


async def test_a_user_that_joins_while_the_server_stops_gets_a_new_one(make: Make) -> None:
    first, second = make(), make()
    url = await first.start()
    _, again = await asyncio.gather(first.stop(), second.start())
    assert again == url
    assert ask(url, "SELECT 1") == 1


@as_root
async def test_parents_closed_to_the_servers_user_stay_closed(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    installed = closed / "packages"
    package = packaged_binaries().parent.parent
    shutil.copytree(package, installed / MODULE)
    shutil.copytree(package.with_name(f"{MODULE}.libs"), installed / f"{MODULE}.libs")
    cache = open_folder / "cache"
    user = other_process(closed / "site" / "database", cache, path=installed)
    said, complaint = await asyncio.to_thread(user.communicate, "")
    assert complaint == ""
    assert said.split()[1].startswith("/proc/self/fd/")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    copies = list(cache.glob("*/*/pginstall/bin/postgres"))
    assert len(copies) == 1
    assert copies[0].stat().st_uid == 0
    assert closed.joinpath("site", "database", "data").stat().st_uid not in (0,)


@as_root
async def test_an_ordinary_user_runs_it_as_themselves_and_root_can_join_later(make: Make, open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    switch = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    packages = Path(psycopg.__file__).parents[1]
    user = other_process(home / "site" / "database", python=python_for_all(), path=packages, **switch)
    said, complaint = await asyncio.to_thread(user.communicate, "")
    assert complaint == ""
    assert said.split()[1] == str(home / "site" / "database" / "data")
    server = make(home / "site" / "database")
    assert ask(await server.start(), "SELECT 1") == 1
    await server.stop()
    assert {path.stat().st_uid for path in (home / "site" / "database").iterdir()} == {65534}


async def test_a_first_start_that_was_cut_short_is_done_again(make: Make) -> None:
    server = make()
    half = server.folder / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert ask(await server.start(), "SELECT 1") == 1
    assert not half.exists()


async def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(make: Make) -> None:
    server = make()
    (server.folder / "data").mkdir(parents=True)
    (server.folder / "data" / "thesis.txt").write_text("the only copy")
    with pytest.raises(EmbeddedServerError, match="not a PostgreSQL data folder"):
        await server.start()
    assert (server.folder / "data" / "thesis.txt").read_text() == "the only copy"


async def test_data_of_another_major_version_is_refused(make: Make) -> None:
    server = make()
    url = await server.start()
    await server.stop()
    version = server.folder / "data" / "PG_VERSION"
    version.write_text("12\n")
    with pytest.raises(EmbeddedServerError, match="by PostgreSQL 12, and the embedded server is PostgreSQL 18"):
        await server.start()
    version.write_text("18\n")
    assert await server.start() == url


async def test_a_server_that_cannot_start_says_why_in_the_words_of_its_log(make: Make) -> None:
    server = make()
    await server.start()
    await server.stop()
    with (server.folder / "data" / "postgresql.conf").open("a") as file:
        file.write("max_connections = many\n")
    with pytest.raises(EmbeddedServerError, match='invalid value for parameter "max_connections": "many"'):
        await server.start()


async def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerError, match="Not a directory"):
        await EmbeddedServer(tmp_path / "file" / "database").start()


async def test_a_server_that_somebody_else_started_on_the_data_is_not_disturbed(make: Make) -> None:
    server = make()
    await server.start()
    await server.stop()
    data = server.folder / "data"
    owner = data.stat()
    switch = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    descriptor = os.open(data, os.O_RDONLY)
    arguments = ["-D", f"/proc/self/fd/{descriptor}", "-p", str(free_port(None)), "-c", "unix_socket_directories="]
    other = subprocess.Popen(
        [packaged_binaries() / "postgres", *arguments], pass_fds=[descriptor], stderr=subprocess.DEVNULL, cwd="/",
        **switch,  # type: ignore[call-overload]
    )  # fmt: skip
    try:
        while not (data / "postmaster.pid").exists() or "ready" not in (data / "postmaster.pid").read_text():
            assert other.poll() is None
            await asyncio.sleep(0.02)
        with pytest.raises(EmbeddedServerError, match=r"already exists"):
            await server.start()
        assert other.poll() is None
    finally:
        other.terminate()
        other.wait()
        os.close(descriptor)


async def test_the_state_file_holds_no_secret(make: Make) -> None:
    server = make()
    await server.start()
    state = json.loads((server.folder / "server.json").read_text())
    assert state["state"] == "ready"
    secret = (server.folder / "password").read_text()
    with contextlib.suppress(FileNotFoundError):
        assert secret not in (server.folder / "server.log").read_text()
    assert secret not in json.dumps(state)


def test_a_container_that_has_little_memory_gets_a_small_cache(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    unlimited = shared_buffers([limit])
    for text, size in (("536870912\n", 128), ("8589934592\n", 256), ("max\n", 512), ("9223372036854771712\n", 512)):
        limit.write_text(text)
        assert shared_buffers([tmp_path / "none", limit]) == min(unlimited, size)
