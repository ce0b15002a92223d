"""From the insert of a record to the start of its first step, in a watching run on an idle system.

    python benchmarks/arrival.py --inserts 300 --items 1000000 --database URL

The databases are those of `scale.py`: an empty one, and one with a million items, whose own watching run looks at each
insert, too. On each there is one idle worker that keeps house, as `tidemill worker` does. Records are inserted one at a
time, at random moments, here and there in turns. The clock starts just before the commit and stops in the first
line of the step: both on this machine's clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from scale import Place, place
from scratch import durability, must_be_durable, server
from workload import define, percentile, spread, workers

from tidemill.domain.conditions import Condition
from tidemill.pipelines.watching import WatchWish
from tidemill.runner import watch_steering

BEGUN = """
select (d.body::json ->> 'begun')::float8 from item i join task t on t.item_id = i.id
join attempt a on a.task_id = t.id and a.outcome = 'done' join document d on d.sha256 = a.output where i.name = %s
"""
LIMIT = 30.0
"""Seconds after which an item counts as missed."""


async def watch(here: Place) -> None:
    """A watching run for what this benchmark inserts, through one no-op step."""
    await define(here.database, 1, time.time_ns())
    async with here.database.begin() as session:
        wish = WatchWish("arrivals", "chain", Condition.from_json({"require": ["arrival"]}))
        await watch_steering.start(session, wish)


async def one(connection: psycopg.AsyncConnection[Any]) -> float:
    """Seconds from just before the commit of a new item to its step's first line."""
    name = f"arrival-{time.time_ns()}"
    async with connection.transaction():
        await connection.execute(
            "insert into item (name, metadata) values (%s, jsonb_build_object('arrival', true, 'run', 7,"
            " 'conditions', jsonb_build_object('temperature', 21.5), 'comment', repeat('taken by night; ', 50)))",
            [name],
        )
        committed = time.time()
    async with asyncio.timeout(LIMIT):
        while True:
            row = await (await connection.execute(BEGUN, [name])).fetchone()
            if row is not None:
                return float(row[0]) - committed
            await asyncio.sleep(0.01)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(server(args.database, args.keep))
        settings = durability(admin)
        must_be_durable(settings)
        connections = {}
        for name, items in (("tidemill_scale_empty", 0), (f"tidemill_scale_{args.items}", args.items)):
            here = await stack.enter_async_context(place(admin, name, items, pages=False))
            await watch(here)
            (worker,) = await stack.enter_async_context(workers(here.url, 1, house=True))
            stack.push_async_callback(worker.stop)
            connection = await psycopg.AsyncConnection.connect(here.url, autocommit=True)
            connections[name] = await stack.enter_async_context(connection)
        waits: dict[str, list[float]] = {name: [] for name in connections}
        await asyncio.sleep(args.settle)  # both watching runs look at all items once
        for nth in range(args.inserts + 5):
            for name in random.sample(list(connections), 2):
                await asyncio.sleep(random.uniform(0, 0.2))
                took = 1000 * await one(connections[name])
                if nth >= 5:
                    waits[name].append(took)
    return {
        "measure": "arrival",
        "inserts": args.inserts,
        "milliseconds": {
            name: spread(took, 2) | {"p95": round(percentile(took, 0.95), 2)}
            for name, took in zip(("empty", "full"), waits.values(), strict=True)
        },
        "database": settings,
    }


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=1_000_000, help="items in the full database")
    parser.add_argument("--inserts", type=int, default=300, help="into each")
    parser.add_argument("--settle", type=float, default=20, help="seconds before the first insert")
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    parser.add_argument("--keep", type=Path, help="a folder for an embedded server whose filled databases stay")
    return parser


if __name__ == "__main__":
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(arguments(described).parse_args())), indent=2))
