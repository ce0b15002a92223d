"""Steps per second of a worker over HTTP, which has a URL and a token, side by side with one that has the database.

    python benchmarks/remote.py --items 1000 --steps 3 --database URL

In turns, in the same database, with the same no-op step of 1 KB. The remote worker is a process of its own, writes
every result to its spool (fsync) before it hands it in, and the site that it talks to is another, `serving` its pages
as `tidemill up --no-worker` does; all on this machine, so that the network itself costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop
from engine import checked
from scratch import durability, must_be_durable, scratch_database
from workload import STEPS, catalogue, define, finished, resume, spread, start, workers

from tidemill.accounts import tokens
from tidemill.db.database import Database
from tidemill.domain.roles import Role
from tidemill.main import make_web, open_site, remote_worker
from tidemill.runner.remote_client import SiteClient
from tidemill.runner.spool import Spool
from tidemill.settings import Settings
from tidemill.web.serve import serving


class Process:
    """A part of the site in a process of its own; says something when it is ready, ends when told."""

    def __init__(self, work: Callable[..., Coroutine[Any, Any, None]], *words: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(work, theirs, *words), daemon=True)
        self._process.start()

    async def ready(self) -> Any:
        return await asyncio.to_thread(self._pipe.recv)

    async def stop(self) -> None:
        self._pipe.send("stop")
        await asyncio.to_thread(self._process.join, 30)
        self._process.kill()


def _run(work: Callable[..., Coroutine[Any, Any, None]], pipe: Connection, *words: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(pipe, *words))


async def serve(pipe: Connection, url: str, folder: str) -> None:
    settings = Settings(site=Path(folder), database_url=url)
    async with open_site(settings, migrate=False) as site, serving(make_web(site), "127.0.0.1", 0) as port:
        pipe.send(port)
        await asyncio.to_thread(pipe.recv)


async def work(pipe: Connection, url: str, token: str, folder: str, slots: int) -> None:
    spool = Spool(Path(folder))
    spool.open()
    worker = remote_worker(Settings(), SiteClient(url, token), spool, STEPS, slots=slots)
    job = asyncio.create_task(worker.run())
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
    worker.stop()
    await job


async def timed(url: str, database: Database, args: argparse.Namespace, series: int) -> Callable[[], Any]:
    """A paused run of a new series; what resumes it and gives its steps per second."""
    await define(database, args.steps, series)
    run, _ = await start(database, paused=True)

    async def go() -> float:
        began = time.perf_counter()
        await resume(database, run)
        await finished(url, run)
        waited = time.perf_counter() - began
        seconds = max(waited, checked(url, run, args.items, args.steps))
        return float(args.items * args.steps / seconds)

    return go


async def near(url: str, database: Database, args: argparse.Namespace, series: int) -> float:
    go = await timed(url, database, args, series)
    async with workers(url, 1, args.slots) as made:
        rate = await go()
        await made[0].stop()
    return float(rate)


async def far(url: str, database: Database, args: argparse.Namespace, series: int) -> float:
    go = await timed(url, database, args, series)
    async with database.begin() as session:
        token, _ = await tokens.create(session, f"bench {series}", Role.WORKER)
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        site = Process(serve, url, f"{folder}/site")
        port = await site.ready()
        worker = Process(work, f"http://127.0.0.1:{port}", token, f"{folder}/spool", args.slots)
        try:
            await worker.ready()
            await asyncio.sleep(0.5)
            return float(await go())
        finally:
            await worker.stop()
            await site.stop()


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Rounds of both, in turns."""
    rates: dict[str, list[float]] = {"near": [], "far": []}
    async with scratch_database(args.database) as (url, database):
        settings = durability(url)
        must_be_durable(settings)
        await catalogue(database, args.items)
        for number in range(args.rounds):
            rates["near"].append(await near(url, database, args, 2 * number + 1))
            rates["far"].append(await far(url, database, args, 2 * number + 2))
            print(f"round {number + 1}: near {rates['near'][-1]:,.0f}, far {rates['far'][-1]:,.0f}", file=sys.stderr)
    return {
        "measure": "remote",
        "items": args.items,
        "steps": args.steps,
        "slots": args.slots,
        "steps_per_second": spread(rates["far"]),
        "database_steps_per_second": spread(rates["near"]),
        "ratio": round(statistics.median(f / n for f, n in zip(rates["far"], rates["near"], strict=True)), 2),
        "database": settings,
        "cores": os.cpu_count(),
    }


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--slots", type=int, default=200, help="attempts that a worker has in hand at most")
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
    for name, key in (("over HTTP", "steps_per_second"), ("with the database", "database_steps_per_second")):
        rate = found[key]
        print(f"{name:18} {rate['median']:8,.0f} steps/s   ({rate['min']:,.0f} to {rate['max']:,.0f})")
    print(f"{'ratio':18} {found['ratio']:8.2f}")


if __name__ == "__main__":
    main()
