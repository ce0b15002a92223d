"""What all benchmarks share: a site with a no-op app, runs of it, and real workers in processes of their own."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from processes import peak_megabytes
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database
from tidemill.db.models import App, AppVersion, Batch, Pipeline, PipelineVersion, Step
from tidemill.executors.python import Step as Function
from tidemill.main import open_site
from tidemill.runner import runs
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore

PAYLOAD = "x" * 900
SLOTS = 500
DOCUMENTS = DocumentStore("file:///nonexistent", 1 << 20)
"""No document of a benchmark is large enough to leave the database."""


def noop(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A step that does nothing and puts out about 1 KB that no other step puts out."""
    step = document.get("step", 0) + 1
    return {
        "item": document["item"],
        "step": step,
        "series": parameters.get("series"),
        "begun": time.time(),
        "payload": PAYLOAD,
    }


async def napping(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same after about `seconds` of waiting: as many slots make as many steps a second, evenly."""
    await asyncio.sleep(float(parameters["seconds"]) * random.uniform(0.7, 1.3))
    return noop(document, parameters)


STEPS: dict[str, Any] = {"noop": Function(noop, inline=True), "napping": napping}


async def catalogue(database: Database, items: int) -> None:
    """Items, an app, a pipeline and a batch `all`, made as a site would have them."""
    async with database.begin() as session:
        app = await _app(session, "noop")
        await _app(session, "napping")
        session.add_all([Pipeline(name="chain"), Batch(name="all")])
        await session.flush()
        await _fill(session, "all", items)
        assert app.version_id is not None


async def _app(session: AsyncSession, name: str) -> App:
    app = App(name=name, kind="python", url=f"python:{name}", protocol="json")
    session.add(app)
    await session.flush()
    version = AppVersion(app_id=app.id, version="1", digest="0")
    session.add(version)
    await session.flush()
    app.version_id = version.id
    return app


async def _fill(session: AsyncSession, batch: str, items: int) -> None:
    """Make items and put them, and no others, into a batch."""
    found = (await session.scalars(select(Batch).where(Batch.name == batch))).one()
    connection = await session.connection()
    await connection.exec_driver_sql(
        "insert into item (name) select %s || '-' || lpad(n::text, 7, '0') from generate_series(1, %s) n",
        (batch, items),
    )
    await connection.exec_driver_sql(
        "insert into batch_item (batch_id, position, item_id)"
        " select %s, row_number() over (order by id) - 1, id from item where name like %s",
        (found.id, batch + "-%"),
    )


async def more(database: Database, batch: str, items: int) -> None:
    """Another batch, of items of its own."""
    async with database.begin() as session:
        session.add(Batch(name=batch))
        await session.flush()
        await _fill(session, batch, items)


async def define(
    database: Database, steps: int, series: int, app: str = "noop", parameters: Mapping[str, Any] | None = None
) -> None:
    """A new version of the pipeline; `series` in the parameters makes its outputs differ from all before."""
    async with database.begin() as session:
        pipeline = (await session.scalars(select(Pipeline).where(Pipeline.name == "chain"))).one()
        found = (await session.scalars(select(App).where(App.name == app))).one()
        numbers = select(PipelineVersion.number).where(PipelineVersion.pipeline_id == pipeline.id)
        latest = (await session.scalars(numbers.order_by(PipelineVersion.number.desc()))).first()
        version = PipelineVersion(pipeline_id=pipeline.id, number=(latest or 0) + 1)
        session.add(version)
        await session.flush()
        session.add_all(
            Step(
                pipeline_version_id=version.id,
                position=n,
                name=f"step{n}",
                app_id=found.id,
                parameters={"series": series} | dict(parameters or {}),
            )
            for n in range(steps)
        )
        pipeline.version_id = version.id


async def start(database: Database, batch: str = "all", *, paused: bool = False) -> tuple[int, float]:
    """Start a run as the product does; its id and the seconds until it was committed."""
    began = time.perf_counter()
    async with database.begin() as session:
        run = await runs.start(session, DOCUMENTS, runs.Start(batch, "chain", paused=paused))
        await runs.announce(session)
    return run, time.perf_counter() - began


async def resume(database: Database, run: int) -> None:
    async with database.begin() as session:
        await runs.pause(session, run, paused=False)


async def finished(url: str, run: int, limit: float = 600.0) -> None:
    """Wait until a run is done. Raises TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            row = await (await connection.execute("select state from run where id = %s", [run])).fetchone()
            if row is None or row[0] != "active":
                return
            await asyncio.sleep(0.02)


class WorkerProcess:
    """A real worker, as `tidemill worker` runs it, in a process of its own."""

    def __init__(self, url: str, slots: int = SLOTS, house: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(url, slots, house, theirs), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    async def stop(self) -> float:
        """Let it finish and leave; its peak memory in MB."""
        peak = peak_megabytes(self.pid)
        self._pipe.send("stop")
        await asyncio.to_thread(self._process.join, 30)
        if self._process.exitcode != 0:
            self._process.kill()
            raise RuntimeError(f"a worker ended with {self._process.exitcode}")
        return peak


@asynccontextmanager
async def workers(
    url: str, count: int, slots: int = SLOTS, *, house: bool = False
) -> AsyncIterator[list[WorkerProcess]]:
    """So many workers, listening for work. They must be stopped within; what is left at the end is ended.

    With `house` they also keep house, as `tidemill worker` does: items enter watching runs.
    """
    made = [WorkerProcess(url, slots, house) for _ in range(count)]
    try:
        async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            while await _listening(connection) < count * (2 if house else 1):
                if gone := [worker.pid for worker in made if not worker.alive]:
                    raise RuntimeError(f"worker {gone[0]} ended before it had work: see above")
                await asyncio.sleep(0.05)
        yield made
    finally:
        for worker in made:
            worker.kill()


async def _listening(connection: psycopg.AsyncConnection[Any]) -> int:
    row = await (
        await connection.execute(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and query = 'listen tidemill_work'"
        )
    ).fetchone()
    return int(row[0]) if row else 0


def _work(url: str, slots: int, house: bool, pipe: Connection) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
            settings = Settings(site=Path(folder), database_url=url)
            async with open_site(settings, migrate=False) as site:
                worker = site.worker(STEPS, slots)
                job = asyncio.create_task(worker.run())
                async with site.keeping_house() if house else nullcontext():
                    await asyncio.to_thread(pipe.recv)
                    worker.stop()
                    await job

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def spread(values: Sequence[float], digits: int = 0) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)] if ordered else float("nan")
