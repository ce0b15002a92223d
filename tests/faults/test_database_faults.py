"""PostgreSQL stopped at once under load, connections cut, answers to commits lost on the way."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.faults.audit import audit, executed
from tests.faults.proxy import COMMITTED, proxied
from tests.faults.worker_process import steps
from tests.site import Mill

from tidemill.db import schema
from tidemill.db.database import Database
from tidemill.db.embedded import EmbeddedServer
from tidemill.storage.documents import DocumentStore

pytestmark = pytest.mark.fault

Json = dict[str, Any]


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A durable server of this test alone, so that no other test is disturbed."""
    server = EmbeddedServer(tmp_path / "site" / "database", durable=True)
    await asyncio.to_thread(schema.migrate, await server.start())
    yield server
    await server.stop()


async def test_postgresql_stopped_at_once_under_load_loses_nothing(
    own_server: EmbeddedServer, documents: DocumentStore, tmp_path: Path
) -> None:
    database, log = Database(own_server.ensure), tmp_path / "log"
    mill, functions = Mill(database, documents), steps(log, 0.02)
    run = await mill.start(items=250, steps=["a", "b", "c"], functions=functions, use=["f", "big", "f"], tries=50)
    async with mill.working(functions, slots=16) as one, mill.working(functions, slots=16) as other:
        for how in (signal.SIGQUIT, signal.SIGKILL, signal.SIGQUIT, signal.SIGQUIT):  # SIGQUIT: pg_ctl -m immediate
            seen = executed(log).total()
            await mill.until(lambda seen=seen: _is(executed(log).total() > seen + 80))
            os.kill(json.loads((own_server.folder / "server.json").read_text())["postgres"], how)
        async with asyncio.timeout(60):
            while one.in_hand or other.in_hand or executed(log).total() < 750:
                await asyncio.sleep(0.02)
        await own_server.ensure()
        await mill.until(mill.finished(run), seconds=60)
    assert await audit(database, documents, run) == {"done": 250}
    lost = Counter(a["outcome"] for a in await mill.attempts(run))
    assert lost["lost"] == lost["late"] == 0, "the workers lived: nothing that they had in hand was lost"
    await database.close()


async def test_connections_cut_all_the_time_lose_nothing(mill: Mill, worker_mill: Mill, tmp_path: Path) -> None:
    log = tmp_path / "log"
    functions = steps(log, 0.01)
    run = await mill.start(items=150, steps=["a", "b", "c"], functions=functions, use=["f", "big", "f"], tries=50)
    finished, cuts = mill.finished(run), 0
    async with worker_mill.working(functions, slots=16, poll=0.02):
        while cuts <= 40 and not await finished():  # no more, so that a slow machine gets to an end as well
            async with mill.database.begin() as session:
                cut = await session.execute(
                    text(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where application_name = 'cut me' and datname = current_database()"
                    )
                )
                cuts += len(cut.all())
            await asyncio.sleep(random.uniform(0.01, 0.1))
        await mill.until(finished, seconds=120)
    assert cuts > 10
    assert await audit(mill.database, mill.documents, run) == {"done": 150}
    assert {a["outcome"] for a in await mill.attempts(run)} == {"done"}


async def test_the_lost_answer_to_a_commit_changes_nothing(mill: Mill, database_url: str, tmp_path: Path) -> None:
    """What was handed in is not applied twice; what was claimed unheard is given back and costs no try."""
    log = tmp_path / "log"
    functions = steps(log, 0.005)
    run = await mill.start(items=100, steps=["a", "b", "c"], functions=functions, use=["f", "big", "f"], tries=1)
    async with proxied(database_url) as proxy:
        proxy.lose_answer = lambda chunk: COMMITTED in chunk and random.random() < 0.3
        async with _through(proxy.url, mill) as worker_mill, worker_mill.working(functions, slots=8, poll=0.02):
            await mill.until(mill.finished(run), seconds=300)
        assert proxy.cuts > 10
    assert await audit(mill.database, mill.documents, run) == {"done": 100}
    assert {a["outcome"] for a in await mill.attempts(run)} == {"done"}
    assert set(executed(log).values()) == {1}


async def test_a_claim_that_commits_after_its_worker_gave_up_on_it_is_given_back(
    mill: Mill, database_url: str, tmp_path: Path
) -> None:
    """The connection goes while the claim waits for a lock; the server commits it when nobody listens any more."""
    log = tmp_path / "log"
    functions = steps(log, 0.005)
    run = await mill.start(items=4, steps=["a"], functions=functions, use=["f"], tries=1, concurrency=4)
    waiting = text(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%lock_limited%'"
    )
    async with proxied(database_url) as proxy:
        proxy.cut_after = lambda chunk: b"lock_limited_apps" in chunk and proxy.cuts == 0
        async with _through(proxy.url, mill) as worker_mill:
            async with mill.database.begin() as blocker:
                await blocker.execute(text("select 1 from app for no key update"))
                job = asyncio.create_task(_work(worker_mill, functions, mill.finished(run)))
                await mill.until(lambda: _is(proxy.cuts == 1))
                await asyncio.sleep(0)
                async with mill.database.begin() as watcher:
                    while not (await watcher.execute(waiting)).scalar():
                        await asyncio.sleep(0.01)
            await job
    assert await audit(mill.database, mill.documents, run) == {"done": 4}
    assert {a["outcome"] for a in await mill.attempts(run)} == {"done"}
    assert set(executed(log).values()) == {1}


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


@pytest.fixture
async def worker_mill(mill: Mill, database_url: str) -> AsyncIterator[Mill]:
    """The same site over connections that the test can tell from its own."""
    async with _through(f"{database_url}?application_name=cut%20me", mill) as through:
        yield through


class _through:  # noqa: N801
    def __init__(self, url: str, mill: Mill) -> None:
        async def address() -> str:
            return url

        self._database = Database(address)
        self._mill = Mill(self._database, mill.documents)

    async def __aenter__(self) -> Mill:
        return self._mill

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()


async def _work(mill: Mill, functions: Any, until: Any) -> None:
    async with mill.working(functions, lease=120, poll=0.05):
        await mill.until(until, seconds=60)


async def _is(value: bool) -> bool:
    return value
