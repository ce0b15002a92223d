"""A bucket of many keys into the catalogue: empty, unchanged, a thousandth changed; and how fast a real one is listed.

python benchmarks/sync.py [--keys 1000000] [--listed 10000] [--database URL]

The listing of the large one is made here, since no server on this machine lists a million keys as a real bucket does:
what is measured is everything behind it (layout rules, COPY, merge). The merge begins once the last key is copied, and
ends with the sync: with the indexes that a first load makes last, the commit, and the planner's statistics.
Memory is the whole process's, without the database's. The real one is Ceph's gateway, where that is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
from processes import peak_megabytes
from scratch import scratch_database

from tidemill.catalogue import sync as service
from tidemill.catalogue.listing import LeftOut, listing
from tidemill.db.database import Database
from tidemill.db.models import Source
from tidemill.storage.stores import Seen, open_store

RULES = [
    {"pattern": "{project:P\\d+}/bulk/*"},
    {"pattern": "{project:P\\d+}/{item:S\\d+}/{library:L\\d+}_{stage}.{format:rds|h5ad}"},
    {"pattern": "{project:P\\d+}/{item:S\\d+}/**", "attributes": {"role": "other"}},
]
WHEN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def keys(count: int, changed: int = 0) -> Iterator[Seen]:
    """`count` files of `count / 10` items; the first `changed` of them with other bytes."""
    for n in range(count):
        key = f"P{n // 10_000:04}/S{n // 10:07}/L{n // 5:07}_{n % 10}.{'rds' if n % 2 else 'h5ad'}"
        yield Seen(key, 1000 + n, f"{n:032x}" if n >= changed else f"changed{n:025x}", WHEN)


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--listed", type=int, default=10_000, help="keys of the real bucket; 0: none is listed")
    parser.add_argument("--database", help="address of a PostgreSQL to measure on; none: an embedded one")
    return parser


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each sync, and of its merge alone; keys a second; the most memory (MB)."""
    found: dict[str, Any] = {"keys": args.keys}
    async with scratch_database(args.database) as (_, database):
        async with database.begin() as session:
            session.add(Source(name="bucket", url="s3://bucket/", layout={"rules": RULES}))
        for name, changed in (("empty", 0), ("unchanged", 0), ("changed", args.keys // 1000)):
            found |= await _synced(database, name, args.keys, changed)
    found["keys_per_s_empty"] = args.keys / found["empty_s"]
    found["merged_per_s_empty"] = args.keys / found["empty_merge_s"]
    found["memory_mb"] = peak_megabytes(os.getpid())
    if args.listed and shutil.which("radosgw"):
        found["listed"] = args.listed
        found["listed_per_s"] = args.listed / await _listed(args.listed)
    return found


async def _synced(database: Database, name: str, count: int, changed: int) -> dict[str, Any]:
    copied = 0.0

    def tick(seen: int) -> None:
        nonlocal copied
        copied = time.perf_counter()

    setattr(service, "listing", lambda *_: keys(count, changed))  # noqa: B010 - in place of a bucket
    began = time.perf_counter()
    report = await service.sync(database, "bucket", progress=tick)
    ended = time.perf_counter()
    written = report.created + report.changed
    return {f"{name}_s": ended - began, f"{name}_merge_s": ended - copied, f"{name}_written": written}


async def _listed(count: int) -> float:
    """Seconds that a listing takes of a real S3 service with so many keys."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.ceph import used  # here the tests' server is the only one

    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder, used(Path(folder)) as server:
        os.environ.update(server.environment)
        server.client().create_bucket(Bucket="bench")
        url, options = "s3://bench", {"endpoint": server.endpoint}
        store = open_store(url, options)
        for first in range(0, count, 500):
            several = range(first, min(first + 500, count))
            await asyncio.gather(*(obstore.put_async(store, seen.key, b"x") for seen in _some(several)))
        began = time.perf_counter()
        assert sum(1 for _ in listing(url, options, LeftOut())) == count
        return time.perf_counter() - began


def _some(numbers: range) -> Iterator[Seen]:
    return (Seen(f"P1/S{n:07}/L{n:07}_0.rds", 1, "", WHEN) for n in numbers)


if __name__ == "__main__":
    given = arguments(argparse.ArgumentParser(description=__doc__)).parse_args()
    print(json.dumps(asyncio.run(measure(given)), indent=2))
