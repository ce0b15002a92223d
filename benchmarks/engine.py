"""Steps per second through the real worker: claim, do nothing, store 1 KB of JSON, make the next step ready.

    python benchmarks/engine.py --items 5000 --steps 3 --workers 1 --database URL

A paused run is made; real workers listen; the run is resumed, and the clock runs until the run is done. The seconds
are the larger of two: what a person waits from the resume to "done", and the span of the attempts' own times in the
database. Beside it, in turns and in the same database, two yardsticks of hand-written set SQL (see yardstick.py):
`full` keeps the same information as durably, `bare` a state and a result. The ratio is that to `full`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from typing import Any

import psycopg
import yardstick
from scratch import durability, must_be_durable, scratch_database
from workload import catalogue, define, finished, resume, spread, start, workers

from tidemill.db.database import Database

CHECK = """
select count(*) filter (where a.outcome = 'done') as steps,
       count(distinct a.output) as documents,
       min(d.size) as least, max(d.size) as most,
       count(*) filter (where sha256(convert_to(d.body, 'UTF8')) <> d.sha256) as broken,
       extract(epoch from max(a.finished_at) - min(a.started_at))::float8 as seconds,
       (select count(*) from task where run_id = %(run)s and state = 'done') as items,
       (select count(*) from change where run_id = %(run)s and kind = 'task') as changes
from attempt a join task t on t.id = a.task_id left join document d on d.sha256 = a.output
where t.run_id = %(run)s
"""


async def product(url: str, database: Database, args: argparse.Namespace, series: int) -> dict[str, float]:
    """One round: seconds to start the run, seconds until its steps were done, the workers' peak memory (MB)."""
    await define(database, args.steps, series)
    run, started = await start(database, paused=True)
    async with workers(url, args.workers, args.slots) as made:
        began = time.perf_counter()
        await resume(database, run)
        await finished(url, run)
        waited = time.perf_counter() - began
        peak = max([await worker.stop() for worker in made])
    seconds = max(waited, checked(url, run, args.items, args.steps))
    return {"start": started, "seconds": seconds, "rate": args.items * args.steps / seconds, "peak": peak}


def checked(url: str, run: int, items: int, steps: int) -> float:
    """See that every step was done once and its own document is there, whole; the seconds that the attempts span."""
    with psycopg.connect(url) as connection:
        row = connection.execute(CHECK, {"run": run}).fetchone()
    assert row is not None
    done, documents, least, most, broken, seconds, finals, changes = row
    due = items * steps
    assert done == due, f"{done} steps were done, not {due}"
    assert documents == due, f"{documents} documents were kept, not {due}"
    assert finals == items, f"{finals} items are done, not {items}"
    assert 900 <= least <= most <= 1100, f"documents have {least} to {most} bytes, not about 1 KB"
    assert not broken, f"{broken} documents do not match their SHA-256"
    assert changes >= 2 * due, f"{changes} changes were noted, not {2 * due}"
    return float(seconds)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All rounds, product and yardsticks in turns."""
    rounds: list[dict[str, float]] = []
    full: list[float] = []
    bare: list[float] = []
    async with scratch_database(args.database) as (url, database):
        settings = durability(url)
        must_be_durable(settings)
        await catalogue(database, args.items)
        for series in range(1, args.rounds + 1):
            for mark, found in ((yardstick.FULL, full), (yardstick.BARE, bare)):
                sizes = (args.items, args.steps, args.workers)
                found.append(await asyncio.to_thread(yardstick.measure, url, mark, *sizes))
            rounds.append(await product(url, database, args, series))
            rate = rounds[-1]["rate"]
            print(
                f"round {series}: {rate:8,.0f} steps/s   full {full[-1]:8,.0f}   bare {bare[-1]:8,.0f}", file=sys.stderr
            )
    rates = [one["rate"] for one in rounds]
    return {
        "measure": "engine",
        "items": args.items,
        "steps": args.steps,
        "workers": args.workers,
        "slots": args.slots,
        "steps_per_second": spread(rates),
        "yardstick_steps_per_second": spread(full),
        "bare_yardstick_steps_per_second": spread(bare),
        "ratio": round(statistics.median(r / m for r, m in zip(rates, full, strict=True)), 2),
        "ratio_to_bare": round(statistics.median(r / m for r, m in zip(rates, bare, strict=True)), 2),
        "seconds": spread([one["seconds"] for one in rounds], 2),
        "start_seconds": spread([one["start"] for one in rounds], 3),
        "worker_peak_mb": spread([one["peak"] for one in rounds]),
        "database": settings,
        "cores": os.cpu_count(),
    }


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--slots", type=int, default=500, help="attempts that a worker has in hand at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    return parser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args = arguments(parser).parse_args()
    found = asyncio.run(measure(args))
    if args.json:
        print(json.dumps(found))
        return
    settings = found["database"]
    print(
        f"PostgreSQL {settings['server_version']}, fsync {settings['fsync']}, synchronous_commit"
        f" {settings['synchronous_commit']}, {found['cores']} cores, {args.workers} worker(s) of {args.slots} slots"
    )
    for name, key, note in (
        ("Tidemill", "steps_per_second", f"peak memory of a worker {found['worker_peak_mb']['max']:.0f} MB"),
        ("full", "yardstick_steps_per_second", "hand-written set SQL, same durability and same information"),
        ("bare", "bare_yardstick_steps_per_second", "hand-written set SQL, same durability, state and result only"),
    ):
        rate = found[key]
        print(f"{name:9} {rate['median']:8,.0f} steps/s   ({rate['min']:,.0f} to {rate['max']:,.0f})   {note}")
    print(f"ratio     {found['ratio']:.2f} of full, {found['ratio_to_bare']:.2f} of bare")


if __name__ == "__main__":
    main()
