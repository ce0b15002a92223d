"""Packages built from S3 into S3: multipart uploads, pinned ETags, a service that fails midway."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.ceph import Bucket, Server, fresh_bucket
from tests.packing import built, check, file_entry, object_entry, plan

from tidemill.domain.package_plan import PackagePlan, StorePlace, TextEntry
from tidemill.errors import Conflict, StorageError, StorageRefused
from tidemill.executors.contract import Progress
from tidemill.publishing import build as building
from tidemill.publishing.build import build
from tidemill.publishing.package_writing import PART

LONGEST = "/".join(["P1", *("k" * 203 for _ in range(5)), "x"])
"""1,024 bytes, which is all that S3 allows."""
ODD = ["P1/S1,S2/a b+c&d=e%41#f?.h5", "P1/ü/日本 (1).txt", LONGEST]


BOTH = pytest.mark.parametrize("service", ["moto", "ceph"], indirect=True)
"""Of a real service, which is slower to come up, only what moto might be wrong about."""


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(getattr(request, "param", "moto"))
    return server


def contents() -> dict[str, bytes]:
    small = {f"P1/S1/{n:03}": str(n).encode() * n for n in range(40)}
    return {"P1/S1/big.h5": bytes(range(256)) * (2 * PART // 256 + 99), **small, **{key: key.encode() for key in ODD}}


def _filled(bucket: Bucket) -> Bucket:
    for key, data in contents().items():
        bucket.put(key, data)
    return bucket


def _plan(here: Bucket, there: Bucket, endpoint: str | None = None) -> PackagePlan:
    options = there.options | ({"endpoint": endpoint} if endpoint else {})
    entries: list[Any] = [TextEntry("README.md", "read me"), *(object_entry(here, key) for key in contents())]
    return plan({"data": StorePlace(here.url, here.options)}, StorePlace(there.url + "/made", options), entries)


def _uploads(bucket: Bucket) -> list[str]:
    return [one["Key"] for one in bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])]


@pytest.fixture
def here(service: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return _filled(fresh_bucket(service, monkeypatch))


@pytest.fixture
def there(service: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return fresh_bucket(service, monkeypatch)


@BOTH
async def test_what_goes_in_comes_out(here: Bucket, there: Bucket, tmp_path: Path) -> None:
    wanted = _plan(here, there)
    made = await built(wanted)
    assert there.keys() == [f"made/{wanted.fingerprint[:16]}/P1_ALL.zip"]
    check(there.read(f"made/{made.key}"), made, contents() | {"README.md": b"read me"}, tmp_path)
    found = there.client.head_object(Bucket=there.name, Key=f"made/{made.key}")
    assert found["ETag"].strip('"') == made.etag
    assert _uploads(there) == []


async def test_a_folder_gets_the_same_bytes(here: Bucket, there: Bucket, tmp_path: Path) -> None:
    one = await built(_plan(here, there))
    entries: list[Any] = [TextEntry("README.md", "read me"), *(object_entry(here, key) for key in contents())]
    sources = {"data": StorePlace(here.url, here.options)}
    other = await built(plan(sources, StorePlace((tmp_path / "packages").as_uri()), entries))
    assert (one.key, one.sha256) == (other.key, other.sha256)


@BOTH
async def test_from_a_folder(there: Bucket, tmp_path: Path) -> None:
    here, dice = tmp_path / "data", random.Random(5)
    here.mkdir()
    made = {f"{n}.bin": dice.randbytes(size) for n, size in enumerate((2 * PART + 7, 99, PART // 2))}
    for name, data in made.items():
        (here / name).write_bytes(data)
    entries: list[Any] = [file_entry(here, name) for name in made]
    package = await built(plan({"data": StorePlace(here.as_uri())}, StorePlace(there.url, there.options), entries))
    check(there.read(package.key), package, made, tmp_path / "out")


@BOTH
async def test_an_object_that_changed_is_not_packed(here: Bucket, there: Bucket) -> None:
    wanted = _plan(here, there)
    here.put("P1/S1/007", b"8" * len(contents()["P1/S1/007"]))
    with pytest.raises(Conflict, match=r"data: P1/S1/007 changed while it was packed: sync again\."):
        await built(wanted)
    here.remove("P1/S1/007")
    with pytest.raises(Conflict, match=r"data: P1/S1/007 is not there any more: sync again\."):
        await built(wanted)
    assert there.keys() == []
    assert _uploads(there) == []


async def test_a_build_that_is_cancelled_aborts_its_upload(
    here: Bucket, there: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "TELL_EVERY", 0)
    begun = asyncio.Event()
    held = asyncio.ensure_future(build(_plan(here, there).document, lambda _: begun.set()))
    await begun.wait()
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    assert there.keys() == []
    assert _uploads(there) == []


@BOTH
async def test_what_a_killed_build_left_goes_with_the_next(here: Bucket, there: Bucket) -> None:
    wanted = _plan(here, there)
    key = f"made/{wanted.fingerprint[:16]}/P1_ALL.zip"
    left = there.client.create_multipart_upload(Bucket=there.name, Key=key)
    there.client.upload_part(Bucket=there.name, Key=key, UploadId=left["UploadId"], PartNumber=1, Body=b"0" * (5 << 20))
    await built(wanted)
    assert _uploads(there) == []
    assert there.keys() == [key]


@BOTH
async def test_builds_at_once_do_no_harm(here: Bucket, there: Bucket, tmp_path: Path) -> None:
    """The first to finish sweeps the others' uploads away; they find the package there."""
    made = await asyncio.gather(*(built(_plan(here, there)) for _ in range(3)))
    assert len({(one.sha256, one.etag) for one in made}) == 1
    assert _uploads(there) == []
    check(there.read(f"made/{made[0].key}"), made[0], contents() | {"README.md": b"read me"}, tmp_path)


async def test_a_store_that_fails_midway(here: Bucket, there: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "TELL_EVERY", 0)
    async with cut_off(here.server.endpoint) as (endpoint, cut):

        def tell(progress: Progress) -> None:
            if (progress.fraction or 0) > 0.4:
                cut()

        with pytest.raises(StorageError, match=r"s3://.*/made cannot be written: the service does not answer"):
            await build(_plan(here, there, endpoint).document, tell)
    assert there.keys() == []


async def test_a_bucket_that_is_not_there(here: Bucket, there: Bucket) -> None:
    wanted = _plan(here, there)
    there.client.delete_bucket(Bucket=there.name)
    with pytest.raises(StorageRefused, match=r"s3://.*/made cannot be written: there is no such bucket\.$"):
        await built(wanted)


async def test_a_source_that_cannot_be_reached(here: Bucket, there: Bucket) -> None:
    place = StorePlace(here.url, here.options | {"endpoint": "http://127.0.0.1:1"})
    entry = object_entry(here, "P1/S1/007")
    with pytest.raises(StorageError, match=r"s3://.* cannot be read: the service does not answer\.$"):
        await built(plan({"data": place}, StorePlace(there.url, there.options), [entry]))


@asynccontextmanager
async def cut_off(endpoint: str) -> AsyncIterator[tuple[str, Any]]:
    """A way to a service that can be cut for good: an address, and what cuts it."""
    parts, open_now = urlsplit(endpoint), set[asyncio.StreamWriter]()
    is_cut = False

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_cut:
            writer.transport.abort()
            return
        back, on = await asyncio.open_connection(parts.hostname, parts.port)
        open_now.update((writer, on))
        await asyncio.gather(pump(reader, on), pump(back, writer))

    def cut() -> None:
        nonlocal is_cut
        is_cut = True
        for writer in open_now:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    finally:
        cut()
        server.close()
