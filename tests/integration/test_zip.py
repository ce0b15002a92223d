"""A run's documents as a zip, opened with the standard library: names, contents, and what is missing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.factory import MadeRun, make_run

from tidemill.db.database import Database
from tidemill.publishing import documents_zip as packing
from tidemill.publishing.documents_zip import Choice, documents_zip, zip_name
from tidemill.publishing.zip_names import Names, safe
from tidemill.storage.documents import DocumentStore

MMIF = {
    "metadata": {"mmif": "http://mmif.clams.ai/1.0.5"},
    "documents": [],
    "views": [
        {
            "id": "v_0",
            "metadata": {"app": "http://apps.clams.ai/reader/1"},
            "annotations": [
                {
                    "@type": "http://mmif.clams.ai/vocabulary/TextDocument/v1",
                    "properties": {"id": "td_0", "text": {"@value": "SLATE Tåke 7"}},
                }
            ],
        }
    ],
}


async def _done(
    database: Database,
    documents: DocumentStore,
    made: MadeRun,
    position: int,
    outputs: list[bytes],
    finished: bool = True,
) -> None:
    """Let a task have put these documents out, one per step."""
    connection = await database.connect()
    async with connection, connection.transaction():
        for step, body in enumerate(outputs):
            stored = await documents.keep(body)
            row = stored.as_row() | {"run": made.run, "position": position, "step": step}
            await connection.execute(
                """insert into document (sha256, size, body, location)
                   values (decode(%(sha256)s, 'hex'), %(size)s, %(body)s, %(location)s) on conflict do nothing""",
                row,
            )
            await connection.execute(
                """insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, input,
                                        output)
                   select id, %(step)s + 1, %(step)s, (select min(id) from app_version), '{}', 'done', now(), document,
                          decode(%(sha256)s, 'hex')
                   from task where run_id = %(run)s and position = %(position)s""",
                row,
            )
            await connection.execute(
                """update task set document = decode(%(sha256)s, 'hex'), step = %(step)s
                   where run_id = %(run)s and position = %(position)s""",
                row,
            )
        if finished:
            await connection.execute(
                """update task set state = 'done', finished_at = now()
                   where run_id = %(run)s and position = %(position)s""",
                {"run": made.run, "position": position},
            )


async def _opened(
    database: Database, documents: DocumentStore, run: int, choice: Choice | None = None
) -> tuple[zipfile.ZipFile, dict[str, Any]]:
    body = b"".join([piece async for piece in documents_zip(database, documents, run, choice)])
    found = zipfile.ZipFile(io.BytesIO(body))
    assert found.testzip() is None
    return found, json.loads(found.read("manifest.json"))


async def _rename(database: Database, made: MadeRun, position: int, name: str) -> None:
    connection = await database.connect()
    async with connection:
        await connection.execute(
            "update item set name = %(new)s where name = %(old)s", {"new": name, "old": made.item(position)}
        )


async def test_final_documents_with_their_manifest(database: Database, documents: DocumentStore) -> None:
    made = await make_run(database, items=4, steps=2)
    mmif, large = json.dumps(MMIF).encode(), json.dumps({"numbers": list(range(5000))}).encode()
    await _done(database, documents, made, 0, [b"{}", mmif])
    await _done(database, documents, made, 1, [b"{}", large])
    await _done(database, documents, made, 2, [b"{}"], finished=False)
    zipped, manifest = await _opened(database, documents, made.run)
    assert zipped.namelist() == [f"{made.item(0)}.mmif", f"{made.item(1)}.json", "manifest.json"]
    assert (zipped.read(zipped.namelist()[0]), zipped.read(zipped.namelist()[1])) == (mmif, large)
    assert zipped.infolist()[1].compress_size < len(large) / 2
    assert (manifest["packed"], manifest["missing"], len(manifest["files"])) == (2, 2, 4)
    first, _, third, _ = manifest["files"]
    expected = {"name": f"{made.item(0)}.mmif", "item": made.item(0), "run": made.run, "step": 1, "version": "1.0"}
    assert expected.items() <= first.items()
    assert (first["sha256"], first["size"]) == (hashlib.sha256(mmif).hexdigest(), len(mmif))
    assert (third["name"], third["state"]) == (None, "waiting")
    assert "waiting at step step0" in third["missing"]


async def test_what_is_lost_or_changed_is_listed_and_spoils_nothing(
    database: Database, documents: DocumentStore, tmp_path: Path
) -> None:
    made = await make_run(database, items=4, steps=1)
    bodies = [json.dumps({"item": n, "filler": "x" * 6000}).encode() for n in range(4)]
    for position, body in enumerate(bodies):
        await _done(database, documents, made, position, [body])
    paths = {n: next((tmp_path / "documents").rglob(hashlib.sha256(bodies[n]).hexdigest())) for n in range(4)}
    paths[1].unlink()
    paths[2].write_bytes(bodies[2][:-1])
    zipped, manifest = await _opened(database, documents, made.run, Choice(deflate=False))
    assert zipped.namelist() == [f"{made.item(0)}.json", f"{made.item(3)}.json", "manifest.json"]
    assert zipped.read(f"{made.item(3)}.json") == bodies[3]
    assert "could not be read" in manifest["files"][1]["missing"]
    assert "checksum" in manifest["files"][2]["missing"]
    assert [entry["name"] is None for entry in manifest["files"]] == [False, True, True, False]


async def test_every_step_and_texts(database: Database, documents: DocumentStore) -> None:
    made = await make_run(database, items=3, steps=2)
    mmif = json.dumps(MMIF).encode()
    await _done(database, documents, made, 0, [b'{"a": 1}', mmif])
    await _done(database, documents, made, 1, [b'{"b": 1}'], finished=False)
    zipped, manifest = await _opened(database, documents, made.run, Choice(every_step=True, texts=True))
    assert zipped.namelist() == [
        f"{made.item(0)}/01-step0.json",
        f"{made.item(0)}/02-step1.mmif",
        f"{made.item(0)}/02-step1.txt",
        f"{made.item(1)}/01-step0.json",
        "manifest.json",
    ]
    assert zipped.read(f"{made.item(0)}/02-step1.txt").decode() == "SLATE Tåke 7"
    assert manifest["files"][1]["text"] == f"{made.item(0)}/02-step1.txt"
    assert (manifest["steps"], manifest["packed"], manifest["missing"]) == ("all", 3, 1)
    final, _ = await _opened(database, documents, made.run, Choice(texts=True))
    assert final.namelist() == [f"{made.item(0)}.mmif", f"{made.item(0)}.txt", "manifest.json"]


async def test_names_cannot_collide_or_leave_the_folder(database: Database, documents: DocumentStore) -> None:
    names = [
        "Tape",
        "tape",
        "TAPE",
        "a/b",
        "a\\b",
        "a:b",
        "../../etc/passwd",
        "manifest",
        "con",
        "x\ny",
        "tape~2",
        "é",
        "e\u0301",
    ]
    made = await make_run(database, items=len(names), steps=1)
    for position, name in enumerate(names):
        await _rename(database, made, position, name)
        await _done(database, documents, made, position, [json.dumps({"n": position}).encode()])
    for choice in (Choice(), Choice(every_step=True)):
        zipped, manifest = await _opened(database, documents, made.run, choice)
        listed = zipped.namelist()
        assert len({name.casefold() for name in listed}) == len(names) + 1
        assert not [name for name in listed if name.startswith(("/", ".")) or ".." in name.split("/") or "\\" in name]
        for entry in manifest["files"]:
            assert json.loads(zipped.read(entry["name"])) == {"n": names.index(entry["item"])}


async def test_many_items_take_pages_and_the_memory_stays_flat(database: Database, documents: DocumentStore) -> None:
    made = await make_run(database, items=packing.PAGE * 3 + 1, steps=1)
    body = os.urandom(200_000).hex()
    connection = await database.connect()
    async with connection:
        for position in range(60):
            await _done(database, documents, made, position, [json.dumps({"n": position, "body": body}).encode()])
        await connection.execute("update task set state = 'done', finished_at = now() where state = 'waiting'")
    size, largest, count = 0, 0, 0
    async for piece in documents_zip(database, documents, made.run, Choice(deflate=False)):
        size, largest, count = size + len(piece), max(largest, len(piece)), count + 1
    assert size > 60 * 400_000
    assert largest < 500_000, "one document at a time"
    assert count > made.items


def test_safe_names_fit_every_system() -> None:
    assert safe("a/b\x00c\u202e") == "a_b_c_"
    assert safe("CON") == "_CON"
    assert safe("nul.txt") == "_nul.txt"
    assert safe("..") == "_"
    assert safe("name. ") == "name"
    assert len(safe("ü" * 500).encode()) <= 180
    names = Names("manifest.json")
    assert [names.give("A", ".x"), names.give("a", ".x"), names.give("a~2", ".x"), names.give("a", ".x")] == [
        "A.x",
        "a~2.x",
        "a~2~2.x",
        "a~3.x",
    ]


@pytest.mark.parametrize("batch", ["news 1999", "ü/x", 'a";b'])
def test_the_zip_has_a_plain_name(batch: str) -> None:
    name = zip_name({"id": 3, "batch": batch})
    assert name.isascii()
    assert not set(name) & set('/\\";')
