"""Starting a large run, and a worker's memory and pace while it runs, beside a small one.

python benchmarks/start.py --items 100000 --small 1000 --steps 3 --database URL
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import psycopg
from scratch import durability, must_be_durable, scratch_database
from workload import catalogue, define, finished, more, resume, spread, start, workers

from tidemill.db.database import Database

PACE = """
select (array_agg(n order by fifth))[1] / nullif((array_agg(n order by fifth))[5], 0)::float8 as seconds_first_to_last
from (
    select fifth, extract(epoch from max(finished_at) - min(finished_at)) as n
    from (
        select a.finished_at, ntile(5) over (order by a.finished_at) as fifth
        from attempt a join task t on t.id = a.task_id where t.run_id = %s
    ) tries group by fifth
) fifths
"""
DEAD = """
select n_dead_tup, n_live_tup, autovacuum_count,
       pg_relation_size('task') / 1e6, pg_relation_size('task_waiting_idx') / 1e6
from pg_stat_user_tables where relname = 'task'
"""


async def through(url: str, database: Database, batch: str, args: argparse.Namespace, series: int) -> dict[str, Any]:
    """Start a batch some times, run the last with one fresh worker; seconds to start and to run, peak memory (MB)."""
    steps, started = args.steps, []
    await define(database, steps, series)
    for _ in range(args.starts):
        run, seconds = await start(database, batch, paused=True)
        started.append(seconds)
    async with workers(url, 1) as (worker,):
        began = time.perf_counter()
        await resume(database, run)
        await finished(url, run)
        seconds = time.perf_counter() - began
        peak = await worker.stop()
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select total, (select count(*) from task where run_id = r.id and state = 'done') from run r where id = %s",
            [run],
        ).fetchone()
        assert row is not None
        assert row[0] == row[1], f"of {row[0]} items {row[1]} are done"
        pace = connection.execute(PACE, [run]).fetchone()
    return {
        "items": row[0],
        "start_seconds": spread(started, 2),
        "run_seconds": round(seconds, 2),
        "steps_per_second": round(row[0] * steps / seconds),
        "last_fifth_to_first": round(float(pace[0]), 2) if pace and pace[0] else 0.0,
        "worker_peak_mb": round(peak, 1),
    }


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    async with scratch_database(args.database) as (url, database):
        settings = durability(url)
        must_be_durable(settings)
        await catalogue(database, args.items)
        await more(database, "few", args.small)
        small = await through(url, database, "few", args, 1)
        large = await through(url, database, "all", args, 2)
        await asyncio.sleep(1)
        with psycopg.connect(url) as connection:
            row = connection.execute(DEAD).fetchone()
    assert row is not None
    names = ("dead_rows", "live_rows", "autovacuums", "table_mb", "waiting_index_mb")
    return {
        "measure": "start",
        "steps": args.steps,
        "large": large,
        "small": small,
        "task_table": {name: round(float(value), 1) for name, value in zip(names, row, strict=True)},
        "database": settings,
    }


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--starts", type=int, default=3, help="how often each run is started")
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    return parser


if __name__ == "__main__":
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    print(json.dumps(asyncio.run(measure(arguments(described).parse_args())), indent=2))
