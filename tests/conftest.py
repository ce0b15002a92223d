"""Fixtures shared by all rooms: a real PostgreSQL, and a fresh database cloned from a template for every test."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.ahead import Ahead
from tests.ceph import ceph, moto, quick_s3, s3  # noqa: F401 - fixtures for all
from tests.portal import atlas_folder, portal_site, portal_web  # noqa: F401 - likewise
from tests.portal_catalogue import laid  # noqa: F401 - likewise
from tests.webserver import Web, client_of, web_site
from tidemill.db import schema
from tidemill.db.database import Database
from tidemill.db.embedded import EmbeddedServer
from tidemill.storage.documents import DocumentStore

TEMPLATE = "tidemill_template"
_CLONING = {True: "strategy file_copy", False: ""}
"""The quicker way where nothing need reach a disk; PostgreSQL 14 knows no other."""
_AHEAD = pytest.StashKey[Ahead]()

# How long something takes says how busy the machine is, not that it is wrong.
# All runs try the same examples; to look for others: pytest --hypothesis-profile=chance
for _name, _same in (("unhurried", True), ("chance", False)):
    hypothesis_settings.register_profile(
        _name, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=_same
    )
hypothesis_settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL whose template database has the newest schema.

    One embedded server for all of pytest's processes; `TIDEMILL_TEST_DATABASE_URL` names another (a superuser's URL).
    """
    given = os.environ.get("TIDEMILL_TEST_DATABASE_URL")
    if given:
        with _locked(tmp_path_factory):
            _make_template(given)
        yield given
        return
    embedded = EmbeddedServer(_server_folder(_shared_folder(tmp_path_factory)) / "postgres", durable=False)
    url = asyncio.run(embedded.start())
    with _locked(tmp_path_factory):
        _make_template(url)
    yield url
    asyncio.run(embedded.stop())


def _shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all of pytest's processes of this session have in common."""
    base = factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


def _server_folder(shared: Path) -> Path:
    """Where this session's server keeps its data: in memory where that is possible, since each test makes and drops a
    database of six hundred files."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 4 << 30:
        return shared
    # The name alone comes again once the folder for temporary files has been emptied, and this one has not.
    with (shared / "began").open("a") as began:
        moment = os.fstat(began.fileno()).st_mtime_ns
    folder = memory / f"tidemill-tests-{os.getuid()}" / f"{shared.name}-{moment}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pytest_collection_finish() -> None:
    """A process of tests holds half a gigabyte: what is there by now is looked at no more for what could be freed, and
    the rest seldom. That was a fifth of the work."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin what takes long, if all tests are to run."""
    config = session.config
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.collectonly
    if whole and not os.environ.get("PYTEST_XDIST_WORKER"):
        shared: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        config.stash[_AHEAD] = Ahead(Path(os.environ.get("TIDEMILL_TEST_CEPH") or shared / "ceph"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was skipped, and why: nobody should take a room for tried that was passed by."""
    skipped: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not (why := why.removeprefix("Skipped: ")).startswith("does not apply"):
            skipped[report.nodeid.partition("::")[0], why] += 1
    if skipped:
        terminalreporter.section(f"NOT TRIED HERE: {skipped.total()} tests were skipped", "!", yellow=True, bold=True)
        for (file, why), number in sorted(skipped.items()):
            terminalreporter.line(f"{number:4} of {file}: {why}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take the server's data out of memory, once it has stopped."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return
    if ahead := session.config.stash.get(_AHEAD, None):
        ahead.end()
    shared: Path = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    folder = _server_folder(shared)
    if folder == shared:
        return
    ends = time.monotonic() + 15
    while any(folder.rglob("postmaster.pid")) and time.monotonic() < ends:
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


class _locked:  # noqa: N801
    """One pytest process at a time."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._path = _shared_folder(factory) / "template.lock"

    def __enter__(self) -> None:
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _make_template(url: str) -> None:
    with psycopg.connect(_with_database(url, "postgres"), autocommit=True) as connection:
        if connection.execute("select 1 from pg_database where datname = %s", [TEMPLATE]).fetchone():
            return
        connection.execute("create database tidemill_template_new")
        schema.migrate(_with_database(url, "tidemill_template_new"))
        connection.execute(f"alter database tidemill_template_new rename to {TEMPLATE}".encode())


def _with_database(url: str, name: str) -> str:
    return url.rsplit("/", 1)[0] + "/" + name


@pytest.fixture(scope="session")
def administrator(server: str) -> Iterator[psycopg.Connection[Any]]:
    """Makes and drops the databases of this process's tests."""
    with psycopg.connect(_with_database(server, "postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def database_url(server: str, administrator: psycopg.Connection[Any]) -> Iterator[str]:
    """The address of a fresh database with the newest schema."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    cloning = _CLONING[administrator.info.server_version >= 150000]
    administrator.execute(f"create database {name} template {TEMPLATE} {cloning}".encode())
    yield _with_database(server, name)
    _drop(administrator, name)


def _drop(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a database; on a busy machine those who are in it may take longer to go than the server waits for them."""
    for last in (False, False, False, True):
        try:
            connection.execute(f"drop database {name} with (force)".encode())
            return
        except psycopg.errors.ObjectInUse:
            if last:
                raise


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async def address() -> str:
        return database_url

    database = Database(address)
    yield database
    await database.close()


@pytest.fixture
def documents(tmp_path: Path) -> DocumentStore:
    """A store of large documents in a folder; more than 4 KB counts as large here."""
    return DocumentStore((tmp_path / "documents").as_uri(), 4096)


@pytest.fixture
async def web(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Web]:
    """A site that is being served, with the key to it."""
    async with web_site(database, database_url, tmp_path / "site") as web:
        yield web


@pytest.fixture
async def nobody(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that site without a key."""
    async with client_of(web.url) as client:
        yield client
