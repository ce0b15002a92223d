"""Records of a CouchDB database are taken over with their past, followed, and never written over edits made here."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.couchdb import Couch, couchdb
from tests.program import Program

from tidemill.catalogue import couchdb as protocol
from tidemill.catalogue import edits, imports, items, projects
from tidemill.catalogue.couchdb import Address, parse_address
from tidemill.catalogue.couchdb_import import CouchDBImport
from tidemill.catalogue.imports import Counts, Wish
from tidemill.db.database import Database, Row
from tidemill.db.models import Change, Import, Imported, Item
from tidemill.errors import Conflict, ImportRefused, InvalidInput, NotFound
from tidemill.runner import look

MANY = 1200
"""Records that are not all taken over before one can look."""


@pytest.fixture(scope="module")
def couches() -> Iterator[Couch]:
    with couchdb() as couch:
        yield couch


@pytest.fixture
def couch(couches: Couch, request: pytest.FixtureRequest) -> Couch:
    made = Couch(couches.server, f"t{abs(hash(request.node.name))}", couches.login)
    made.ask("PUT")
    return made


async def take(database: Database, couch: Couch, **more: Any) -> Counts:
    address = parse_address(couch.url)
    page = more.pop("page", 500)
    return await CouchDBImport(database, address, Wish(address.url, **more), page=page).run(follow=False)


async def item(database: Database, name: str) -> Row:
    async with database.begin() as session:
        return await items.get(session, name)


async def edit(database: Database, **row: Any) -> None:
    async with database.begin() as session:
        answer = await edits.apply_one(session, row)
    assert answer.error is None, answer.error


async def notes(database: Database, couch: Couch) -> dict[str, str]:
    async with database.begin() as session:
        return {row["document"]: row["note"] for row in await imports.notes(session, couch.bare)}


COPIED = {
    "name": "move_to_sps",
    "hostname": "ccage",
    "file": "/sps/x",
    "date": "2013-05-01T10:00:00+02:00",
    "log": "ok",
}
AMPLITUDES = {"name": "signal_processing", "md5sum": "d41d8", "time": 1367402400.5}


async def test_documents_come_with_their_past_and_come_once(database: Database, couch: Couch) -> None:
    couch.fill(
        [
            {"_id": "ma22a000_000", "run": 7, "status": "closed", "conditions": {"volts": {"a": [1, 2.5]}},
             "process": [COPIED, AMPLITUDES]},
            {"_id": "ma22a000_001", "gone": None, "process": ["hello", {"what": 1}]},
            {"_id": "_design/views", "views": {}},
            {"_id": "late", "_attachments": {"a.txt": {"content_type": "text/plain", "data": "aGVsbG8="}}},
        ]
    )  # fmt: skip
    counts = await take(database, couch, project="taken")
    assert (counts.documents, counts.created, counts.left_out, counts.refused) == (4, 3, 1, 0)
    first, second = await item(database, "ma22a000_000"), await item(database, "ma22a000_001")
    assert (first["status"], first["metadata"]) == ("closed", {"run": 7, "conditions": {"volts": {"a": [1, 2.5]}}})
    assert (second["status"], second["metadata"], second["projects"]) == ("good", {}, ["taken"])
    async with database.begin() as session:
        process = (await look.item(session, "ma22a000_000")).process
    assert [(step["name"], step["past"], step["hostname"]) for step in process] == [
        ("move_to_sps", True, "ccage"),
        ("signal_processing", True, None),
    ]
    assert process[0]["details"] == COPIED
    assert [step["finished_at"].isoformat() for step in process if step["finished_at"]] == [
        "2013-05-01T08:00:00+00:00",
        "2013-05-01T10:00:00.500000+00:00",
    ]
    async with database.begin() as session:
        assert [step["name"] for step in (await look.item(session, "ma22a000_001")).process] == ["hello", "unnamed"]
    assert await notes(database, couch) == {"late": "its attachments were not taken (a.txt)"}
    assert await take(database, couch, project="taken") == Counts()
    couch.put({"_id": "late", "process": [COPIED]})
    assert await take(database, couch, project="taken") == Counts(documents=1, changed=1)
    async with database.begin() as session:
        told = (
            select(Change.item_id).where(Change.kind == "item").order_by(Change.xid.desc(), Change.id.desc()).limit(1)
        )
        assert await session.scalar(told) == (await items.get(session, "late"))["id"]


async def test_what_changes_there_changes_here_and_edits_here_stay(database: Database, couch: Couch) -> None:
    couch.put({"_id": "a", "x": 1, "y": 1, "z": 1}, {"_id": "b", "x": 1}, {"_id": "c"})
    await edit(database, name="c", metadata={"x": "ours"}, status="bad")
    await take(database, couch)
    await edit(database, name="a", metadata={"y": 2, "own": True})
    await edit(database, name="b", status="checked")
    couch.put({"_id": "a", "x": 5, "y": 5, "process": [COPIED]}, {"_id": "b", "x": 2, "status": "bad"})
    couch.put({"_id": "c", "x": "theirs", "n": 1})
    counts = await take(database, couch)
    assert (counts.changed, counts.kept) == (3, 3)
    a, b, c = [await item(database, name) for name in "abc"]
    assert a["metadata"] == {"x": 5, "y": 2, "own": True}
    assert (b["status"], b["metadata"]) == ("checked", {"x": 2})
    assert (c["status"], c["metadata"]) == ("bad", {"x": "ours", "n": 1})
    assert await notes(database, couch) == {
        "a": "edited here, and kept as it is here: y",
        "b": "edited here, and kept as it is here: status",
        "c": "edited here, and kept as it is here: x, status",
    }
    await edit(database, name="a", metadata={"y": 5})
    couch.put({"_id": "a", "x": 6, "y": 6})
    await take(database, couch)
    assert (await item(database, "a"))["metadata"] == {"x": 6, "y": 6, "own": True}
    assert "a" not in await notes(database, couch)


async def test_what_is_deleted_there_stays_here_and_says_so(database: Database, couch: Couch) -> None:
    couch.put({"_id": "a", "x": 1}, {"_id": "never"})
    couch.delete("never")
    await take(database, couch)
    couch.delete("a")
    counts = await take(database, couch)
    assert (counts.deleted, counts.left_out) == (1, 0)
    found = await item(database, "a")
    assert (found["status"], found["metadata"]) == ("deleted", {"x": 1})
    assert found["status_reason"] == f"deleted in {couch.bare}"
    couch.put({"_id": "a", "x": 2})
    await take(database, couch)
    found = await item(database, "a")
    assert (found["status"], found["status_reason"], found["metadata"]) == ("good", "", {"x": 2})
    async with database.begin() as session:
        assert await items.count(session) == 1


async def test_documents_that_cannot_be_taken_stop_nothing(
    database: Database, couch: Couch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LARGEST_PAGE", 20_000)
    couch.fill(
        [
            {"_id": " spaced "},
            {"_id": "two\nlines"},
            {"_id": "nul", "x": "a\0b"},
            {"_id": "nul\0name"},
            {"_id": "deep", "x": eval("[" * 150 + "]" * 150)},
            {"_id": "status", "status": {"is": "odd"}},
            {"_id": "large", "x": "x" * 30_000},
            {"_id": "n" * 501},
            *({"_id": f"fine-{n}", "x": "x" * 3000} for n in range(10)),
        ]
    )
    counts = await take(database, couch)
    assert (counts.documents, counts.created, counts.refused) == (18, 10, 8)
    told = await notes(database, couch)
    assert len(told) == 8
    assert told["large"] == "It could not be taken: it is too large, or no JSON that can be read"
    assert "NUL character" in told["nul"]
    couch.put({"_id": "nul", "x": "mended"})
    assert (await take(database, couch)).created == 1
    assert "nul" not in await notes(database, couch)


async def test_positions_may_be_texts_and_a_database_may_be_made_anew(database: Database) -> None:
    with couchdb(opaque=True) as couch:
        couch.fill([{"_id": f"d{n}"} for n in range(25)])
        assert (await take(database, couch, page=10)).created == 25
        couch.put({"_id": "d3", "x": 1})
        assert (await take(database, couch, page=10)).documents == 1
        async with database.begin() as session:
            (row,) = await imports.listing(session)
        assert row["seq"].startswith("26-g1AAAA")
        couch.ask("DELETE")
        couch.ask("PUT")
        couch.put({"_id": "d3", "x": 2}, {"_id": "new"})
        counts = await take(database, couch)
        assert (counts.created, counts.changed) == (1, 1)


async def test_one_import_at_a_time_and_no_locked_project(database: Database, couch: Couch) -> None:
    couch.put({"_id": "a"})
    await take(database, couch, project="p")
    async with database.begin() as session:
        with pytest.raises(Conflict, match="Another process"):
            await imports.take(session, Wish(couch.bare), [], "0", "9")
        await projects.lock(session, "p")
    couch.put({"_id": "b"})
    with pytest.raises(Conflict, match="locked"):
        await take(database, couch, project="p")
    assert (await take(database, couch)).created == 1


async def test_what_is_no_couchdb_is_told(database: Database, couch: Couch) -> None:
    with pytest.raises(NotFound):
        await take(database, Couch(couch.server, "nowhere", ""))
    with pytest.raises(ImportRefused, match="cannot be reached"):
        await take(database, Couch("http://127.0.0.1:9", "x", ""))

    async def anything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n<html>hi</html>")
        writer.close()

    other = await asyncio.start_server(anything, "127.0.0.1", 0)
    async with other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(ImportRefused, match="not with JSON"):
            await take(database, Couch(f"http://127.0.0.1:{port}", "x", ""))
    for wrong in ("ftp://h/db", "http://h/", "h/db", "http://user:secret@h:port/db", "http://user:secret@h/db?x=1"):
        with pytest.raises(InvalidInput) as caught:
            parse_address(wrong)
        assert "secret" not in str(caught.value)
    assert repr(parse_address("http://u:secret@h/db")) == repr(Address("http://h/db", None)) == "Address('http://h/db')"


async def test_it_follows_through_a_cut_and_stops_when_told(database: Database, couch: Couch) -> None:
    port = int(couch.server.rpartition(":")[2])
    through: list[asyncio.StreamWriter] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        through.extend((writer, back))
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65536):
            writer.write(part)
        writer.close()

    async def here(name: str) -> None:
        async with asyncio.timeout(60):
            while True:
                async with database.begin() as session:
                    if await session.scalar(select(Item).where(Item.name == name)):
                        return
                await asyncio.sleep(0.02)

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
    couch.put({"_id": "before"})
    address = parse_address(f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/{couch.name}")
    said: list[str] = []
    work = CouchDBImport(database, address, Wish(address.url), told=lambda told: said.append(told.trouble))
    job = asyncio.create_task(work.run(follow=True))
    await here("before")
    couch.put({"_id": "while"})
    await here("while")
    async with asyncio.timeout(60):
        while not any(said):  # between two requests it would not notice
            for writer in through:
                writer.transport.abort()
            await asyncio.sleep(0.05)
    couch.put({"_id": "after a cut"})
    await here("after a cut")
    work.stop()
    counts = await asyncio.wait_for(job, 60)
    assert (counts.created, counts.unchanged) == (3, 0)
    proxy.close()


async def test_secrets_are_used_and_shown_nowhere(database: Database, database_url: str, tmp_path: Path) -> None:
    tidemill = Program(tmp_path / "site", database_url)
    with couchdb(login="keeper:s3cret!") as couch:
        couch.put({"_id": "a"})
        refused = tidemill("import", "couchdb", couch.url.replace("s3cret", "secr3t"), code=12)
        assert "does not let us in (401)" in refused.err
        with tidemill.start("import", "couchdb", couch.url, "--follow", "--project", "taken") as started:
            started.until("1 created.*Following")
            couch.put({"_id": "b"})
            async with asyncio.timeout(60):
                while await count(database) < 2:
                    await asyncio.sleep(0.02)
            started.signal(signal.SIGTERM)
            assert await asyncio.to_thread(started.end) == 0
        listed = tidemill("import", "list", "--notes", "--json")
        assert [(row["name"], row["items"]) for row in listed.json] == [(couch.bare, 2)]
        everything = refused.out + refused.err + started.said + listed.out
        async with database.begin() as session:
            everything += str([vars(row) for row in await session.scalars(select(Import))])
            everything += str([vars(row) for row in await session.scalars(select(Imported))])
        assert "s3cret" not in everything
        assert "secr3t" not in everything


async def test_killed_in_the_middle_it_goes_on_where_it_was(
    database: Database, database_url: str, couch: Couch, tmp_path: Path
) -> None:
    tidemill = Program(tmp_path / "site", database_url)
    couch.fill([{"_id": f"d{n:04d}", "n": n, "process": [COPIED]} for n in range(MANY)])
    for least in (50, 200):
        with tidemill.start("import", "couchdb", couch.bare, "--batch-size", "4") as started:
            async with asyncio.timeout(60):
                while await count(database) < least:
                    await asyncio.sleep(0.01)
            started.signal(signal.SIGKILL)
            started.process.wait()
    assert await count(database) < MANY
    tidemill("import", "couchdb", couch.bare)
    async with database.begin() as session:
        rows = (await session.scalars(select(Item))).all()
        told = await session.scalar(select(func.count()).where(Change.kind == "item"))
    assert sorted((row.name, row.details["n"], row.revision) for row in rows) == [
        (f"d{n:04d}", n, 1) for n in range(MANY)
    ]
    assert told == MANY


async def count(database: Database) -> int:
    async with database.begin() as session:
        return await items.count(session)
