"""What a million items and five million finished steps cost: per step, per page, per feed read.

    python benchmarks/scale.py --items 1000000 --rounds 15 --database URL

Two databases on one server, measured in turns, a request here and the same one there: an *empty* one, which holds one
run of 20,000 items (what a page shows of a run at once) and nothing else, and a *full* one, which holds the same and a
watching run with all the rest. Every line's ratio is that of the medians; it should be at most 1.5.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filling
import httpx2
import psycopg
import uvloop
from latency import one
from pages import web
from scratch import durability, must_be_durable, server, with_database
from workload import catalogue, define, finished, percentile, resume, spread, start, workers

from tidemill.db import schema
from tidemill.db.database import Database

AT_ONCE = 20_000
"""Items of the small run, which both databases have."""

ENGINE_ITEMS, ENGINE_STEPS = 2000, 3
RUNS = "select b.name, max(r.id) from batch b left join run r on b.id = r.batch_id group by b.name"


@dataclass(slots=True)
class Place:
    """One of the two databases, with its pages."""

    name: str
    url: str
    database: Database
    client: httpx2.AsyncClient | None = None
    runs: dict[str, int] = field(default_factory=dict)
    seq: str = ""
    """The feed's position before the newest 2,000 changes."""


def made(admin: str, name: str, items: int) -> str:
    """The address of a filled database; one that is there from an earlier time is used again."""
    url = with_database(admin, name)
    with psycopg.connect(admin, autocommit=True) as connection:
        found = connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone()
        if found:
            return url
        connection.execute(f"create database {name} encoding 'UTF8' template template0".encode())
    schema.migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        filling.site(connection)
        if items:
            filling.run(connection, "physics", filling.with_failures(items), watching=True)
        filling.run(connection, "small", AT_ONCE, watching=False)
        connection.execute("vacuum analyze")
    return url


def drop(admin: str) -> None:
    """Take the filled databases away."""
    with psycopg.connect(admin, autocommit=True) as connection:
        for (name,) in connection.execute("select datname from pg_database where datname like 'tidemill_scale_%'"):
            connection.execute(f"drop database {name} with (force)".encode())


@asynccontextmanager
async def place(admin: str, name: str, items: int, *, pages: bool = True) -> AsyncIterator[Place]:
    """A database, filled, with its pages served by a process of its own."""
    url = await asyncio.to_thread(made, admin, name, items)

    async def address() -> str:
        return url

    found = Place(name, url, Database(address))
    found.runs = known_runs(url)
    if "all" not in found.runs:
        await catalogue(found.database, ENGINE_ITEMS)
    await define(found.database, ENGINE_STEPS, time.time_ns())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(found.database.close)
        if pages:
            served = await stack.enter_async_context(web(url))
            client = httpx2.AsyncClient(base_url=f"http://{served.host}", headers=served.headers, timeout=120)
            found.client = await stack.enter_async_context(client)
        yield found


def requests(here: Place) -> dict[str, str]:
    """What is asked for, by name. In the empty database the small run stands for the watching one."""
    small = here.runs["small"]
    large = here.runs.get("physics", small)
    item = "physics00500_123" if "physics" in here.runs else "small00005_123"
    return {
        "start page": "/",
        "runs": "/runs",
        "a small run": f"/runs/{small}",
        "the watching run": f"/runs/{large}",
        "the watching run, failed": f"/runs/{large}?state=failed",
        "items": "/items",
        "items, page 50": "/items?offset=5000",
        "items by name": f"/items?search={item[-7:-1]}",
        "items by the beginning of a name": f"/items?search={item[:9]}*",
        "items by status": "/items?search=status:bad",
        "items by metadata": "/items?search=type%3Dnoise",
        "an item": f"/items/{item}",
        "apps": "/apps",
        "an app": "/apps/small-quality",
        "batches": "/batches",
        "a batch": "/batches/small",
        "API: a small run": f"/api/runs/{small}",
        "API: the watching run": f"/api/runs/{large}",
        "API: grid of a small run": f"/api/runs/{small}/grid",
        "API: grid of the watching run": f"/api/runs/{large}/grid",
        "API: tasks of the watching run": f"/api/runs/{large}/tasks?from=5000",
        "API: failed tasks of the watching run": f"/api/runs/{large}/tasks?state=failed",
        "API: tasks by name": f"/api/runs/{large}/tasks?search={item[-6:]}",
        "API: items": "/api/items",
        "API: items by name": f"/api/items?search={item[-7:-1]}",
        "API: an item": f"/api/items/{item}",
        "feed, the newest 1,000": f"/api/changes?since={here.seq}&limit=1000",
        "feed, from the beginning": "/api/changes?limit=1000",
        "feed, from the beginning, one kind": "/api/changes?limit=1000&kind=run",
        "feed, the newest of one run": f"/api/changes?since={here.seq}&limit=1000&run={here.runs['all']}",
        "feed, the newest items": f"/api/changes?since={here.seq}&limit=1000&kind=item",
    }


async def timed(here: Place, path: str) -> float | str:
    """Milliseconds until the last byte; the status where there is no answer to time."""
    assert here.client is not None
    began = time.perf_counter()
    answer = await here.client.get(path)
    took = 1000 * (time.perf_counter() - began)
    return took if answer.status_code == 200 else str(answer.status_code)


