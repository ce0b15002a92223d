"""From a run's start to its first step, on an idle system; and what an idle worker costs.

    python benchmarks/latency.py --runs 120 --idle 20 --database URL

One run of one item at a time, through a real worker that NOTIFY wakes. The clock starts before the commit that starts
the run, and stops in the first line of the step: both on this machine's clock. Then the system is left alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from typing import Any

import psycopg
from processes import backends, cpu_seconds
from scratch import durability, must_be_durable, scratch_database
from workload import DOCUMENTS, catalogue, define, finished, percentile, workers

from tidemill.db.database import Database
from tidemill.runner import runs

BEGUN = """
select (d.body::json ->> 'begun')::float8 from attempt a join task t on t.id = a.task_id
join document d on d.sha256 = a.output where t.run_id = %s and a.outcome = 'done'
"""


async def one(url: str, database: Database, batch: str = "all") -> float:
    """Seconds from just before the commit of a run of one item to its step's first line."""
    async with database.begin() as session:
        run = await runs.start(session, DOCUMENTS, runs.Start(batch, "chain", reuse=False))
        await runs.announce(session)
        committed = time.time()
    await finished(url, run)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(BEGUN, [run])).fetchone()
    assert row is not None, f"run {run} has no finished step"
    return float(row[0]) - committed


async def idle(url: str, worker: int, seconds: float) -> dict[str, float | None]:
    """Shares of a core that an idle worker and its connections' backends take, in percent."""
    served = await asyncio.to_thread(backends, url)
    began, before = time.perf_counter(), (cpu_seconds([worker]), cpu_seconds(served) if served else None)
    await asyncio.sleep(seconds)
    passed, after = time.perf_counter() - began, (cpu_seconds([worker]), cpu_seconds(served) if served else None)
    shares = [
        None if a is None or b is None else round(100 * (a - b) / passed, 3) for a, b in zip(after, before, strict=True)
    ]
    return {"worker_percent": shares[0], "backends_percent": shares[1]}


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    async with scratch_database(args.database) as (url, database):
        settings = durability(url)
        must_be_durable(settings)
        await catalogue(database, 1)
        await define(database, 1, 1)
        async with workers(url, 1) as (worker,):
            await one(url, database)
            waits = []
            for _ in range(args.runs):
                await asyncio.sleep(random.uniform(0, 0.05))
                waits.append(1000 * await one(url, database))
            await database.close()
            await asyncio.sleep(2)
            shares = await idle(url, worker.pid, args.idle)
            await worker.stop()
    return {
        "measure": "latency",
        "runs": args.runs,
        "milliseconds": {
            "min": round(min(waits), 2),
            "median": round(statistics.median(waits), 2),
            "p95": round(percentile(waits, 0.95), 2),
            "max": round(max(waits), 2),
        },
        "idle": shares,
        "database": settings,
    }


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--runs", type=int, default=120)
    parser.add_argument("--idle", type=float, default=20, help="seconds to watch the idle worker for")
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    return parser


if __name__ == "__main__":
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    print(json.dumps(asyncio.run(measure(arguments(described).parse_args())), indent=2))
