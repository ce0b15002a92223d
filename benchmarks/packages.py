"""A package beside a plain copy of the same bytes between the same places, in turns; and its memory at any size.

python benchmarks/packages.py [--megabytes 512] [--files 200] [--rounds 5] [--sparse 10] [--s3 URL --endpoint URL]

Folder to folder: each file copied by the system's own copying and synced, as the package is. With `--s3` (a bucket,
with credentials in the environment; or `moto`, or `ceph` where that is installed) also a quarter of it from one prefix
to another: each object streamed through, four at a time, in the same parts. The seconds of processor are this
process's, threads and system calls included; they tell something on a busy machine, too. The peak memory is that of a
process that packs sparse files of so many gigabytes, beside one that packs a hundredth of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import obstore
import uvloop
from obstore.store import ObjectStore
from processes import peak_megabytes
from workload import spread

from tidemill.domain.package_plan import Entry, FileEntry, StorePlace, make_plan
from tidemill.publishing.build import build
from tidemill.publishing.package_writing import AT_ONCE, PART
from tidemill.storage.stores import open_store

LARGE = 8
"""Files that have most of the bytes between them."""


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--files", type=int, default=200, help="small ones beside the eight large ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sparse", type=float, default=10, help="gigabytes of sparse files for the memory; 0: none")
    parser.add_argument("--s3", help="a bucket's URL, or moto, or ceph")
    parser.add_argument("--endpoint", help="where the bucket's service is, if not Amazon's")
    parser.add_argument("--folder", type=Path, help="where files are made [default: the system's temporary folder]")
    parser.add_argument("--database", help="not used")
    return parser


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both, and the share of the copy's pace that packing has, by place."""
    found: dict[str, Any] = {"megabytes": args.megabytes, "files": args.files + LARGE}
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        here = Path(scratch, "here")
        fill(here, args.megabytes, args.files)
        found["folders"] = await _turns(args.rounds, FolderPair(here, Path(scratch)))
        if args.s3:
            found["s3"] = await _stores(args, Path(scratch))
    if args.sparse:
        found["sparse"] = args.sparse
        found["peak_mb"] = await asyncio.to_thread(_peak, args.sparse, args.folder)
        found["peak_mb_small"] = await asyncio.to_thread(_peak, args.sparse / 100, args.folder)
    return found


