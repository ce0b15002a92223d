"""Operating a site for years from the command line."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.program import Program
from tests.site import Mill
from tests.zones import quiet_zone

from tidemill.db.database import Database
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url)


async def told(tidemill: Program, *words: object, code: int | None = 0) -> str:
    """What a command says, both ways; the loop goes on meanwhile."""
    ended = await asyncio.to_thread(tidemill, *words, code=code)
    return ended.out + ended.err


async def as_json(tidemill: Program, *words: object) -> Any:
    return (await asyncio.to_thread(tidemill, *words, "--json")).json


def cold(document: Json, parameters: Json) -> Json:
    number = int(document["item"][5:])
    if parameters["name"] == "fit" and number >= 2:
        raise ValueError(f"{number}.5 K is too warm")
    return {**document, parameters["name"]: number}


def mended(document: Json, parameters: Json) -> Json:
    return {**document, parameters["name"]: 2 * int(document["item"][5:])}


async def test_fix_one_try_some_release_the_rest(mill: Mill, tidemill: Program) -> None:
    run = await mill.start(items=8, steps=["copy", "fit"], functions={"f": cold}, use=["f", "f"], tries=1)
    await mill.work({"f": cold}, until=mill.finished(run))
    said = await told(tidemill, "failures", run)
    assert "6 tasks stand failed, in 1 family." in said
    assert "6 × ValueError: # K is too warm" in said
    (family,) = (await as_json(tidemill, "failures", run))["families"]
    assert said.count(family["id"]) == 2
    assert (await as_json(tidemill, "retry", run, "--family", family["id"], "--first", 2)) == {"run": run, "retried": 2}
    await mill.work({"f": mended}, until=mill.finished(run))
    assert f"run {run}: 2 tried: 2 done" in await told(tidemill, "failures", run)
    asked = await asyncio.to_thread(tidemill.on_terminal, "retry", run, "--family", family["id"])
    await asyncio.to_thread(asked.until, "4 tasks of run 1 would be tried again")
    asked.press("n\n")
    assert await asyncio.to_thread(asked.end) == 7
    assert await mill.states(run) == {"done": 4, "failed": 4}
    assert "4 tasks of run 1 will be tried again." in await told(tidemill, "retry", run, "--family", family["id"])
    await mill.work({"f": mended}, until=mill.finished(run))
    assert await mill.states(run) == {"done": 8}
    assert "Nothing stands failed." in await told(tidemill, "failures")
    assert "in a family" in await told(tidemill, "retry", run, "--family", "12345678", code=4)


async def test_what_stands_where_and_what_is_stuck(mill: Mill, tidemill: Program) -> None:
    run = await mill.start(items=3, steps=["copy", "fit"], functions={"f": cold}, use=["f", "f"], paused=True)
    async with mill.database.begin() as session:
        await session.execute(text("update task set due_at = now() - interval '1 h'"))
    said = await told(tidemill, "counts")
    assert "Items: 3 good" in said
    assert re.search(r"pipe-item +copy +f +3 ", said)
    assert re.search(r"Longest waiting: item-\d at copy of run 1, for 1 h", said)
    assert (await as_json(tidemill, "counts", run))["steps"][1]["counts"]["to_come"] == 3
    assert "no run 9" in await told(tidemill, "counts", 9, code=4)
    said = await told(tidemill, "stuck")
    assert re.search(r"3 +run paused +run 1 is paused +1 +copy", said)
    found = await as_json(tidemill, "stuck", "--limit", 1)
    assert [(one["cause"], one["tasks"]) for one in found["causes"]] == [("run paused", 3)]
    assert [task["why"] for task in found["tasks"]] == ["run 1 is paused"]
    assert "Nothing is stuck." in await told(tidemill, "stuck", "--longer", 7200)
    assert "The causes are" in await told(tidemill, "stuck", "--cause", "bored", code=3)


async def test_a_step_is_done_again_then_compared_then_taken_back(mill: Mill, tidemill: Program) -> None:
    run = await mill.start(items=2, steps=["copy", "fit"], functions={"f": cold}, use=["f", "f"])
    await mill.work({"f": cold}, until=mill.finished(run))
    assert "nothing to compare with" in await told(tidemill, "compare", "item-1", code=4)
    assert "leave the run out" in await told(tidemill, "rerun", run, "--from", "fit", "--search", "x", code=2)
    said = await told(tidemill, "rerun", "--from", "fit", "--item", "item-1", code=7)
    assert "From fit: 1 task would start again, 1 finished step would be done anew" in said
    assert "1 task will start again from fit" in await told(
        tidemill, "rerun", "--from", "fit", "--search", "item-1", "--yes"
    )
    await mill.work({"f": mended}, until=mill.finished(run))
    said = await told(tidemill, "compare", "item-1")
    assert re.search(r"fit +1 +2 +50\.000%", said)
    assert "To go back: tidemill go-back 1" in said
    whole = await as_json(tidemill, "compare", "--run", run)
    assert [(step["step"], step["results"], step["differ"]) for step in whole["steps"]] == [("fit", 1, 1)]
    assert "name an item, or a run" in await told(tidemill, "compare", code=2)
    dry = await told(tidemill, "go-back", run, "--dry-run")
    assert "1 task would stand as before the re-run (1 done)" in dry
    assert "Left alone: 1 task of which nothing was put aside then." in dry
    assert (await as_json(tidemill, "compare", "item-1"))["steps"][0]["new"]["outcome"] == "done"
    await told(tidemill, "go-back", run, code=7)
    gone = await as_json(tidemill, "go-back", run, "--yes")
    assert (gone["gone_back"], gone["preview"]["tasks"]) == (1, 1)
    assert (await as_json(tidemill, "compare", "item-1"))["steps"][0]["comparison"]["differences"][0]["new"] == 1
    assert (await asyncio.to_thread(tidemill, "db", "check")).code == 0


async def test_what_a_new_version_affects_is_done_again(mill: Mill, tidemill: Program) -> None:
    run = await mill.start(items=2, steps=["copy", "fit"], functions={"f": mended, "g": mended}, use=["f", "g"])
    await mill.work({"f": mended, "g": mended}, until=mill.finished(run))
    async with mill.database.begin() as session:
        await session.execute(
            text(
                "with made as (insert into app_version (app_id, version, digest) "
                "select id, '2', '' from app where name = 'g' returning id) "
                "update app set version_id = made.id, revision = revision + 1 from made where name = 'g'"
            )
        )
    said = await told(tidemill, "affected", "--app", "g")
    assert "Affected: 2 results that stand." in said
    assert "item-0" in said
    assert "Affected: 0 results" in await told(tidemill, "affected", "--app", "f")
    found = await as_json(tidemill, "affected", "--app", "g", "--version", "1", "--limit", 1)
    assert (found["results"], len(found["affected"]), found["made"][0]["name"]) == (2, 1, "1")
    assert "not for both" in await told(tidemill, "affected", "--app", "g", "--version", "1", "--before", "2", code=3)
    await told(tidemill, "affected", "--app", "g", "--input", "x", code=2)
    await told(tidemill, "affected", "--input", "template", code=4)
    await told(tidemill, "affected", "--app", "g", "--rerun", code=7)
    assert (await as_json(tidemill, "affected", "--app", "g", "--rerun", "--yes"))["rerun"] == 2
    assert [task["step"] for task in await mill.tasks(run)] == [1, 1]


async def test_the_week_is_summed_up(mill: Mill, tidemill: Program) -> None:
    run = await mill.start(items=3, steps=["fit"], functions={"f": cold}, use=["f"], tries=1)
    await mill.work({"f": cold}, until=mill.finished(run))
    zone = ("--zone", quiet_zone("Europe/Berlin", "Asia/Tokyo"))
    said = await told(tidemill, "summary", *zone)
    assert "Items: 3 (0) added" in said
    assert re.search(r"fit +2 +1 ", said)
    assert "1 × ValueError: # K is too warm (first item-2, run 1)" in said
    assert (await as_json(tidemill, "summary", *zone))["totals"]["done"] == 2
    assert (await as_json(tidemill, "summary"))["zone"] == "UTC"
    assert "is no week" in await told(tidemill, "summary", "--week", "yesterday", code=3)
