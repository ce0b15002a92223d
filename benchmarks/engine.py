"""Steps per second through the real worker: claim, do nothing, store 1 KB of JSON, make the next step ready.

    python benchmarks/engine.py --items 5000 --steps 3 --workers 1 --database URL

Beside it, in turns and in the same database, a yardstick: hand-written set SQL of the same durability that claims,
stores and finishes the same number of steps with nothing else around it. The ratio of the two is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import psycopg
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent))
from scratch import durability, scratch_database

from tidemill.db.database import Database
from tidemill.db.models import App, AppVersion, Base, Batch, Pipeline, PipelineVersion, Step
from tidemill.executors.python import PythonExecutor
from tidemill.executors.python import Step as Function
from tidemill.runner import runs
from tidemill.runner.worker import Pace, Worker
from tidemill.storage.documents import DocumentStore

PAYLOAD = "x" * 900
SLOTS = 500


def noop(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A step that does nothing and puts out about 1 KB that no other step puts out."""
    step = document.get("step", 0) + 1
    return {"item": document["item"], "step": step, "series": parameters.get("series"), "payload": PAYLOAD}


async def catalogue(database: Database, items: int, steps: int) -> None:
    """Items, an app, a pipeline and a batch, made as a site would have them."""
    async with database.begin() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(
            f"insert into item (name) select 'item-' || lpad(n::text, 7, '0') from generate_series(1, {items}) n"
        )
        app = App(name="noop", kind="python", url="python:noop", protocol="json")
        session.add(app)
        await session.flush()
        version = AppVersion(app_id=app.id, version="1", digest="0")
        pipeline = Pipeline(name="chain")
        batch = Batch(name="all")
        session.add_all([version, pipeline, batch])
        await session.flush()
        app.version_id = version.id
        await connection.exec_driver_sql(
            f"insert into batch_item (batch_id, position, item_id) select {batch.id}, row_number() over (order by id) - 1, id from item"
        )
        await define(session, pipeline, app, steps, series=0)


async def define(session: Any, pipeline: Pipeline, app: App, steps: int, series: int) -> None:
    """A new version of the pipeline; `series` in the parameters makes its outputs differ from all before."""
    version = PipelineVersion(pipeline_id=pipeline.id, number=series + 1)
    session.add(version)
    await session.flush()
    session.add_all(
        Step(pipeline_version_id=version.id, position=n, name=f"step{n}", app_id=app.id, parameters={"series": series})
        for n in range(steps)
    )
    pipeline.version_id = version.id


def work(url: str, ready: Any, go: Any) -> None:
    """One worker in a process of its own, until the run is done."""

    async def main() -> None:
        async def address() -> str:
            return url

        database = Database(address)
        executors = {"python": PythonExecutor({"noop": Function(noop, inline=True)})}
        worker = Worker(
            database,
            executors,
            DocumentStore("file:///nonexistent", 1 << 20),
            pace=Pace(slots=SLOTS),
            functions=("python:noop",),
        )
        ready.release()
        go.wait()
        job = asyncio.create_task(worker.run())
        while True:
            async with database.begin() as session:
                left = await (await session.connection()).exec_driver_sql(
                    "select count(*) from run where state = 'active'"
                )
                if not left.scalar():
                    break
            await asyncio.sleep(0.02)
        worker.stop()
        await job
        await database.close()

    asyncio.run(main(), loop_factory=uvloop.new_event_loop) if sys.version_info >= (3, 12) else uvloop.run(main())


async def product(url: str, database: Database, items: int, steps: int, workers: int, series: int) -> dict[str, float]:
    """Seconds to start a run of `items` and seconds to finish its steps."""
    from sqlalchemy import select

    async with database.begin() as session:
        pipeline = (await session.scalars(select(Pipeline))).one()
        app = (await session.scalars(select(App))).one()
        await define(session, pipeline, app, steps, series)
    began = time.perf_counter()
    async with database.begin() as session:
        run = await runs.start(session, DocumentStore("file:///nonexistent", 1 << 20), runs.Start("all", "chain"))
    started = time.perf_counter() - began
    spawn = multiprocessing.get_context("spawn")
    ready, go = spawn.Semaphore(0), spawn.Event()
    processes = [spawn.Process(target=work, args=(url, ready, go)) for _ in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        await asyncio.to_thread(ready.acquire)
    began = time.perf_counter()
    go.set()
    for process in processes:
        await asyncio.to_thread(process.join)
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select extract(epoch from max(a.finished_at) - min(a.started_at))::float8, count(*) filter (where outcome = 'done'),"
            " (select count(*) from task where run_id = %s and state = 'done')"
            " from attempt a join task t on t.id = a.task_id where t.run_id = %s",
            [run, run],
        ).fetchone()
    assert row is not None
    assert row[1] == items * steps, f"{row[1]} steps were done, not {items * steps}"
    assert row[2] == items
    return {"start": started, "seconds": row[0], "rate": items * steps / row[0]}


