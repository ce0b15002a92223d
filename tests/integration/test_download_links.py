"""Links: who gets one and under which terms, what is counted, links of object stores, stores that are away."""

from __future__ import annotations

import asyncio
import base64
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
from sqlalchemy import text
from tests.ceph import Bucket
from tests.portal import BODY, counted, describe, key_for, link_for, publish

from tidemill.db.embedded_folder import free_port
from tidemill.errors import Gone, KeyRefused, NotFound, StorageAway, StorageError
from tidemill.main import Site
from tidemill.publishing import downloads
from tidemill.publishing.links import Link
from tidemill.storage import presigning


async def test_what_was_replaced_is_not_handed_out_any_more(portal_site: Site, atlas_folder: Path) -> None:
    database = portal_site.database
    old = await publish(database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    async with database.begin() as session:
        await session.execute(text("update computed_file set replaced_at = now()"))
        new = (
            await session.execute(
                text(
                    "insert into computed_file (item_id, package, name, store, key, size, sha256, fingerprint) "
                    "select item_id, package, name, store, key, size, sha256, 'g' from computed_file returning id"
                )
            )
        ).scalar_one()
    with pytest.raises(Gone, match=f"it is computed file {new} now"):
        await link_for(portal_site, old, None)
    assert (await link_for(portal_site, new, None)).size == len(BODY)
    with pytest.raises(NotFound):
        await link_for(portal_site, 10**6, None)
    assert await counted(database) == (1, 1)


async def test_who_did_not_accept_gets_no_link(portal_site: Site, atlas_folder: Path) -> None:
    file = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    accepted, not_yet = await key_for(portal_site.database), await key_for(portal_site.database, accepted=False)
    with pytest.raises(KeyRefused):
        await link_for(portal_site, file, not_yet)
    await describe(portal_site.database, {"version": "2", "text": "other"})
    with pytest.raises(KeyRefused, match="have changed"):
        await link_for(portal_site, file, accepted)
    assert await counted(portal_site.database) == (0, 0)


async def test_under_which_terms_somebody_took_a_file_is_on_record(portal_site: Site, atlas_folder: Path) -> None:
    file = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    await link_for(portal_site, file, await key_for(portal_site.database))
    await describe(portal_site.database, {"version": "2", "text": "other"})
    await link_for(portal_site, file, await key_for(portal_site.database, "c@d.org"))
    async with portal_site.database.begin() as session:
        rows = await session.execute(
            text(
                "select t.email, d.terms, d.at is not null from download d join token t on t.id = d.token_id "
                "order by d.id"
            )
        )
        assert [tuple(row) for row in rows] == [("a@b.org", "1", True), ("c@d.org", "2", True)]


async def test_links_of_s3_bear_the_name_and_end(portal_site: Site, s3: Bucket, portal_web: httpx2.AsyncClient) -> None:
    await _s3(portal_site, s3)


async def test_links_of_a_quick_s3(portal_site: Site, quick_s3: Bucket) -> None:
    await _s3(portal_site, quick_s3)


async def _s3(portal_site: Site, bucket: Bucket) -> None:
    name = "SCPCS1,SCPCS2 ü'\".zip"
    bucket.put(f"there/0123/{name}", BODY)
    file = await publish(
        portal_site.database, bucket.url + "/there", f"0123/{name}", BODY, name=name, options=bucket.options
    )
    link = await link_for(portal_site, file, await key_for(portal_site.database))
    assert bucket.options["endpoint"] in link.url
    async with httpx2.AsyncClient(timeout=60) as client:
        answer = await client.get(link.url, headers={"Range": "bytes=10-19"})
        assert (answer.status_code, answer.content) == (206, BODY[10:20])
        assert unquote(answer.headers["content-disposition"].partition("''")[2]) == link.filename
    bucket.remove(f"there/0123/{name}")
    with pytest.raises(StorageAway, match="not where it should be"):
        await link_for(portal_site, file, None)
    assert await counted(portal_site.database) == (1, 1)


async def test_azure_signs_links_too_and_without_credentials_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "lab")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"k" * 64).decode())
    link = await presigning.presigned("az://packages/there", {}, "0123/a b.zip", 3600, "attachment")
    assert link.startswith("https://lab.blob.core.windows.net/packages/there/0123/a%20b.zip?")
    assert "sig=" in link
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    nobody = {"endpoint": "http://127.0.0.1:9", "region": "nowhere"}
    with pytest.raises(StorageError, match="can be signed"):
        await presigning.presigned("s3://packages", nobody, "a.zip", 3600, "attachment")


async def test_a_store_that_is_away_is_told_in_words_and_asked_once_in_a_while(
    portal_site: Site, quick_s3: Bucket
) -> None:
    options = quick_s3.options | {"endpoint": f"http://127.0.0.1:{free_port(None)}"}
    file = await publish(portal_site.database, quick_s3.url + "/x", "a.zip", BODY, options=options)
    for _ in range(50):
        with pytest.raises(StorageAway, match="cannot be reached now"):
            await link_for(portal_site, file, None)
    assert await counted(portal_site.database) == (0, 0)


async def test_a_store_that_hangs_keeps_nobody_else_waiting(
    portal_site: Site, quick_s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presigning, "PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = quick_s3.options | {"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        file = await publish(portal_site.database, quick_s3.url + "/y", "a.zip", BODY, options=options)
        first = await asyncio.gather(*(link_for(portal_site, file, None) for _ in range(5)), return_exceptions=True)
        assert {type(one) for one in first} == {StorageAway}
        asked = [asyncio.create_task(link_for(portal_site, file, None)) for _ in range(200)]
        async with portal_site.database.begin() as session:
            await session.execute(text("select 1"))
        later = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one) for one in later} == {StorageAway}
    assert await counted(portal_site.database) == (0, 0)


async def test_originals_are_handed_out_only_where_the_site_says_so(
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path
) -> None:
    async with portal_site.database.begin() as session:
        await session.execute(
            text("insert into source (name, url) values ('tapes', :url)"), {"url": atlas_folder.as_uri()}
        )
        await session.execute(text("insert into project (name, locked) values ('P', true)"))
        await session.execute(
            text(
                "insert into file (source_id, key, size, project_id) "
                "select s.id, x.key, :size, case x.key when 'locked' then p.id end "
                "from source s, project p, (values ('0123/atlas.zip'), ('locked')) x(key)"
            ),
            {"size": len(BODY)},
        )
        ids = {row.key: row.id for row in await session.execute(text("select key, id from file"))}

    async def original(key: str) -> Link:
        async with portal_site.database.begin() as session:
            return await downloads.original_link(session, portal_site, ids[key], None)

    with pytest.raises(NotFound):
        await original("0123/atlas.zip")
    await describe(portal_site.database, publishing={"originals": True})
    link = await original("0123/atlas.zip")
    answer = await portal_web.get(link.url)
    assert answer.content == BODY
    assert link.filename == "atlas.zip"
    with pytest.raises(NotFound):
        await original("locked")
    async with portal_site.database.begin() as session:
        assert (await session.execute(text("select original from download"))).scalar_one() == "tapes/0123/atlas.zip"
    await describe(portal_site.database, publishing={})
    assert (await portal_web.get(link.url)).status_code == 410
    assert urlsplit(link.url).path.startswith("/download/original-")
