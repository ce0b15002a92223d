"""Records from the command line: files of rows, single edits, and the status of many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.program import Program

from tidemill.catalogue import items
from tidemill.db.database import Database, Row


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url)


FIELDS = """insert into site (fields) values ('{"run": {"type": "integer", "title": ""}, "gain": {"type": "number",
"title": ""}, "live": {"type": "boolean", "title": ""}, "when": {"type": "date", "title": ""}}')"""


async def test_json_lines_are_taken_row_by_row(tidemill: Program, tmp_path: Path, database: Database) -> None:
    lines = '\ufeff\n{"name": "a", "metadata": {"run": 1}}\n{"name": "b", "status": "bad"\n{"name": "c", "colour": 1}\n'
    file = tmp_path / "rows.jsonl"
    file.write_text(lines)
    dry = tidemill("items", "add", file, "--dry-run", code=1)
    assert dry.err.splitlines()[-1] == "Would be: 1 created, 0 changed, 0 unchanged, 2 refused."
    assert await found(database, "") == []
    done = tidemill("items", "add", file, "--json", "--project", "may", code=1)
    assert [(row["line"], row["name"], row["outcome"]) for row in done.lines] == [
        (2, "a", "created"),
        (3, "", "refused"),
        (4, "c", "refused"),
    ]
    assert "Line 3: This is no JSON" in done.lines[1]["error"]["message"]
    again = tidemill("items", "add", "-", "--expect-new", text='[{"name": "a"},\n {"name": "d"}]', code=1)
    assert "'a' exists already (revision 1)" in again.err
    (listed,) = tidemill("items", "project:may", "--json").json["items"]
    assert (listed["name"], listed["metadata"], listed["revision"]) == ("a", {"run": 1}, 1)


async def test_csv_has_typed_columns(tidemill: Program, tmp_path: Path, database: Database) -> None:
    async with database.begin() as session:
        await session.execute(text(FIELDS))
    table = tmp_path / "rows.csv"
    table.write_text(
        "name;status;projects;run;gain;metadata.live;when;place\n"
        'foot.root;good;"may; all";7;0.5;yes;2026-11-21;"hall; 2\nleft"\n'
        "late;;;seven;;;;\n"
        "\n"
        "short;bad\n",
        encoding="utf-16",
    )
    done = tidemill("items", "add", table, "--json", code=1)
    assert [(row["line"], row["outcome"]) for row in done.lines] == [(2, "created"), (4, "refused"), (6, "created")]
    assert done.lines[1]["error"]["message"] == "Line 4: run is 'seven'; it must be a whole number."
    (row,) = await found(database, "project:all")
    assert row["name"] == "foot.root"
    assert row["metadata"] == {"run": 7, "gain": 0.5, "live": True, "when": "2026-11-21", "place": "hall; 2\nleft"}


def test_a_file_that_cannot_be_read_says_so(tidemill: Program, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_bytes("name,place\na,K\xf6ln\n".encode("latin-1"))
    assert "is no UTF-8: byte 0xf6" in tidemill("items", "add", table, code=3).err
    assert "No such file" in tidemill("items", "add", tmp_path / "nowhere", code=3).err


async def test_one_record_is_edited_with_its_revision(tidemill: Program, database: Database) -> None:
    await add(database, {"name": "a", "metadata": {"x": "1", "y": "2"}})
    values = ("x=007", 'z:={"deep": [1]}', "--remove", "y", "--status", "bad", "--reason", "noise")
    assert tidemill("items", "set", "a", *values, "--revision", 1).err == "a: changed, revision 2.\n"
    assert "a (bad: noise), revision 2" in tidemill("item", "a").out
    stale = tidemill("items", "set", "a", "x=8", "--revision", 1, "--json", code=5)
    assert stale.json["metadata"] == {"x": "007", "z": {"deep": [1]}}
    assert "it was edited since" in stale.err
    assert "no item named 'b'" in tidemill("items", "set", "b", "x=1", code=4).err
    tidemill("items", "delete", "a")
    assert await found(database, "") == []


async def test_the_status_of_many_is_shown_first_and_expected(tidemill: Program, database: Database) -> None:
    await add(database, *({"name": f"ma22a{n:03d}", "status": "proc1 failed" if n % 2 else "good"} for n in range(30)))
    words = ("items", "status", "good", "--from", "ma22a010", "--to", "ma22a019", "--expect", "proc1 failed")
    asked = tidemill(*words, code=7)
    assert "proc1 failed → good: 5 items: ma22a011, ma22a013, ma22a015, ma22a017, ma22a019" in asked.out
    assert "good, left alone: 5 items" in asked.out
    assert tidemill(*words, "--dry-run", "--json").json["changed"] is None
    assert tidemill(*words, "--yes", "--reason", "mended").err == "5 items changed.\n"
    assert len(await found(database, 'status:"proc1 failed"')) == 10
    assert "1 unknown item: nobody" in tidemill("items", "status", "bad", "nobody", code=3).err


async def add(database: Database, *rows: dict[str, Any]) -> None:
    async with database.begin() as session:
        await items.add(session, rows)


async def found(database: Database, search: str) -> list[Row]:
    async with database.begin() as session:
        return (await items.search(session, search)).rows
