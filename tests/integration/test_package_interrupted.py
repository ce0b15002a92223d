"""A build that is stopped midway, by a signal or by whoever waits for it: nothing of it stays where it wrote to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.ceph import Bucket, Server, fresh_bucket
from tests.packing import object_entry, plan
from tests.program import Program

from tidemill.cli.exits import Exit
from tidemill.domain.package_plan import PackagePlan, StorePlace
from tidemill.publishing.build import build
from tidemill.publishing.package_buffers import Buffers, Chunk
from tidemill.publishing.package_output import Output
from tidemill.publishing.package_writing import PART, open_sink

BIG, HELD = "P1/a.h5", "P1/z.h5"


@dataclass
class Place:
    """Where a package is written, and what lies there."""

    store: StorePlace
    whole: Callable[[], list[str]]
    unfinished: Callable[[], list[str]]


@pytest.fixture
def here(moto: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = fresh_bucket(moto, monkeypatch)
    bucket.put(BIG, b"x" * (2 * PART + 99))
    bucket.put(HELD, b"never read")
    return bucket


@pytest.fixture(params=["folder", "s3"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "packages"
    if request.param == "folder":
        there = Place(
            StorePlace(folder.as_uri()),
            lambda: [path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"],
            lambda: [path.name for path in folder.rglob("*.part")],
        )
        yield there
        assert not list(folder.iterdir()), "not even the folder of its key stays"
        return
    bucket = fresh_bucket(request.getfixturevalue("moto"), request.getfixturevalue("monkeypatch"))

    def uploads() -> list[str]:
        return [one["Key"] for one in bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])]

    yield Place(StorePlace(bucket.url, bucket.options), bucket.keys, uploads)


def _plan(here: Bucket, there: Place, endpoint: str) -> PackagePlan:
    entries = [object_entry(here, key) for key in (BIG, HELD)]
    return plan({"data": StorePlace(here.url, here.options | {"endpoint": endpoint})}, there.store, [*entries])


async def _until(found: Callable[[], list[str]]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(found):
            await asyncio.sleep(0.02)


async def test_a_command_that_is_told_to_end(here: Bucket, there: Place, tmp_path: Path) -> None:
    async with holding(here.server.endpoint, HELD) as endpoint:
        (tmp_path / "plan.json").write_bytes(_plan(here, there, endpoint).document)
        program = Program(tmp_path / "nowhere", None)
        with program.start("build-package", tmp_path / "plan.json", tmp_path / "out.json") as building:
            await _until(there.unfinished)
            building.signal(signal.SIGTERM)
            assert await asyncio.to_thread(building.end) == Exit.INTERRUPTED, building.said
    assert (there.whole(), there.unfinished()) == ([], [])
    assert not (tmp_path / "out.json").exists()


async def test_a_build_that_is_cancelled_again_and_again(here: Bucket, there: Place) -> None:
    async with holding(here.server.endpoint, HELD) as endpoint:
        work = asyncio.ensure_future(build(_plan(here, there, endpoint).document, lambda _: None))
        await _until(there.unfinished)
        while not work.done():
            work.cancel()
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.CancelledError):
            await work
    assert (there.whole(), there.unfinished()) == ([], [])


async def test_a_cancelled_build_stays_cancelled_though_its_place_cannot_be_cleared(
    here: Bucket, tmp_path: Path
) -> None:
    folder = tmp_path / "packages"
    there = Place(StorePlace(folder.as_uri()), list, lambda: [path.name for path in folder.rglob("*.part")])
    async with holding(here.server.endpoint, HELD) as endpoint:
        work = asyncio.ensure_future(build(_plan(here, there, endpoint).document, lambda _: None))
        await _until(there.unfinished)
        (below,) = folder.iterdir()
        below.rename(tmp_path / "away")
        below.write_text("no folder any more")
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work


async def test_a_writer_that_breaks_is_told_of_and_nobody_waits_for_it(tmp_path: Path) -> None:
    size = 4096
    with ThreadPoolExecutor(1) as hashing:
        writing = ThreadPoolExecutor(1)
        sink = await open_sink(StorePlace(tmp_path.as_uri()), "0123456789abcdef/P1.zip", 20 * size, writing)
        writing.shutdown()
        output = Output(sink, hashing, Buffers(size, reuse=False))

        async def write() -> None:
            for _ in range(20):
                await output.write(Chunk(bytes(size), size))

        with pytest.raises(RuntimeError, match="after shutdown"):
            await asyncio.wait_for(write(), 30)


@asynccontextmanager
async def holding(endpoint: str, key: str) -> AsyncIterator[str]:
    """The address of a way to a service on which no answer to a GET of that key ever comes."""
    parts = urlsplit(endpoint)
    tasks = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_connection(parts.hostname, parts.port)
        held = asyncio.Event()

        async def ask() -> None:
            while data := await reader.read(1 << 16):
                if data.startswith(b"GET ") and key.encode() in data.partition(b"\r\n")[0]:
                    held.set()
                on.write(data)
                await on.drain()

        async def answer() -> None:
            while data := await back.read(1 << 16):
                if not held.is_set():
                    writer.write(data)
                    await writer.drain()

        asking, answering = asyncio.ensure_future(ask()), asyncio.ensure_future(answer())
        tasks.update((asking, answering))
        with contextlib.suppress(ConnectionError):
            await asyncio.wait((asking, answering), return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, on):
            one.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
