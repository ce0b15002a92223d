"""A bucket of many keys into the catalogue: empty, unchanged, and a thousandth changed; beside rows put in one by one.

python benchmarks/sync.py [--keys 1000000] [--database URL]

The listing is made here, since no server on this machine lists a million keys as a real bucket does: what is measured
is everything behind it (layout rules, spool, COPY, merge). Memory is the whole process's.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import resource
import time
from collections.abc import Iterator
from typing import Any

from scratch import scratch_database

from tidemill.catalogue import sync as service
from tidemill.db.models import Source
from tidemill.storage.stores import Seen

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
    parser.add_argument("--database", help="address of a PostgreSQL to measure on; none: an embedded one")
    return parser


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each sync, keys a second, and the most memory (MB)."""
    found: dict[str, Any] = {"keys": args.keys}
    async with scratch_database(args.database) as (_, database):
        async with database.begin() as session:
            session.add(Source(name="bucket", url="s3://bucket/", layout={"rules": RULES}))
        for name, changed in (("empty", 0), ("unchanged", 0), ("changed", args.keys // 1000)):
            setattr(service, "listing", lambda *_, n=changed: keys(args.keys, n))  # noqa: B010 - in place of a bucket
            began = time.perf_counter()
            report = await service.sync(database, "bucket")
            found[f"{name}_s"] = time.perf_counter() - began
            found[f"{name}_written"] = report.created + report.changed
    found["keys_per_s_empty"] = args.keys / found["empty_s"]
    found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


if __name__ == "__main__":
    given = arguments(argparse.ArgumentParser(description=__doc__)).parse_args()
    for name, value in asyncio.run(measure(given)).items():
        print(f"{name}: {value:,.1f}" if isinstance(value, float) else f"{name}: {value:,}")
