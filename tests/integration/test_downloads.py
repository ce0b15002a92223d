"""Links and downloads over real HTTP: ranges, resuming, hanging up, what a link may not be turned into, links of S3."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import hashlib
import os
import random
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import psutil
import pytest
from sqlalchemy import text
from tests.ceph import Bucket
from tests.portal import describe, key_for, open_site, publish, served

from tidemill.accounts import people
from tidemill.db.database import Database
from tidemill.errors import Gone, KeyRefused, NotFound, StorageAway, StorageError
from tidemill.main import Site
from tidemill.publishing import downloads
from tidemill.publishing.links import Link
from tidemill.storage import presigning

BODY = random.Random(7).randbytes(700_001)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    (folder / "0123").mkdir(parents=True)
    (folder / "0123" / "atlas.zip").write_bytes(BODY)
    return folder


@pytest.fixture
async def site(database: Database, database_url: str, tmp_path: Path) -> Site:
    await describe(database)
    return open_site(database, database_url, tmp_path)


@pytest.fixture
async def web(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(site) as client:
        yield client


async def given(site: Site, file: int, key: str | None, base: Any = "") -> Link:
    """A link for the holder of a key, or for an operator."""
    async with site.database.begin() as session:
        person = None if key is None else await people.holder(session, key)
        assert key is None or person is not None
        return await downloads.link(session, site, file, person, base=str(base))


async def counted(database: Database) -> tuple[int, int]:
    async with database.begin() as session:
        rows = (await session.execute(text("select count(*) from download"))).scalar_one()
        return rows, (await session.execute(text("select coalesce(sum(downloads), 0) from computed_file"))).scalar_one()


async def test_a_link_gives_the_file_with_its_name_date_and_checksum(
    site: Site, web: httpx2.AsyncClient, store: Path
) -> None:
    file = await publish(site.database, store.as_uri(), "0123/atlas.zip", BODY)
    link = await given(site, file, await key_for(site.database), web.base_url)
    answer = await web.get(link.url)
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == SHA == link.sha256
    async with site.database.begin() as session:
        today = (await session.execute(text("select to_char(now(), 'YYYY-MM-DD')"))).scalar_one()
    assert link.filename == f"atlas_{today}.zip"
    assert f'filename="atlas_{today}.zip"' in answer.headers["content-disposition"]
    assert answer.headers["etag"] == f'"{SHA}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["repr-digest"].startswith("sha-256=:")
    assert answer.headers["digest"] == "sha-256=" + answer.headers["repr-digest"][9:-1]
    head = await web.head(link.url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(BODY)), b"")
    again = await web.get(link.url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert await counted(site.database) == (1, 1), "a link counts once, however often it is used"


async def test_ranges(site: Site, web: httpx2.AsyncClient, store: Path) -> None:
    file = await publish(site.database, store.as_uri(), "0123/atlas.zip", BODY)
    url = (await given(site, file, None)).url

    async def get(wanted: str, **headers: str) -> httpx2.Response:
        return await web.get(url, headers={"Range": wanted} | {k.replace("_", "-"): v for k, v in headers.items()})

    for wanted, span in {
        "bytes=5-9": BODY[5:10],
        "bytes=700000-": BODY[700000:],
        "bytes=-100000": BODY[-100000:],
    }.items():
        answer = await get(wanted)
        assert (answer.status_code, answer.content) == (206, span)
    assert answer.headers["content-range"] == f"bytes 600001-700000/{len(BODY)}"
    beyond = await get("bytes=700001-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(BODY)}")
    assert (await get("bytes=5-9", If_Range='"other"')).content == BODY
    assert (await get("bytes=5-9", If_Range=f'"{SHA}"')).content == BODY[5:10]
    assert (await get("bytes=nonsense")).content == BODY
    several = await get("bytes=0-9, 600000-600009")
    assert several.status_code == 206
    assert int(several.headers["content-length"]) == len(several.content)
    raw = f"Content-Type: {several.headers['content-type']}\r\n\r\n".encode() + several.content
    parts: Any = email.message_from_bytes(raw, policy=email.policy.HTTP)
    told = {part["content-range"]: part.get_payload(decode=True) for part in parts.iter_parts()}
    size = len(BODY)
    assert told == {f"bytes 0-9/{size}": BODY[:10], f"bytes 600000-600009/{size}": BODY[600000:600010]}


async def test_a_download_that_stops_halfway_goes_on_where_it_stopped(
    site: Site, web: httpx2.AsyncClient, store: Path, tmp_path: Path
) -> None:
    file = await publish(site.database, store.as_uri(), "0123/atlas.zip", BODY)
    link = await given(site, file, await key_for(site.database), web.base_url)
    part = tmp_path / link.filename
    async with web.stream("GET", link.url) as answer:
        got = b""
        async for piece in answer.aiter_bytes(4096):
            got += piece
            if len(got) > len(BODY) // 2:
                break
    part.write_bytes(got)
    for code in (0, 22):  # the second time there is nothing left, and what is there is not spoiled
        line = await asyncio.create_subprocess_exec("sh", "-c", link.curl, cwd=tmp_path, stderr=subprocess.PIPE)
        _, said = await line.communicate()
        assert line.returncode == code, said
        assert hashlib.sha256(part.read_bytes()).hexdigest() == SHA
    assert await counted(site.database) == (1, 1)


async def test_a_link_cannot_be_made_to_lead_elsewhere(site: Site, web: httpx2.AsyncClient, store: Path) -> None:
    file = await publish(site.database, store.as_uri(), "0123/atlas.zip", BODY)
    other = await publish(site.database, store.as_uri(), "0123/atlas.zip", BODY, name="other.zip")
    link = await given(site, file, await key_for(site.database))
    _, _, number, middle, name = link.url.split("/")
    expires, token, signature = middle.split("-", 2)
    elsewhere = [
        f"/download/{other}/{middle}/{name}",
        f"/download/original-{number}/{middle}/{name}",
        f"/download/{number}/{int(expires) + 9}-{token}-{signature}/{name}",
        f"/download/{number}/{expires}-0-{signature}/{name}",
        f"/download/{number}/{middle}/evil.exe",
        f"/download/{number}/{middle}/%2e%2e",
        f"/download/{number}'%20or%201=1--/{middle}/{name}",
        f"/download/-1/{middle}/{name}",
        f"/download/{10**30}/{middle}/{name}",
        f"/download/{number}/{middle.upper()}/{name}",
    ]
    for path in elsewhere:
        answer = await web.get(path)
        assert answer.status_code in (403, 404), path
        assert BODY[:50] not in answer.content
    assert (await web.get(f"/download/{number}/{middle}")).status_code == 404
    assert (await web.post(link.url)).status_code == 405


async def test_a_link_ends_with_its_time_its_token_and_its_file(
    site: Site, web: httpx2.AsyncClient, store: Path
) -> None:
    database, key = site.database, await key_for(site.database)
    file = await publish(database, store.as_uri(), "0123/atlas.zip", BODY)
    await describe(database, publishing={"link_days": 1.2e-5})
    short = await given(site, file, key)
    await describe(database, publishing={})
    async with asyncio.timeout(10):
        while (answer := await web.get(short.url)).status_code == 200:
            await asyncio.sleep(0.05)
    assert (answer.status_code, "expired" in answer.text) == (403, True)
    link, operators = await given(site, file, key), await given(site, file, None)
    async with database.begin() as session:
        await people.revoke(session, "a@b.org")
    answer = await web.get(link.url)
    assert (answer.status_code, "revoked" in answer.text) == (403, True)
    assert (await web.get(operators.url)).status_code == 200
    async with database.begin() as session:
        await session.execute(text("update computed_file set replaced_at = now()"))
    assert (await web.get(operators.url)).status_code == 200, "a replaced file stays for those who are at it"
    async with database.begin() as session:
        await session.execute(text("update computed_file set removed_at = now()"))
    answer = await web.get(operators.url)
    assert (answer.status_code, "no longer" in answer.text) == (410, True)


async def test_what_was_replaced_is_not_handed_out_any_more(site: Site, store: Path) -> None:
    database = site.database
    old = await publish(database, store.as_uri(), "0123/atlas.zip", BODY)
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
        await given(site, old, None)
    assert (await given(site, new, None)).size == len(BODY)
    with pytest.raises(NotFound):
        await given(site, 10**6, None)
    assert await counted(database) == (1, 1)


async def test_who_did_not_accept_gets_no_link(site: Site, store: Path) -> None:
    file = await publish(site.database, store.as_uri(), "0123/atlas.zip", BODY)
    accepted, not_yet = await key_for(site.database), await key_for(site.database, accepted=False)
    with pytest.raises(KeyRefused):
        await given(site, file, not_yet)
    await describe(site.database, {"version": "2", "text": "other"})
    with pytest.raises(KeyRefused, match="have changed"):
        await given(site, file, accepted)
    assert await counted(site.database) == (0, 0)


async def test_under_which_terms_somebody_took_a_file_is_on_record(site: Site, store: Path) -> None:
    file = await publish(site.database, store.as_uri(), "0123/atlas.zip", BODY)
    await given(site, file, await key_for(site.database))
    await describe(site.database, {"version": "2", "text": "other"})
    await given(site, file, await key_for(site.database, "c@d.org"))
    async with site.database.begin() as session:
        rows = await session.execute(
            text(
                "select t.email, d.terms, d.at is not null from download d join token t on t.id = d.token_id "
                "order by d.id"
            )
        )
        assert [tuple(row) for row in rows] == [("a@b.org", "1", True), ("c@d.org", "2", True)]


async def test_a_file_that_is_not_there_is_not_counted(site: Site, web: httpx2.AsyncClient, store: Path) -> None:
    file = await publish(site.database, store.as_uri(), "0123/atlas.zip", BODY)
    link = await given(site, file, None)
    path = store / "0123" / "atlas.zip"
    for spoil in (lambda: path.write_bytes(b"short"), path.unlink, (store / "0123").rmdir, store.rmdir):
        spoil()
        with pytest.raises(StorageAway):
            await given(site, file, None)
        answer = await web.get(link.url)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert await counted(site.database) == (1, 1)


async def test_nothing_outside_of_the_store_is_served(site: Site, store: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_bytes(b"secret")
    (store / "way").symlink_to(outside)
    (store / "up").symlink_to(tmp_path)
    for n, key in enumerate(
        ("../secret.txt", "0123/../../secret.txt", str(outside), "way", "up/secret.txt", ".", "\n")
    ):
        file = await publish(site.database, store.as_uri(), key, b"secret", name=f"{n}.zip")
        with pytest.raises(StorageAway):
            await given(site, file, None)


async def test_odd_names_arrive_as_they_are(site: Site, web: httpx2.AsyncClient, store: Path) -> None:
    for n, name in enumerate(("SCPCS1,SCPCS2 'a' \"b\"%2F;é 日本.zip", "-rf.zip", "a?b#c&d=e.zip", "…" * 60 + ".zip")):
        (store / f"{n}").write_bytes(b"x" * n)
        file = await publish(site.database, store.as_uri(), f"{n}", b"x" * n, name=name)
        link = await given(site, file, None, web.base_url)
        answer = await web.get(link.url)
        assert (answer.status_code, len(answer.content)) == (200, n)
        assert unquote(answer.headers["content-disposition"].partition("''")[2]) == link.filename


async def test_who_hangs_up_is_not_read_for(site: Site, web: httpx2.AsyncClient, store: Path) -> None:
    size = 300_000_000
    with (store / "large").open("wb") as large:
        large.truncate(size)
    file = await publish(site.database, store.as_uri(), "large", b"", size=size)
    url = (await given(site, file, None)).url
    me = psutil.Process()
    before = me.io_counters().read_chars
    async with web.stream("GET", url) as answer:
        await answer.aiter_raw().__anext__()
    async with asyncio.timeout(10):
        while any("large" in one.path for one in me.open_files()):
            await asyncio.sleep(0.02)
    assert me.io_counters().read_chars - before < size / 2


async def test_a_thousand_readers_at_once_take_little_memory(site: Site, web: httpx2.AsyncClient, store: Path) -> None:
    size = 2_000_000_000
    with (store / "large").open("wb") as large:
        large.truncate(size)
        os.pwrite(large.fileno(), b"end", size - 3)
    file = await publish(site.database, store.as_uri(), "large", b"", size=size)
    link = await given(site, file, None)
    me = psutil.Process()
    host, port = web.base_url.host, web.base_url.port
    before = me.memory_info().rss
    wanted = [f"{n * 1000}-" if n % 10 == 0 else f"{n * 1000}-{n * 1000 + 99_999}" for n in range(1000)]
    streams = [await _slow_reader(host, port, link.url, one) for one in wanted]
    for reader, _ in streams:
        assert (await reader.readline()).startswith(b"HTTP/1.1 206")
    grown = me.memory_info().rss - before
    assert grown < 150_000_000, f"{grown:,} bytes, both ends of a thousand connections"
    last = await web.get(link.url, headers={"Range": "bytes=-3"})
    assert last.content == b"end", "the site still answers at once"
    for _, writer in streams:
        writer.transport.abort()


async def _slow_reader(host: str, port: int, path: str, span: str) -> Any:
    """Somebody who asks for a range and takes next to nothing of it."""
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    end.setblocking(False)
    await asyncio.get_running_loop().sock_connect(end, (host, port))
    reader, writer = await asyncio.open_connection(sock=end, limit=4096)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={span}\r\n\r\n".encode())
    return reader, writer


async def test_links_of_s3_bear_the_name_and_end(site: Site, s3: Bucket, web: httpx2.AsyncClient) -> None:
    await _s3(site, s3)


async def test_links_of_a_quick_s3(site: Site, quick_s3: Bucket) -> None:
    await _s3(site, quick_s3)


async def _s3(site: Site, bucket: Bucket) -> None:
    name = "SCPCS1,SCPCS2 ü'\".zip"
    bucket.put(f"there/0123/{name}", BODY)
    file = await publish(site.database, bucket.url + "/there", f"0123/{name}", BODY, name=name, options=bucket.options)
    link = await given(site, file, await key_for(site.database))
    assert bucket.options["endpoint"] in link.url
    async with httpx2.AsyncClient() as client:
        answer = await client.get(link.url, headers={"Range": "bytes=10-19"})
        assert (answer.status_code, answer.content) == (206, BODY[10:20])
        assert unquote(answer.headers["content-disposition"].partition("''")[2]) == link.filename
    bucket.remove(f"there/0123/{name}")
    with pytest.raises(StorageAway, match="not where it should be"):
        await given(site, file, None)
    assert await counted(site.database) == (1, 1)


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
    site: Site, quick_s3: Bucket, unused_tcp_port: int
) -> None:
    options = quick_s3.options | {"endpoint": f"http://127.0.0.1:{unused_tcp_port}"}
    file = await publish(site.database, quick_s3.url + "/x", "a.zip", BODY, options=options)
    for _ in range(50):
        with pytest.raises(StorageAway, match="cannot be reached now"):
            await given(site, file, None)
    assert await counted(site.database) == (0, 0)


async def test_a_store_that_hangs_keeps_nobody_else_waiting(
    site: Site, quick_s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presigning, "PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = quick_s3.options | {"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        file = await publish(site.database, quick_s3.url + "/y", "a.zip", BODY, options=options)
        first = await asyncio.gather(*(given(site, file, None) for _ in range(5)), return_exceptions=True)
        assert {type(one) for one in first} == {StorageAway}
        asked = [asyncio.create_task(given(site, file, None)) for _ in range(200)]
        async with site.database.begin() as session:
            await session.execute(text("select 1"))
        later = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one) for one in later} == {StorageAway}
    assert await counted(site.database) == (0, 0)


async def test_originals_are_handed_out_only_where_the_site_says_so(
    site: Site, web: httpx2.AsyncClient, store: Path
) -> None:
    async with site.database.begin() as session:
        await session.execute(text("insert into source (name, url) values ('tapes', :url)"), {"url": store.as_uri()})
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
        async with site.database.begin() as session:
            return await downloads.original_link(session, site, ids[key], None)

    with pytest.raises(NotFound):
        await original("0123/atlas.zip")
    await describe(site.database, publishing={"originals": True})
    link = await original("0123/atlas.zip")
    answer = await web.get(link.url)
    assert answer.content == BODY
    assert link.filename == "atlas.zip"
    with pytest.raises(NotFound):
        await original("locked")
    async with site.database.begin() as session:
        assert (await session.execute(text("select original from download"))).scalar_one() == "tapes/0123/atlas.zip"
    await describe(site.database, publishing={})
    assert (await web.get(link.url)).status_code == 410
    assert urlsplit(link.url).path.startswith("/download/original-")
