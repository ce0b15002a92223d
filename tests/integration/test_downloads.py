"""Downloads over real HTTP: ranges, resuming, hanging up, and what a link may not be turned into."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import psutil
import pytest
from sqlalchemy import text
from tests.portal import BODY, counted, describe, key_for, link_for, publish, served

from tidemill.accounts import people
from tidemill.db.database import Database
from tidemill.errors import StorageAway
from tidemill.main import Site

SHA = hashlib.sha256(BODY).hexdigest()


async def test_a_link_gives_the_file_with_its_name_date_and_checksum(
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path
) -> None:
    file = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    before = await _today(portal_site)
    link = await link_for(portal_site, file, await key_for(portal_site.database), portal_web.base_url)
    answer = await portal_web.get(link.url)
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == SHA == link.sha256
    assert link.filename in {f"atlas_{day}.zip" for day in (before, await _today(portal_site))}
    assert f'filename="{link.filename}"' in answer.headers["content-disposition"]
    assert answer.headers["etag"] == f'"{SHA}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["repr-digest"].startswith("sha-256=:")
    assert answer.headers["digest"] == "sha-256=" + answer.headers["repr-digest"][9:-1]
    head = await portal_web.head(link.url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(BODY)), b"")
    again = await portal_web.get(link.url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert await counted(portal_site.database) == (1, 1), "a link counts once, however often it is used"


async def _today(site: Site) -> str:
    async with site.database.begin() as session:
        return str((await session.execute(text("select to_char(now(), 'YYYY-MM-DD')"))).scalar_one())


async def test_ranges(portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path) -> None:
    file = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    url = (await link_for(portal_site, file, None)).url

    async def get(wanted: str, **headers: str) -> httpx2.Response:
        return await portal_web.get(
            url, headers={"Range": wanted} | {k.replace("_", "-"): v for k, v in headers.items()}
        )

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
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path, tmp_path: Path
) -> None:
    file = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    link = await link_for(portal_site, file, await key_for(portal_site.database), portal_web.base_url)
    part = tmp_path / link.filename
    async with portal_web.stream("GET", link.url) as answer:
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
    assert await counted(portal_site.database) == (1, 1)


async def test_a_link_cannot_be_made_to_lead_elsewhere(
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path
) -> None:
    file = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    other = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY, name="other.zip")
    link = await link_for(portal_site, file, await key_for(portal_site.database))
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
        answer = await portal_web.get(path)
        assert answer.status_code in (403, 404), path
        assert BODY[:50] not in answer.content
    assert (await portal_web.get(f"/download/{number}/{middle}")).status_code == 404
    assert (await portal_web.post(link.url)).status_code == 405


async def test_a_link_ends_with_its_time_its_token_and_its_file(
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path
) -> None:
    database, key = portal_site.database, await key_for(portal_site.database)
    file = await publish(database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    await describe(database, publishing={"link_days": 1.2e-5})
    short = await link_for(portal_site, file, key)
    await describe(database, publishing={})
    async with asyncio.timeout(60):
        while (answer := await portal_web.get(short.url)).status_code == 200:
            await asyncio.sleep(0.05)
    assert (answer.status_code, "expired" in answer.text) == (403, True)
    link, operators = await link_for(portal_site, file, key), await link_for(portal_site, file, None)
    async with database.begin() as session:
        await people.revoke(session, "a@b.org")
    answer = await portal_web.get(link.url)
    assert (answer.status_code, "revoked" in answer.text) == (403, True)
    assert (await portal_web.get(operators.url)).status_code == 200
    async with database.begin() as session:
        await session.execute(text("update computed_file set replaced_at = now()"))
    assert (await portal_web.get(operators.url)).status_code == 200, "a replaced file stays for those who are at it"
    async with database.begin() as session:
        await session.execute(text("update computed_file set removed_at = now()"))
    answer = await portal_web.get(operators.url)
    assert (answer.status_code, "no longer" in answer.text) == (410, True)


async def test_a_file_that_is_not_there_is_not_counted(
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path
) -> None:
    file = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    link = await link_for(portal_site, file, None)
    path = atlas_folder / "0123" / "atlas.zip"
    for spoil in (lambda: path.write_bytes(b"short"), path.unlink, (atlas_folder / "0123").rmdir, atlas_folder.rmdir):
        spoil()
        with pytest.raises(StorageAway):
            await link_for(portal_site, file, None)
        answer = await portal_web.get(link.url)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert await counted(portal_site.database) == (1, 1)


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
async def test_while_the_database_is_away_it_is_asked_to_come_again(
    portal_site: Site, atlas_folder: Path, accept: str
) -> None:
    file = await publish(portal_site.database, atlas_folder.as_uri(), "0123/atlas.zip", BODY)
    link = await link_for(portal_site, file, None)

    async def nowhere() -> str:
        return "postgresql://nobody@127.0.0.1:1/none"

    away = Database(nowhere)
    async with served(replace(portal_site, database=away)) as web:
        answer = await web.get(link.url, headers={"accept": accept})
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "10")
    assert "The database cannot be reached" in answer.text
    assert "127.0.0.1" not in answer.text, "where it is, is nobody's business"
    await away.close()


async def test_nothing_outside_of_the_store_is_served(portal_site: Site, atlas_folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_bytes(b"secret")
    (atlas_folder / "way").symlink_to(outside)
    (atlas_folder / "up").symlink_to(tmp_path)
    for n, key in enumerate(
        ("../secret.txt", "0123/../../secret.txt", str(outside), "way", "up/secret.txt", ".", "\n")
    ):
        file = await publish(portal_site.database, atlas_folder.as_uri(), key, b"secret", name=f"{n}.zip")
        with pytest.raises(StorageAway):
            await link_for(portal_site, file, None)


async def test_odd_names_arrive_as_they_are(
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path
) -> None:
    for n, name in enumerate(("SCPCS1,SCPCS2 'a' \"b\"%2F;é 日本.zip", "-rf.zip", "a?b#c&d=e.zip", "…" * 60 + ".zip")):
        (atlas_folder / f"{n}").write_bytes(b"x" * n)
        file = await publish(portal_site.database, atlas_folder.as_uri(), f"{n}", b"x" * n, name=name)
        link = await link_for(portal_site, file, None, portal_web.base_url)
        answer = await portal_web.get(link.url)
        assert (answer.status_code, len(answer.content)) == (200, n)
        assert unquote(answer.headers["content-disposition"].partition("''")[2]) == link.filename


async def test_who_hangs_up_is_not_read_for(
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path
) -> None:
    size = 300_000_000
    with (atlas_folder / "large").open("wb") as large:
        large.truncate(size)
    file = await publish(portal_site.database, atlas_folder.as_uri(), "large", b"", size=size)
    url = (await link_for(portal_site, file, None)).url
    me = psutil.Process()
    before = me.io_counters().read_chars
    async with portal_web.stream("GET", url) as answer:
        await answer.aiter_raw().__anext__()
    async with asyncio.timeout(60):
        while any("large" in one.path for one in me.open_files()):
            await asyncio.sleep(0.02)
    assert me.io_counters().read_chars - before < size / 2


async def test_a_thousand_readers_at_once_take_little_memory(
    portal_site: Site, portal_web: httpx2.AsyncClient, atlas_folder: Path
) -> None:
    size = 2_000_000_000
    with (atlas_folder / "large").open("wb") as large:
        large.truncate(size)
        os.pwrite(large.fileno(), b"end", size - 3)
    file = await publish(portal_site.database, atlas_folder.as_uri(), "large", b"", size=size)
    link = await link_for(portal_site, file, None)
    me = psutil.Process()
    host, port = portal_web.base_url.host, portal_web.base_url.port
    before = me.memory_info().rss
    wanted = [f"{n * 1000}-" if n % 10 == 0 else f"{n * 1000}-{n * 1000 + 99_999}" for n in range(1000)]
    streams = [await _slow_reader(host, port, link.url, one) for one in wanted]
    for reader, _ in streams:
        assert (await reader.readline()).startswith(b"HTTP/1.1 206")
    grown = me.memory_info().rss - before
    assert grown < 150_000_000, f"{grown:,} bytes, both ends of a thousand connections"
    last = await portal_web.get(link.url, headers={"Range": "bytes=-3"})
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
