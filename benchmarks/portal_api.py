"""The portal's lists over a million items: every declared field with every lookup, two at a time, searches, facets.

python benchmarks/portal_api.py [--items 1000000] [--rounds 5] [--database URL]   its own database, dropped at the end
python benchmarks/portal_api.py --keep FOLDER                                     an embedded one, kept for next time
python benchmarks/portal_api.py --filled URL                                      one that was filled before
python benchmarks/portal_api.py --insert 100000                                   what the copy of fields costs writers

Requests go one at a time to a server in a process of its own, over HTTP, each with the exact count and a page of ten.
What begins with `page` is a whole page of the portal, with fifty items in order of name and the facets of the rest.
Every round asks for other values. What is asked first is asked with cold caches, and counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from scratch import scratch_database, server

from tidemill.catalogue import field_index
from tidemill.db import schema
from tidemill.db.database import Database

FIELDS = {
    "sex": "text", "diagnosis": "text", "tissue": "text", "treatment": "text", "center": "text",
    "submitter_id": "text", "age": "integer", "cell_count": "integer", "rin": "number", "is_xenograft": "boolean",
    "collected": "date", "technologies": "list",
}  # fmt: skip
"""2 values and none, 60, 500, 20 and mostly none, 5,000, one for each item, 100, 200,000, 1,000, 2, 3,650, 6."""

FILL = """
insert into item (name, metadata)
select %(prefix)s || lpad(n::text, 7, '0'), jsonb_strip_nulls(jsonb_build_object(
  'sex', case when n %% 100 < 50 then 'Female' when n %% 100 < 95 then 'Male' end,
  'diagnosis', 'Diagnosis ' || lpad((floor(60 * power(random(), 2)))::text, 2, '0'),
  'tissue', 'Tissue ' || (random() * 499)::int,
  'treatment', case when random() < 0.4 then 'Treatment ' || (random() * 19)::int end,
  'center', 'Center ' || (random() * 4999)::int,
  'submitter_id', 'Sample ' || md5(n::text || %(prefix)s),
  'age', case when random() < 0.95 then (random() * 100)::int end,
  'cell_count', (random() * 200000)::int,
  'rin', round((random() * 10)::numeric, 2),
  'is_xenograft', random() < 0.1,
  'collected', to_char(date '2015-01-01' + (n / 274), 'YYYY-MM-DD'),
  'technologies', (array['["10Xv2"]', '["10Xv3"]', '["10Xv2", "spatial"]', '["bulk"]', '["10Xv3", "CITE-seq"]',
                         '[]'])[1 + n %% 6]::jsonb,
  'note', 'Something that nobody declared, ' || n, 'other', n
)) from generate_series(%(low)s::int, %(high)s::int) n
"""
PAIRS = (
    "sex=Female&is_xenograft=true",
    "sex=Female&diagnosis=Diagnosis 07",
    "sex=Male&age__gte=50",
    "diagnosis__icontains=1&technologies=10Xv2",
    "age__gte=20&cell_count__lt=150000",
    "tissue=Tissue 7&center=Center 12",
    "collected__gte=2020-01-01&sex=Male",
    "treatment__isnull=true&rin__lte=3",
    "submitter_id__startswith=Sample a&sex=Male",
)
SEARCHES = ("Diagnosis", "diagnosis 07", "female", "tissue 12", "SCPCS05", "SCPCS0512345", "sample", "a1", "abc1",
            "spatial", "no such thing", "Treatment 3 Male")  # fmt: skip
SEARCHED = ("search=Diagnosis&sex=Female", "search=a1&age__gte=50", "search=tissue&center=Center 12")
FACETED = ("sex=Female", "diagnosis=Diagnosis 07", "sex=Male&is_xenograft=true", "age__gte=20&age__lte=60",
           "cell_count__lte=150000", "tissue=Tissue 7",
           "sex=Female&diagnosis=Diagnosis 07&technologies=bulk")  # fmt: skip
"""What people have chosen, whose pages show the facets of the rest."""
FACETS = ("sex", "diagnosis", "tissue", "treatment", "is_xenograft", "technologies")
OTHERS = ("", "offset=500000", "sex=Male&offset=300000", "ordering=age", "ordering=-collected", "id=SCPCS0500000",
          "sex=Male&age__gte=50&offset=200000", "ordering=-created_at", "sex=Male&ordering=-created_at")  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--insert", type=int, default=0, help="measure the writing of so many items instead")
    parser.add_argument("--filled", help="address of a database that was filled before")
    parser.add_argument("--keep", type=Path, help="a folder in which an embedded database stays for the next time")
    parser.add_argument("--database", help="address of a PostgreSQL to measure on; none: an embedded one")
    return parser


def queries(rounds: int) -> Iterator[tuple[str, str]]:
    """What is asked: the name of the measure, and the query."""
    draw = random.Random(1)
    for _ in range(rounds):
        for field, type_ in FIELDS.items():
            for lookup, value in _asked(field, type_, draw):
                yield f"{field}__{lookup}", f"{field}__{lookup}={value}"
        for pair in PAIRS:
            yield f"two: {pair}", pair
        for other in OTHERS:
            yield f"other: {other or 'all'}", other
        for word in SEARCHES:
            yield f"search: {word}", f"search={word}"
        for both in SEARCHED:
            yield f"search: {both}", both
        for chosen in FACETED:
            yield f"page: {chosen}", chosen
        for word in SEARCHES[::3]:
            yield f"page: search={word}", f"search={word}"


def _asked(field: str, type_: str, draw: random.Random) -> Iterator[tuple[str, str]]:
    word = {
        "sex": draw.choice(["Female", "Male"]),
        "diagnosis": f"Diagnosis {draw.randrange(60):02}",
        "tissue": f"Tissue {draw.randrange(500)}",
        "treatment": f"Treatment {draw.randrange(20)}",
        "center": f"Center {draw.randrange(5000)}",
        "submitter_id": f"Sample {draw.getrandbits(12):03x}",
        "age": str(draw.randrange(101)),
        "cell_count": str(draw.randrange(200_000)),
        "rin": f"{draw.random() * 10:.2f}",
        "is_xenograft": draw.choice(["true", "false"]),
        "collected": f"{draw.randrange(2015, 2025)}-0{draw.randrange(1, 10)}-15",
        "technologies": draw.choice(["10Xv2", "spatial", "bulk", "10Xv2,spatial"]),
    }[field]
    yield "exact", word
    yield "in", f"{word},{word}"
    yield "isnull", "true"
    yield "isnull", "false"
    if type_ in ("text", "date", "list"):
        part = (
            word[draw.randrange(len(word) - 2) :][:3]
            if field != "submitter_id"
            else draw.choice(["ample", "a1", "0f3"])
        )
        for lookup, value in (("contains", part), ("icontains", part.upper()), ("iexact", word.lower()),
                              ("startswith", word[:-1]), ("istartswith", word[:-1].upper())):  # fmt: skip
            yield lookup, value.replace(",", "")
    if type_ not in ("boolean", "list"):
        for lookup in ("gt", "gte", "lt", "lte"):
            yield lookup, word


async def fill(url: str, database: Database, items: int) -> dict[str, float]:
    """Items as a portal has them, and the copy of their fields; seconds that each took."""
    declared = {name: {"type": type_, "title": "", "facet": name in FACETS} for name, type_ in FIELDS.items()}
    began = time.perf_counter()
    with psycopg.connect(url) as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute(
            "insert into site (fields, portal) values (%s, %s)", [json.dumps(declared), '{"public": true}']
        )
        for low in range(1, items + 1, 50_000):
            high = min(items, low + 49_999)
            connection.execute(FILL, {"prefix": "SCPCS", "low": low, "high": high})
            connection.commit()
    filled = time.perf_counter() - began
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze item")
    began = time.perf_counter()
    await field_index.tend(database)
    return {"filled_s": filled, "copied_s": time.perf_counter() - began}


@asynccontextmanager
async def served(url: str) -> AsyncIterator[str]:
    """A server of this database in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        process = subprocess.Popen(  # noqa: ASYNC220 - before anything else runs
            [sys.executable, __file__, "--serve", url, folder], stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        try:
            assert process.stdout is not None
            port = int(await asyncio.to_thread(process.stdout.readline))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


async def serve(url: str, folder: str) -> None:
    from tidemill.main import make_web, open_site
    from tidemill.settings import Settings
    from tidemill.web.serve import serving

    settings = Settings(site=Path(folder), database_url=url)
    async with open_site(settings, migrate=False) as site, serving(make_web(site), "127.0.0.1", 0) as port:
        print(port, flush=True)
        await asyncio.Event().wait()


async def ask(base: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each request, by measure."""
    took: dict[str, list[float]] = {}
    async with httpx2.AsyncClient(base_url=base, timeout=120) as client:
        for name, query in queries(rounds):
            began = time.perf_counter()
            path = f"/portal/items?{query}" if name.startswith("page:") else f"/v1/items?limit=10&{query}"
            answer = await client.get(path)
            took.setdefault(name, []).append((time.perf_counter() - began) * 1000)
            if answer.status_code != 200:
                raise SystemExit(f"{query}: {answer.status_code} {answer.text}")
    return took


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """`requests`: milliseconds by measure; what filling took."""
    if args.insert:
        return await insert(args)
    if args.filled:
        async with served(args.filled) as base:
            return {"requests": await ask(base, args.rounds)}
    if args.keep:
        return await kept(args)
    async with scratch_database(args.database) as (url, database):
        found: dict[str, Any] = dict(await fill(url, database, args.items))
        async with served(url) as base:
            found["requests"] = await ask(base, args.rounds)
    return found


async def kept(args: argparse.Namespace) -> dict[str, Any]:
    """The same on an embedded server whose data stay for the next time."""
    async with server(None, keep=args.keep.absolute()) as url:
        found: dict[str, Any] = {}
        with psycopg.connect(url) as connection:
            filled = connection.execute("select to_regclass('site') is not null").fetchone()
        if filled == (False,):
            schema.migrate(url)

            async def address() -> str:
                return url

            database = Database(address)
            found |= await fill(url, database, args.items)
            await database.close()
        async with served(url) as base:
            return found | {"requests": await ask(base, args.rounds)}


async def insert(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds for writing so many items at once, and milliseconds for one at a time: without declared fields, with
    them, and with their copy."""
    found: dict[str, Any] = {}
    async with scratch_database(args.database) as (url, database):
        declared = {name: {"type": type_, "title": ""} for name, type_ in FIELDS.items()}
        with psycopg.connect(url, autocommit=True) as connection:
            for name in ("nothing declared", "declared", "with their copy"):
                if name == "declared":
                    connection.execute("insert into site (fields) values (%s)", [json.dumps(declared)])
                if name == "with their copy":
                    await field_index.tend(database, least=0)
                connection.execute("checkpoint")
                began = time.perf_counter()
                connection.execute(FILL, {"prefix": name, "low": 1, "high": args.insert})
                found[f"{name}, at once, s"] = time.perf_counter() - began
                singles = []
                for n in range(200):
                    began = time.perf_counter()
                    connection.execute(FILL, {"prefix": f"{name} one", "low": n, "high": n})
                    singles.append((time.perf_counter() - began) * 1000)
                found[f"{name}, one at a time, ms"] = statistics.median(singles)
                for verb, edit in (
                    ("status", "set status = 'odd'"),
                    ("another key", "set metadata = metadata || '{\"x\": 1}'"),
                    ("a declared key", "set metadata = metadata || '{\"age\": 7}'"),
                ):
                    began = time.perf_counter()
                    rows = "where id in (select id from item order by id desc limit 2000)"
                    connection.execute(f"update item {edit} {rows}".encode())
                    found[f"{name}, editing {verb} of 2,000, ms"] = (time.perf_counter() - began) * 1000
    return found


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def report(found: dict[str, Any]) -> None:
    requests: dict[str, list[float]] = found.pop("requests", {})
    for name, value in found.items():
        print(f"{name}: {value:,.1f}")
    if not requests:
        return
    single = [one for name, some in requests.items() if ":" not in name for one in some]
    print(f"{'':44} {'median':>8} {'p95':>8} {'most':>8}   ms")
    for field in FIELDS:
        mine = [one for name, some in requests.items() if name.startswith(f"{field}__") for one in some]
        print(_line(field, mine))
    for name, some in requests.items():
        if ":" in name:
            print(_line(name, some))
    for kind in ("two", "search", "page"):
        every = [one for name, some in requests.items() if name.startswith(f"{kind}:") for one in some]
        print(_line(f"all of {kind}", every))
    print(_line("all filters by one field", single))
    slow = sorted(((percentile(some, 0.95), name) for name, some in requests.items()), reverse=True)[:8]
    print("slowest: " + ", ".join(f"{name} {value:.0f}" for value, name in slow))


def _line(name: str, values: list[float]) -> str:
    return f"{name[:44]:44} {statistics.median(values):8.1f} {percentile(values, 0.95):8.1f} {max(values):8.1f}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(sys.argv[2], sys.argv[3]))
    else:
        given = arguments(argparse.ArgumentParser(description=__doc__)).parse_args()
        report(asyncio.run(measure(given)))