async def _stores(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    smaller = args.megabytes // 4  # a tests' server that keeps all in memory takes no more
    here = scratch / "for a store"
    fill(here, smaller, args.files)
    with bucket(args.s3, args.endpoint) as place:
        pair = StorePair(place, here)
        await pair.upload()
        return {"megabytes": smaller, **await _turns(args.rounds, pair)}


def fill(folder: Path, megabytes: int, files: int) -> None:
    """Files that cannot be compressed: eight large ones, and small ones of 1 to 50 kB."""
    folder.mkdir(parents=True)
    dice = random.Random(1)
    for n in range(files):
        (folder / f"small{n:05}").write_bytes(dice.randbytes(dice.randrange(1_000, 50_000)))
    for n in range(LARGE):
        with (folder / f"large{n}").open("wb") as file:
            for _ in range(megabytes // LARGE):
                file.write(dice.randbytes(1 << 20))


def sparse(folder: Path, gigabytes: float) -> None:
    """Two files of nothing but holes."""
    folder.mkdir()
    for name in ("a", "b"):
        with (folder / name).open("wb") as file:
            file.truncate(int(gigabytes * 1e9 / 2))


class FolderPair:
    """From one folder to another."""

    def __init__(self, here: Path, scratch: Path) -> None:
        self._here, self._copies, self._packages = here, scratch / "copies", scratch / "packages"

    async def copy(self) -> None:
        await asyncio.to_thread(self._copy)

    def _copy(self) -> None:
        self._copies.mkdir()
        for path in sorted(self._here.iterdir()):
            shutil.copyfile(path, self._copies / path.name)
        for path in self._copies.iterdir():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)

    async def pack(self) -> None:
        entries: list[Entry] = []
        for path in self._here.iterdir():
            stat = path.stat()
            etag = f"{stat.st_mtime_ns:x}-{stat.st_size:x}"
            entries.append(FileEntry(path.name, "here", path.name, stat.st_size, etag))
        await pack(entries, StorePlace(self._here.as_uri()), StorePlace(self._packages.as_uri()))

    async def tidy(self) -> None:
        for folder in (self._copies, self._packages):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


class StorePair:
    """From one prefix of a bucket to another."""

    def __init__(self, place: StorePlace, files: Path) -> None:
        self._files = files
        self._from = StorePlace(f"{place.url}/here", place.options)
        self._to = StorePlace(f"{place.url}/there", place.options)
        self._source: ObjectStore = open_store(self._from.url, place.options)
        self._target: ObjectStore = open_store(self._to.url, place.options)

    async def upload(self) -> None:
        """Put the files there."""
        for path in self._files.iterdir():
            await obstore.put_async(self._source, path.name, path)

    async def copy(self) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> None:
            async with turns:
                found = await obstore.get_async(self._source, name)
                await obstore.put_async(
                    self._target, f"copies/{name}", found.stream(PART), chunk_size=PART, max_concurrency=AT_ONCE
                )

        await asyncio.gather(*(one(path.name) for path in self._files.iterdir()))

    async def pack(self) -> None:
        entries: list[Entry] = []
        for page in obstore.list(self._source):
            for seen in page:
                etag = (seen["e_tag"] or "").strip('"')
                entries.append(FileEntry(seen["path"], "here", seen["path"], seen["size"], etag))
        await pack(entries, self._from, self._to)

    async def tidy(self) -> None:
        for page in obstore.list(self._target):
            await obstore.delete_async(self._target, [seen["path"] for seen in page])


async def pack(entries: Sequence[Entry], source: StorePlace, store: StorePlace) -> None:
    """One package of everything."""
    plan = make_plan(
        "all.zip", "all", project=None, items=[], attributes={}, entries=entries, sources={"here": source}, store=store
    )
    await build(plan.document, lambda _: None)


async def _turns(rounds: int, pair: FolderPair | StorePair) -> dict[str, Any]:
    """Copy and package in turns; once before to warm up. What was made is taken away outside the time."""
    seconds: dict[str, list[float]] = {"copy": [], "package": []}
    processor: dict[str, list[float]] = {"copy": [], "package": []}
    for turn in range(rounds + 1):
        for name, act in (("copy", pair.copy), ("package", pair.pack)):
            await asyncio.to_thread(os.sync)
            began, busy = time.perf_counter(), time.process_time()
            await act()
            if turn:
                seconds[name].append(time.perf_counter() - began)
                processor[name].append(time.process_time() - busy)
            await pair.tidy()
    shares = [100 * copied / packed for copied, packed in zip(seconds["copy"], seconds["package"], strict=True)]
    return {
        "copy_s": spread(seconds["copy"], 3),
        "package_s": spread(seconds["package"], 3),
        "percent": spread(shares, 1),
        "copy_cpu_s": spread(processor["copy"], 3),
        "package_cpu_s": spread(processor["package"], 3),
    }


@contextlib.contextmanager
def bucket(url: str, endpoint: str | None) -> Iterator[StorePlace]:
    """The bucket that is named, or one of moto's or Ceph's in a process of its own."""
    if url == "ceph":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from tests.ceph import used  # here the tests' server is the only one

        with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder, used(Path(folder)) as ceph:
            os.environ.update(ceph.environment)
            ceph.client().create_bucket(Bucket="bench")
            yield StorePlace("s3://bench", {"endpoint": ceph.endpoint})
        return
    if url != "moto":
        yield StorePlace(url.rstrip("/"), {"endpoint": endpoint} if endpoint else {})
        return
    import boto3

    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    program = "from moto.server import ThreadedMotoServer as S; s = S('127.0.0.1', 0, False); s.start(); "
    program += "print(s.get_host_and_port()[1], flush=True); input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket="bench")
        try:
            yield StorePlace("s3://bench", {"endpoint": address})
        finally:
            server.kill()


def _peak(gigabytes: float, folder: Path | None) -> float:
    """Megabytes at most of a process that packs sparse files of so many gigabytes."""
    command = [sys.executable, __file__, "--only-pack", str(gigabytes), *(["--folder", str(folder)] if folder else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["peak_mb"])


async def _only_pack(gigabytes: float, folder: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pair = FolderPair(Path(scratch, "here"), Path(scratch))
        await asyncio.to_thread(sparse, Path(scratch, "here"), gigabytes)
        began = time.perf_counter()
        await pair.pack()
        seconds = time.perf_counter() - began
    peak = peak_megabytes(os.getpid())
    return {"peak_mb": round(peak, 1), "seconds": round(seconds, 2)}


def main() -> None:
    parser = arguments(
        argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    )
    parser.add_argument("--only-pack", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    work = _only_pack(args.only_pack, args.folder) if args.only_pack else measure(args)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the program itself
        print(json.dumps(runner.run(work), indent=2))


if __name__ == "__main__":
    main()
