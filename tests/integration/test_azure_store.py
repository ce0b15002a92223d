"""Azure's store: a source, packages built from it and into it, links to them, and what is refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx2
import obstore
import pytest
from tests import azurite
from tests.packing import built, check, plan

from tidemill.catalogue.listing import LeftOut, listing
from tidemill.domain.package_plan import FileEntry, StorePlace
from tidemill.errors import Conflict, StorageError
from tidemill.publishing.package_writing import PART
from tidemill.storage.presigning import presigned, size_in_store
from tidemill.storage.stores import open_store

URL = "az://originals/in"
CONTENTS = {"P1/big.dat": bytes(range(256)) * (2 * PART // 256 + 99)} | {
    key: key.encode() for key in ("P1/a b+c&d=e%41#f?.dat", "P1/ü<日本>.dat", "P2/c.dat")
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    program = azurite.program()
    if program is None:
        pytest.skip("Azurite is not here, and no npm that could install it")
    with azurite.azurite(program, "originals", "packages") as made:
        yield made


@pytest.fixture
def options(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", azurite.ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", azurite.KEY)
    store = open_store(URL, {"endpoint": endpoint})
    for key, data in CONTENTS.items():
        obstore.put(store, key, data)
    return {"endpoint": endpoint}


def test_a_container_is_listed_and_refusals_are_said(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(listing(URL, options, LeftOut()))
    assert sorted((seen.key, seen.size) for seen in found) == sorted((key, len(CONTENTS[key])) for key in CONTENTS)
    assert all(seen.etag for seen in found)
    with pytest.raises(StorageError, match="az://nowhere cannot be listed: there is no such bucket"):
        list(listing("az://nowhere", options, LeftOut()))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"another").decode())
    with pytest.raises(StorageError, match="refuses us") as refused:
        list(listing("az://originals", options, LeftOut()))
    assert "AZURE_STORAGE_ACCOUNT_KEY" in str(refused.value.hint)


async def test_packages_are_built_from_it_and_into_it_and_linked_to(options: dict[str, str], tmp_path: Path) -> None:
    here, there = StorePlace(URL, options), StorePlace("az://packages/made", options)
    found = listing(URL, options, LeftOut())
    wanted = plan({"data": here}, there, [FileEntry(one.key, "data", one.key, one.size, one.etag) for one in found])
    made = await built(wanted)
    assert await size_in_store(there.url, options, made.key) == made.size
    link = await presigned(there.url, options, made.key, 600, "attachment")
    answer = httpx2.get(link, timeout=60)
    assert (answer.status_code, answer.headers["etag"].strip('"')) == (200, made.etag)
    check(answer.content, made, CONTENTS, tmp_path)
    assert httpx2.get(link, headers={"Range": "bytes=4-9"}, timeout=60).content == answer.content[4:10]
    assert httpx2.get(link.partition("?")[0], timeout=60).status_code in (403, 404)
    assert httpx2.get(link.replace("P1_ALL.zip", "other.zip"), timeout=60).status_code == 403
    obstore.put(open_store(URL, options), "P2/c.dat", b"P2/d.dat")
    with pytest.raises(Conflict, match=r"data: P2/c\.dat changed while it was packed: sync again\."):
        await built(wanted)
