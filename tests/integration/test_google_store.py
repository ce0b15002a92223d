"""Google's store: a source, packages built from it and into it, links to them, what is public and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.gcs import PAGE, Google, google
from tests.packing import built, check, plan

from tidemill.catalogue.listing import LeftOut, listing
from tidemill.catalogue.sync import sync
from tidemill.db.database import Database, fetch
from tidemill.db.models import Source
from tidemill.domain.keys import printable
from tidemill.domain.package_plan import Entry, FileEntry, StorePlace
from tidemill.errors import Conflict, InvalidInput, StorageAway, StorageError
from tidemill.publishing.package_writing import PART
from tidemill.storage.presigning import presigned, size_in_store
from tidemill.storage.stores import open_store

URL = "gs://originals/in"
CONTENTS = {"P1/S1/big.h5": bytes(range(256)) * (2 * PART // 256 + 99)} | {
    key: key.encode() for key in ("P1/S1/a b+c&d=e%41#f?.h5", "P1/S2/ü<日本>.txt", "P2/S3/c.h5", "P2/S3/d.h5")
}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Google]:
    with google("originals", "packages") as made:
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(made.account(tmp_path)))
        for key, data in CONTENTS.items():
            made.put("originals", f"in/{key}", data)
        made.put("originals", "elsewhere/x", b"not below the source's URL")
        yield made


async def test_a_bucket_is_synced_page_by_page(database: Database, service: Google) -> None:
    assert len(CONTENTS) > PAGE
    layout = {"rules": [{"pattern": "{project}/{item}/**"}]}
    async with database.begin() as session:
        session.add(Source(name="in", url=URL, options={"endpoint": service.endpoint}, layout=layout, may_lose=0.5))
    first = await sync(database, "in")
    assert (first.seen, first.created, first.items, first.projects) == (5, 5, 3, 2)
    assert not (await sync(database, "in")).did_something
    service.put("originals", "in/P2/S3/c.h5", b"other bytes")
    del service.buckets["originals"]["in/P2/S3/d.h5"]
    again = await sync(database, "in")
    assert (again.created, again.changed, again.deleted, again.other.keys) == (0, 1, 1, ["P2/S3/c.h5"])
    async with database.begin() as session:
        rows = await fetch(session, "metadata.files", {"source": 1, "head": "P1", "tail": ""})
    kept = service.buckets["originals"]
    assert {row["key"]: (row["size"], row["etag"]) for row in rows} == {
        key: (len(data), kept[f"in/{key}"].etag) for key, data in CONTENTS.items() if key.startswith("P1")
    }


def _entries(service: Google) -> list[Entry]:
    stored = {key: service.buckets["originals"][f"in/{key}"] for key in CONTENTS}
    return [FileEntry(key, "data", key, len(one.data), one.etag) for key, one in stored.items()]


async def test_packages_are_built_from_it_and_into_it_in_parts(service: Google, tmp_path: Path) -> None:
    here, there = (StorePlace(url, {"endpoint": service.endpoint}) for url in (URL, "gs://packages/made"))
    wanted = plan({"data": here}, there, _entries(service))
    made = await built(wanted)
    stored = service.buckets["packages"]
    assert list(stored) == [f"made/{made.key}"]
    assert made.etag == stored[f"made/{made.key}"].etag
    check(stored[f"made/{made.key}"].data, made, CONTENTS, tmp_path / "unpacked")
    assert sum("partNumber" in asked for asked in service.asked) == 3
    service.put("originals", "in/P2/S3/c.h5", b"same size?"[: len(b"P2/S3/c.h5")])
    stored.clear()
    with pytest.raises(Conflict, match=r"data: P2/S3/c\.h5 changed while it was packed: sync again\."):
        await built(wanted)
    assert not stored
    assert not service.uploads


async def test_a_link_is_good_for_one_object_and_for_its_time(service: Google) -> None:
    options = {"endpoint": service.endpoint}
    service.put("packages", "made/0/a b.zip", b"zip")
    service.put("packages", "made/0/other.zip", b"other")
    assert await size_in_store("gs://packages/made", options, "0/a b.zip") == 3
    with pytest.raises(StorageAway):
        await size_in_store("gs://packages/made", options, "0/nothing.zip")
    link = await presigned("gs://packages/made", options, "0/a b.zip", 600, "attachment")
    assert _fetched(link).content == b"zip"
    part = _fetched(link, Range="bytes=1-")
    assert (part.status_code, part.content) == (206, b"ip")
    assert _fetched(link.replace("a%20b.zip", "other.zip")).status_code == 403
    assert _fetched(link.replace("X-Goog-Expires=600", "X-Goog-Expires=6000")).status_code == 403
    assert _fetched(link.partition("?")[0]).status_code == 401


def _fetched(link: str, **headers: str) -> httpx2.Response:
    """What the service gives for a link; obstore signs all of them for the name that Google's service has."""
    return httpx2.get(link, headers={"Host": "storage.googleapis.com"} | headers, timeout=60)


@pytest.mark.parametrize("key", ["P1//double.h5", "P1/../up.h5", "P1/tab\t.h5"])
def test_a_key_of_which_no_path_can_be_made_ends_the_listing_by_its_name(service: Google, key: str) -> None:
    service.put("originals", f"in/{key}", b"x")
    with pytest.raises(StorageError) as refused:
        list(listing(URL, {"endpoint": service.endpoint}, LeftOut()))
    assert "gs://originals/in cannot be listed: it holds a key" in refused.value.message
    assert printable(f"in/{key}") in refused.value.message
    assert "Rename or remove it" in str(refused.value.hint)


def test_what_is_public_is_read_without_credentials(service: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT")
    options = {"endpoint": service.endpoint, "anonymous": True}
    with pytest.raises(StorageError, match=r"gs://originals/in cannot be listed: the service refuses us") as refused:
        list(listing(URL, options, LeftOut()))
    assert "GOOGLE_SERVICE_ACCOUNT" in str(refused.value.hint)
    service.public.add("originals")
    assert sorted(seen.key for seen in listing(URL, options, LeftOut())) == sorted(CONTENTS)


def test_what_is_wrong_is_said(service: Google, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = {"endpoint": service.endpoint}
    with pytest.raises(StorageError, match="gs://nowhere cannot be listed: there is no such bucket"):
        list(listing("gs://nowhere", options, LeftOut()))
    service.account(tmp_path).write_text(service.account(tmp_path).read_text().replace("tidemill@", "another@"))
    with pytest.raises(StorageError, match=r"the service refuses us \(AuthenticationRequired\)"):
        list(listing(URL, options, LeftOut()))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", "/nowhere/account.json")
    with pytest.raises(InvalidInput, match=r"gs://originals cannot be opened: .*/nowhere/account.json"):
        open_store("gs://originals")
