"""All benchmarks at full size, one table. `make bench` runs this.

python benchmarks/all.py                    the table in README.md is written anew, and results/<date>.json
python benchmarks/all.py --quick            small sizes, a minute: to see that everything works; writes nothing
python benchmarks/all.py --peers            job libraries from PyPI beside it
python benchmarks/all.py --scale            a million items, too: half an hour more, and 10 GB of disk meanwhile
python benchmarks/all.py --database URL     on a server of yours instead of the embedded one
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import arrival
import engine
import feed
import latency
import packages
import pages
import peer
import portal_api
import report
import scale
import start
import sync
import uvloop
from scratch import durability, must_be_durable, server

HERE = Path(__file__).resolve().parent
Measure = Callable[[argparse.Namespace], Awaitable[dict[str, Any]]]


def plan(quick: bool, peers: bool, large: bool) -> list[tuple[str, Measure, list[str]]]:
    """What is measured, in order: its name, how, and its arguments."""
    made: list[tuple[str, Any, list[str]]] = [
        ("engine", engine, ["--rounds", "1" if quick else "3"]),
        ("engine of 2", engine, ["--workers", "2", "--rounds", "1" if quick else "3"]),
        ("latency", latency, ["--runs", "20", "--idle", "5"] if quick else []),
        ("start", start, ["--items", "10000", "--starts", "1"] if quick else []),
        ("pages", pages, ["--items", "10000", "--seconds", "4", "--requests", "10"] if quick else []),
    ]
    made.append(("feed", feed, ["--seconds", "3", "--rounds", "1", "--items", "2000"] if quick else []))
    made.append(("sync", sync, ["--keys", "20000", "--listed", "1000"] if quick else []))
    made.append(("packages", packages, _packages(quick)))
    made.append(("portal", portal_api, _portal(quick, large)))
    if large:
        few = ["--items", "20000"] if quick else []
        made.append(("scale", scale, [*few, *(["--rounds", "4", "--starts", "10"] if quick else [])]))
        made.append(("arrival", arrival, [*few, *(["--inserts", "20"] if quick else [])]))
    if peers:
        made.insert(2, ("peers", peer, ["--items", "300"] if quick else []))
    return [(name, _measure(module), args) for name, module, args in made]


def _packages(quick: bool) -> list[str]:
    words = ["--megabytes", "64", "--files", "50", "--rounds", "1", "--sparse", "0.5"] if quick else []
    return [*words, "--s3", "ceph"] if shutil.which("radosgw") and not quick else words


def _portal(quick: bool, large: bool) -> list[str]:
    """Fewer items than the goal speaks of, unless there is time: a million take ten minutes to fill in."""
    if quick:
        return ["--items", "20000", "--rounds", "1"]
    return [] if large else ["--items", "100000", "--rounds", "2"]


def _measure(module: Any) -> Measure:
    async def run(given: argparse.Namespace) -> dict[str, Any]:
        if module is sync:  # whose memory is to be its own
            return await _apart(sync, given.words)
        args = module.arguments(argparse.ArgumentParser()).parse_args(given.words)
        found: dict[str, Any] = await module.measure(args)
        return {"items": args.items, **found} if module is portal_api else found

    return run


async def _apart(module: Any, words: Sequence[str]) -> dict[str, Any]:
    """What a benchmark finds in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, module.__file__, *words, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module.__name__} ended with {process.returncode}")
    found: dict[str, Any] = json.loads(said)
    return found


async def measure(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The machine and the figures by name. What fails is said and left out."""
    found: dict[str, Any] = {}
    began = time.perf_counter()
    async with server(args.database) as admin:
        settings = durability(admin)
        must_be_durable(settings)
        about = report.machine(settings)
        for name, run, words in plan(args.quick, args.peers, args.scale):
            print(f"{time.perf_counter() - began:4.0f} s  {name} …", file=sys.stderr, flush=True)
            try:
                found[name] = await run(argparse.Namespace(words=[*words, "--database", admin]))
            except Exception as error:  # noqa: BLE001 - one that fails must not take the others' figures with it
                found[name] = None
                print(f"        {name} failed: {type(error).__name__}: {error}", file=sys.stderr)
        if args.scale:
            scale.drop(admin)
    now = dt.datetime.now(dt.UTC)
    about |= {"date": f"{now:%Y-%m-%d %H:%M} UTC", "seconds": round(time.perf_counter() - began)}
    return about, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--peers", action="store_true", help="measure job libraries from PyPI beside it")
    parser.add_argument("--scale", action="store_true", help="measure a million items beside an empty database")
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        about, found = runner.run(measure(args))
    failed = [name for name, figures in found.items() if figures is None]
    rows = list(report.lines({name: figures for name, figures in found.items() if figures}))
    print(report.plain(rows, about))
    if not args.quick and not failed:
        results = HERE / "results"
        results.mkdir(exist_ok=True)
        kept = results / f"{about['date'].replace(' UTC', '').replace(' ', 'T').replace(':', '')}.json"
        kept.write_text(json.dumps({"about": about, "figures": found}, indent=2) + "\n", encoding="utf-8")
        report.rewrite(HERE / "README.md", report.markdown(rows, about))
    missed = [row.name for row in rows if row.met is False]
    print(f"{len(missed)} missed, {len(failed)} failed.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