YARDSTICK_SCHEMA = """
drop table if exists y_task, y_result;
create table y_task (id bigint primary key, step smallint not null default 0, state smallint not null default 0) with (fillfactor = 70);
create table y_result (task bigint, step smallint, sha bytea, body text, primary key (task, step));
create index on y_task (id) where state = 0;
"""
YARDSTICK_CLAIM = """
update y_task set state = 1 where id in (select id from y_task where state = 0 order by id limit %(n)s for update skip locked)
returning id, step
"""
YARDSTICK_FINISH = """
with r as (select * from json_to_recordset(%(results)s::json) as r(task bigint, step smallint, sha text, body text)),
kept as (insert into y_result select task, step, decode(sha, 'hex'), body from r)
update y_task t set step = r.step + 1, state = case when r.step + 1 < %(steps)s then 0 else 2 end from r where t.id = r.task
"""


def yardstick(url: str, items: int, steps: int) -> float:
    """The same number of steps by hand-written set SQL, one connection, one commit per set: steps per second."""
    import hashlib

    with psycopg.connect(url, autocommit=True, prepare_threshold=1) as connection:
        connection.execute(YARDSTICK_SCHEMA.encode())
        connection.execute("insert into y_task (id) select generate_series(1, %s)", [items])
        connection.execute("analyze y_task")
        began = time.perf_counter()
        results: list[dict[str, Any]] = []
        while True:
            with connection.pipeline(), connection.transaction():
                if results:
                    connection.execute(YARDSTICK_FINISH, {"results": orjson.dumps(results).decode(), "steps": steps})
                cursor = connection.execute(YARDSTICK_CLAIM, {"n": SLOTS})
            claimed = cursor.fetchall()
            if not claimed:
                break
            results = []
            for task, step in claimed:
                body = orjson.dumps({"item": task, "step": step, "payload": PAYLOAD})
                results.append(
                    {"task": task, "step": step, "sha": hashlib.sha256(body).hexdigest(), "body": body.decode()}
                )
        return items * steps / (time.perf_counter() - began)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All rounds, product and yardstick in turns."""
    async with scratch_database(args.database) as (url, database):
        await catalogue(database, args.items, args.steps)
        rates, marks, starts = [], [], []
        for series in range(args.rounds):
            marks.append(await asyncio.to_thread(yardstick, url, args.items, args.steps))
            measured = await product(url, database, args.items, args.steps, args.workers, series + 1)
            rates.append(measured["rate"])
            starts.append(measured["start"])
            print(f"round {series + 1}: {rates[-1]:8,.0f} steps/s   yardstick {marks[-1]:8,.0f}", file=sys.stderr)
        return {
            "measure": "engine",
            "items": args.items,
            "steps": args.steps,
            "workers": args.workers,
            "steps_per_second": spread(rates),
            "yardstick_steps_per_second": spread(marks),
            "ratio": round(statistics.median(r / m for r, m in zip(rates, marks, strict=True)), 2),
            "start_seconds": spread(starts, 3),
            "database": durability(url),
            "cores": os.cpu_count(),
        }


def spread(values: list[float], digits: int = 0) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--database", help="a PostgreSQL URL whose user may create databases; default: an embedded server"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    args = parser.parse_args()
    found = asyncio.run(measure(args))
    if args.json:
        print(json.dumps(found))
        return
    rate, mark = found["steps_per_second"], found["yardstick_steps_per_second"]
    print(
        f"PostgreSQL {found['database']['server_version']}, fsync {found['database']['fsync']}, "
        f"synchronous_commit {found['database']['synchronous_commit']}, {found['cores']} cores, {args.workers} worker(s)"
    )
    print(f"Tidemill   {rate['median']:8,.0f} steps/s   ({rate['min']:,.0f} to {rate['max']:,.0f})")
    print(
        f"yardstick  {mark['median']:8,.0f} steps/s   ({mark['min']:,.0f} to {mark['max']:,.0f})   hand-written set SQL"
    )
    print(f"ratio      {found['ratio']:.2f}")


if __name__ == "__main__":
    main()
