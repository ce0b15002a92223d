"""The pages of a large run: how soon its data is there, and how soon a change reaches 200 open pages.

    python benchmarks/pages.py --items 100000 --watchers 200 --seconds 15 --database URL

Through `tidemill up` in a process of its own. A change's time is that of its transaction's begin, before the commit;
it has arrived when the slowest watcher has received a message that says so. All on this machine's clock.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
import psycopg
import uvloop
from processes import cpu_seconds, megabytes
from scratch import durability, must_be_durable, scratch_database
from websockets.asyncio.client import ClientConnection, connect
from workload import catalogue, define, percentile, resume, start, workers

from tidemill.db.database import Database
from tidemill.runner import runs

ADDRESS = re.compile(r"http://([\d.:]+)/\?key=(\S+)")
STATES = {"waiting": 0, "running": 1, "submitted": 2, "done": 3, "failed": 4, "cancelled": 5}
SLOTS, NAP = 320, 0.5
"""So many slots, with steps that wait about so many seconds: about 1,000 changes a second."""


@dataclass(frozen=True, slots=True)
class Web:
    host: str
    key: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@asynccontextmanager
async def web(url: str) -> AsyncIterator[Web]:
    """The site's pages, as `tidemill up` serves them."""
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tidemill.cli", "--site", folder, "up", "--no-worker", "--port", "0"),
            env=os.environ | {"TIDEMILL_DATABASE_URL": url, "TIDEMILL_SITE": folder, "COLUMNS": "400"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield await asyncio.wait_for(_address(process), 30)
        finally:
            process.terminate()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> Web:
    assert process.stdout is not None
    said = ""
    async for line in process.stdout:
        said += line.decode()
        if found := ADDRESS.search(said):
            return Web(found[1], found[2], process.pid)
    raise RuntimeError(f"`tidemill up` ended: {said}")


async def answers(site: Web, path: str, times: int) -> dict[str, float]:
    """Milliseconds from the request to the last byte, and the answer's size in KB."""
    took: list[float] = []
    async with httpx2.AsyncClient(base_url=f"http://{site.host}", headers=site.headers, timeout=60) as client:
        for _ in range(times + 1):
            began = time.perf_counter()
            answer = await client.get(path)
            took.append(1000 * (time.perf_counter() - began))
            answer.raise_for_status()
    return {
        "first": round(took[0], 1),
        "min": round(min(took[1:]), 1),
        "median": round(statistics.median(took[1:]), 1),
        "p95": round(percentile(took[1:], 0.95), 1),
        "max": round(max(took[1:]), 1),
        "kilobytes": round(len(answer.content) / 1000),
    }


@dataclass(slots=True)
class Heard:
    """What all watchers were told: each message once, with how many got it and when the slowest did."""

    cells: dict[str, dict[int, int]] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    slowest: dict[str, float] = field(default_factory=dict)
    resets: int = 0
    ready: int = 0

    def note(self, message: str) -> None:
        if message.startswith('{"run"') and '"cells"' in message[:80]:
            if message not in self.cells:
                self.cells[message] = {p: ord(c) - 256 for p, c in orjson.loads(message)["cells"]}
            self.count[message] += 1
            self.slowest[message] = time.time()
        elif '"reset"' in message:
            self.resets += 1


async def follow(socket: ClientConnection, heard: Heard) -> None:
    """One open page. Its first cells are what it catches up with."""
    begun = False
    async for message in socket:
        assert isinstance(message, str)
        if begun:
            heard.note(message)
        elif '"cells"' in message[:80]:
            begun = True
            heard.ready += 1


@asynccontextmanager
async def watching(site: Web, run: int, seq: str, count: int) -> AsyncIterator[Heard]:
    """So many open pages that watch a run and have caught up."""
    heard = Heard()
    sockets: list[ClientConnection] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        for _ in range(count):
            socket = await connect(
                f"ws://{site.host}/live", additional_headers=site.headers, compression=None, max_size=None
            )
            sockets.append(socket)
            tasks.append(asyncio.create_task(follow(socket, heard)))
            await socket.send(json.dumps({"watch": {"run": run, "since": seq}}))
        async with asyncio.timeout(60):
            while heard.ready < count:  # noqa: ASYNC110 - counted by as many tasks
                await asyncio.sleep(0.02)
        yield heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(socket.close() for socket in sockets), return_exceptions=True)


