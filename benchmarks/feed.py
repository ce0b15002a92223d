"""The change feed under 5,000 changes a second with 50 followers: none missed, and how soon they are with the slowest.

    python benchmarks/feed.py --changes 5500 --followers 50 --seconds 8 --rounds 3 --database URL

Through `tidemill up` in a process of its own, over HTTP. A writer in another process commits 50 task changes at a time,
with a NOTIFY, as workers do. Each piece that a follower reads gives a time: from the begin of its oldest change's
transaction, on this machine's clock. Beside it, in turns, the same with a query per follower: each waits with
`feed=longpoll` and reads pages of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import psycopg
import uvloop
from pages import Web, web
from processes import cpu_seconds
from scratch import durability, must_be_durable, scratch_database
from workload import catalogue, define, percentile, spread, start

AT_ONCE = 50
"""Changes in a transaction."""

MODES = {"shared": "", "shared, filtered": "&kind=task&kind=item", "a query each": ""}
PATIENCE = 15.0
"""Seconds after the last commit in which every follower must have everything."""

_WRITE = (
    "insert into change (kind, run_id, task_id, item_id, position, step, state)"
    " select 'task', run_id, id, item_id, position, 0, 'done' from task where id = any(%s)"
)


def write(url: str, tasks: Sequence[int], per_second: int, seconds: float) -> None:
    """A process: so many changes a second, evenly."""
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        for turn in range(int(per_second * seconds / AT_ONCE)):
            first = turn * AT_ONCE % (len(tasks) - AT_ONCE)
            with connection.transaction():
                connection.execute(_WRITE, [list(tasks[first : first + AT_ONCE])])
                connection.execute("select pg_notify('tidemill_change', '')")
            time.sleep(max(0.0, began + (turn + 1) * AT_ONCE / per_second - time.perf_counter()))


@dataclass(slots=True)
class Follower:
    """What one follower has read: how many changes, a checksum over their lines, and how late each piece was."""

    changes: int = 0
    checksum: int = 0
    first: float = float("inf")
    late: list[float] = field(default_factory=list)
    ready: bool = False

    def take(self, lines: bytes) -> None:
        """Whole lines of changes, all of them of one piece."""
        if b'"last_seq"' in lines:
            self.ready = True
            lines = b"".join(line for line in lines.splitlines(keepends=True) if b'"last_seq"' not in line)
        if lines:
            began = datetime.fromisoformat(orjson.loads(lines[: lines.index(b"\n")])["at"]).timestamp()
            self.first = min(self.first, began)
            self.late.append(time.time() - began)
            self.changes += lines.count(b"\n")
            self.checksum = zlib.crc32(lines, self.checksum)


async def follow(site: Web, path: str, follower: Follower) -> None:
    """Read a continuous stream for ever. By hand (HTTP/1.1, chunked): 50 clients must not cost more than the site."""
    host, port = site.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: Bearer {site.key}\r\n\r\n"
        writer.write(head.encode())
        status = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in status.splitlines()[0], status
        rest = b""
        while size := int(await reader.readline(), 16):
            rest += (await reader.readexactly(size + 2))[:-2]
            whole, sign, rest = rest.rpartition(b"\n")
            if sign:
                follower.take(whole + sign)
    finally:
        writer.close()


async def poll(site: Web, since: str, follower: Follower) -> None:
    """Read page after page for ever."""
    host, port = site.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
    try:
        while True:
            path = f"/api/changes?feed=longpoll&limit=10000&since={since}"
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: Bearer {site.key}\r\n\r\n".encode()
            )
            follower.ready = True
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            page = orjson.loads(await reader.readexactly(size))
            since = page["last_seq"]
            if page["results"]:
                follower.take(b"".join(orjson.dumps(result) + b"\n" for result in page["results"]))
    finally:
        writer.close()


async def one(site: Web, url: str, tasks: Sequence[int], mode: str, args: argparse.Namespace) -> dict[str, Any]:
    """One round: followers that wait, then the writer, then whatever is still on its way."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select xid::text || '-' || id from change order by xid desc, id desc limit 1"
        ).fetchone()
    assert row is not None
    followers = [Follower() for _ in range(args.followers)]
    path = f"/api/changes?feed=continuous&heartbeat=300&since={row[0]}{MODES[mode]}"
    reading = [
        asyncio.create_task(poll(site, row[0], one) if mode == "a query each" else follow(site, path, one))
        for one in followers
    ]
    try:
        async with asyncio.timeout(60):
            while not all(one.ready for one in followers):  # noqa: ASYNC110 - told by as many tasks
                await asyncio.sleep(0.05)
        wanted = int(args.changes * args.seconds / AT_ONCE) * AT_ONCE
        before = cpu_seconds([site.pid])
        writer = multiprocessing.get_context("spawn").Process(
            target=write, args=(url, tasks, args.changes, args.seconds), daemon=True
        )
        writer.start()
        ends = time.perf_counter() + args.seconds + PATIENCE
        while any(one.changes < wanted for one in followers) and time.perf_counter() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        passed = time.time() - min(one.first for one in followers)
        after = cpu_seconds([site.pid])
        writer.join()
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    late = [1000 * seconds for one in followers for seconds in one.late]
    return {
        "changes": wanted,
        "missed": sum(abs(wanted - one.changes) for one in followers),
        "different": len({one.checksum for one in followers if one.changes == wanted} or {0}) - 1,
        "per_second": round(min(one.changes for one in followers) / passed),
        "median_ms": round(statistics.median(late), 1),
        "p95_ms": round(percentile(late, 0.95), 1),
        "max_ms": round(max(late), 1),
        "web_percent": None if before is None or after is None else round(100 * (after - before) / passed),
    }


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    async with scratch_database(args.database) as (url, database):
        settings = durability(url)
        must_be_durable(settings)
        await catalogue(database, args.items)
        await define(database, 3, 1)
        run, _ = await start(database, paused=True)
        with psycopg.connect(url, autocommit=True) as connection:
            tasks = [task for (task,) in connection.execute("select id from task where run_id = %s order by id", [run])]
            connection.execute("vacuum analyze")
        async with web(url) as site:
            for _ in range(args.rounds):
                for mode in MODES:
                    found[mode].append(await one(site, url, tasks, mode, args))
    return {
        "measure": "feed",
        "followers": args.followers,
        "asked_per_second": args.changes,
        "modes": {mode: _summed(rounds) for mode, rounds in found.items()},
        "rounds": found,
        "database": settings,
    }


def _summed(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    spreads = {
        name: spread([one[name] for one in rounds], 1)
        for name in ("per_second", "median_ms", "p95_ms", "web_percent")
        if all(one[name] is not None for one in rounds)
    }
    return spreads | {name: sum(one[name] for one in rounds) for name in ("missed", "different")}


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--changes", type=int, default=5500, help="a second")
    parser.add_argument("--followers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    return parser


if __name__ == "__main__":
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(arguments(described).parse_args())), indent=2))