async def pages_and_feed(empty: Place, full: Place, rounds: int, most: float) -> list[dict[str, Any]]:
    """All requests, in turns; those that take longer than `most` seconds are asked fewer times."""
    rows = []
    for name, path in requests(empty).items():
        took: dict[str, list[float]] = {empty.name: [], full.name: []}
        failed, began = "", time.perf_counter()
        for turn in range(rounds + 1):
            pair = [(empty, path), (full, requests(full)[name])]
            for here, asked in random.sample(pair, 2):
                found = await timed(here, asked)
                if isinstance(found, str):
                    failed = found
                elif turn:  # the first is for the caches
                    took[here.name].append(found)
            if failed or (turn > 2 and time.perf_counter() - began > most):
                break
        rows.append({"name": name, "failed": failed} if failed else row(name, "ms", took[empty.name], took[full.name]))
        show(rows[-1])
    return rows


def row(
    name: str, unit: str, empty: Sequence[float], full: Sequence[float], *, more_is_better: bool = False
) -> dict[str, Any]:
    """One line: both spreads, and how many times as much the full one costs."""
    ratio = statistics.median(full) / statistics.median(empty)
    found = {"name": name, "unit": unit, "empty": spread(empty, 2), "full": spread(full, 2)}
    return found | {"ratio": round(1 / ratio if more_is_better else ratio, 2)}


def show(found: dict[str, Any]) -> None:
    if found.get("failed"):
        said = f"answered {found['failed']}"
    else:
        said = (
            f"{found['empty']['median']:10,.2f} {found['full']['median']:10,.2f} {found['unit']:8} × {found['ratio']}"
        )
    print(f"{found['name']:44} {said}", file=sys.stderr, flush=True)


async def engine(here: Place) -> float:
    """Steps per second of one worker, in a run of 2,000 items."""
    run, _ = await start(here.database, paused=True)
    async with workers(here.url, 1) as (worker,):
        began = time.perf_counter()
        await resume(here.database, run)
        await finished(here.url, run)
        seconds = time.perf_counter() - began
        await worker.stop()
    return ENGINE_ITEMS * ENGINE_STEPS / seconds


async def steps(empty: Place, full: Place, rounds: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {empty.name: [], full.name: []}
    for series in range(rounds + 1):
        for here in random.sample([empty, full], 2):
            await define(here.database, ENGINE_STEPS, time.time_ns())
            rate = await engine(here)
            if series:
                rates[here.name].append(rate)
    found = row("steps of one worker", "steps/s", rates[empty.name], rates[full.name], more_is_better=True)
    show(found)
    return found


async def starts(empty: Place, full: Place, times: int) -> list[dict[str, Any]]:
    """From the commit of a run of one item to its first step, with an idle worker on each database."""
    waits: dict[str, list[float]] = {empty.name: [], full.name: []}
    async with AsyncExitStack() as stack:
        for here in (empty, full):
            with psycopg.connect(here.url, autocommit=True) as connection:
                connection.execute("insert into batch (name) values ('single') on conflict do nothing")
                connection.execute(
                    "insert into batch_item select b.id, 0, i.id from batch b, item i"
                    " where b.name = 'single' and i.name = 'all-0000001' on conflict do nothing"
                )
            await define(here.database, 1, time.time_ns())
            (worker,) = await stack.enter_async_context(workers(here.url, 1))
            stack.push_async_callback(worker.stop)
            await one(here.url, here.database, "single")
        for _ in range(times):
            for here in random.sample([empty, full], 2):
                await asyncio.sleep(random.uniform(0, 0.05))
                waits[here.name].append(1000 * await one(here.url, here.database, "single"))
    found = row("start of a run to its first step", "ms", waits[empty.name], waits[full.name])
    found |= {"p95": {name: round(percentile(took, 0.95), 2) for name, took in waits.items()}}
    show(found)
    return [found]


def known_runs(url: str) -> dict[str, int]:
    """The newest run of each batch, by its name."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute(RUNS).fetchall())


def position(url: str) -> str:
    """The feed's position before the newest 2,000 changes."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select xid::text || '-' || id from change order by xid desc, id desc offset 2000 limit 1"
        ).fetchone()
    return str(found[0]) if found else "0"


def contents(url: str) -> dict[str, Any]:
    """How much is in a database."""
    tables = ("item", "task", "attempt", "document", "change")
    with psycopg.connect(url) as connection:
        counts = {name: connection.execute(f"select count(*) from {name}".encode()).fetchone()[0] for name in tables}  # type: ignore[index]
        size = connection.execute("select pg_database_size(current_database())").fetchone()
    return counts | {"megabytes": round(size[0] / 1e6) if size else 0}


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(server(args.database, args.keep))
        settings = durability(admin)
        must_be_durable(settings)
        empty = await stack.enter_async_context(place(admin, "tidemill_scale_empty", 0))
        full = await stack.enter_async_context(place(admin, f"tidemill_scale_{args.items}", args.items))
        rows: list[dict[str, Any]] = []
        if "engine" in args.parts:
            rows.append(await steps(empty, full, args.engine_rounds))
            rows += await starts(empty, full, args.starts)
        if "pages" in args.parts:
            for here in (empty, full):
                await engine(here)  # so that the newest changes are the same
                here.runs, here.seq = known_runs(here.url), position(here.url)
            rows += await pages_and_feed(empty, full, args.rounds, args.most)
        return {
            "measure": "scale",
            "rows": rows,
            "contents": {here.name: contents(here.url) for here in (empty, full)},
            "database": settings,
        }


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=1_000_000, help="items whose every step is done")
    parser.add_argument("--rounds", type=int, default=15, help="times that each page is asked for")
    parser.add_argument("--most", type=float, default=20, help="seconds for one page's rounds")
    parser.add_argument("--engine-rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=60, help="runs of one item")
    parser.add_argument("--parts", nargs="+", default=["engine", "pages"], choices=["engine", "pages"])
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    parser.add_argument("--keep", type=Path, help="a folder for an embedded server whose filled databases stay")
    return parser


if __name__ == "__main__":
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(arguments(described).parse_args())), indent=2))