def arrivals(url: str, run: int, heard: Heard, watchers: int, since: float) -> tuple[list[float], int]:
    """For each change after `since`: seconds until every watcher had it; and how many changes some never had."""
    order = sorted(heard.cells, key=lambda message: heard.slowest[message])
    told: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for message in order:
        for position, code in heard.cells[message].items():
            told[position].append((code, message))
    with psycopg.connect(url) as connection:
        changes = connection.execute(
            "select position, step * 8 + (%s::jsonb ->> state)::int, extract(epoch from at)::float8 from change"
            " where run_id = %s and kind = 'task' and at > to_timestamp(%s)",
            [json.dumps(STATES), run, since],
        ).fetchall()
    took, missed = [], 0
    for position, code, at in changes:
        messages = told[position]
        # A task only goes forward here, so a later state tells of the earlier ones too.
        first = bisect.bisect_left(messages, (code, ""))
        if first == len(messages) or heard.count[messages[first][1]] < watchers:
            missed += 1
        else:
            took.append(heard.slowest[messages[first][1]] - at)
    return took, missed


def summed(took: list[float], missed: int) -> dict[str, float]:
    return {
        "changes": len(took) + missed,
        "missed": missed,
        "median": round(1000 * statistics.median(took), 1),
        "p95": round(1000 * percentile(took, 0.95), 1),
        "max": round(1000 * max(took), 1),
    }


async def single(url: str, database: Database, run: int, heard: Heard, watchers: int, times: int) -> dict[str, float]:
    """One change at a time, on an idle system: a person cancels one task."""
    with psycopg.connect(url) as connection:
        query = "select id from task where run_id = %s and state = 'waiting' order by position desc limit %s"
        tasks = [task for (task,) in connection.execute(query, [run, times])]
    since = time.time()
    for task in tasks:
        async with database.begin() as session:
            await runs.cancel(session, run, [task])
        await asyncio.sleep(0.2)
    await asyncio.sleep(1)
    return summed(*arrivals(url, run, heard, watchers, since))


async def load(url: str, database: Database, run: int, heard: Heard, site: Web, args: Any) -> dict[str, Any]:
    """About 1,000 changes a second for some seconds, made by a real worker."""
    async with workers(url, 1, SLOTS) as (worker,):
        await resume(database, run)
        await asyncio.sleep(1.5)
        since, before, began = time.time(), cpu_seconds([site.pid]), time.perf_counter()
        await asyncio.sleep(args.seconds)
        passed, after = time.perf_counter() - began, cpu_seconds([site.pid])
        async with database.begin() as session:
            await runs.pause(session, run)
        await worker.stop()
    await asyncio.sleep(2)
    found: dict[str, Any] = summed(*arrivals(url, run, heard, args.watchers, since))
    found["changes_per_second"] = round(found["changes"] / (args.seconds + NAP))
    found["messages"] = sum(heard.count.values())
    found["resets"] = heard.resets
    if before is not None and after is not None:
        found["web_cpu_percent"] = round(100 * (after - before) / passed, 1)
    found["web_mb"] = round(megabytes(site.pid))
    return found


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    async with scratch_database(args.database) as (url, database):
        settings = durability(url)
        must_be_durable(settings)
        await catalogue(database, args.items)
        await define(database, 3, 1, "napping", {"seconds": NAP})
        run, _ = await start(database, paused=True)
        async with web(url) as site:
            grid = await answers(site, f"/api/runs/{run}/grid", args.requests)
            page = await answers(site, f"/runs/{run}", args.requests)
            async with httpx2.AsyncClient(headers=site.headers) as client:
                seq = (await client.get(f"http://{site.host}/api/runs/{run}/grid")).json()["seq"]
            async with watching(site, run, seq, args.watchers) as heard:
                alone = await single(url, database, run, heard, args.watchers, 20)
                busy = await load(url, database, run, heard, site, args)
    return {
        "measure": "pages",
        "items": args.items,
        "watchers": args.watchers,
        "grid_ms": grid,
        "page_ms": page,
        "single_change_ms": alone,
        "busy_change_ms": busy,
        "database": settings,
    }


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=15, help="of about 1,000 changes a second")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    return parser


if __name__ == "__main__":
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(arguments(described).parse_args())), indent=2))
