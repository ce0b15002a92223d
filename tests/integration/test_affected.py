"""What a changed app or side input affects, and doing just that again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text
from tests.site import Mill

from tidemill.db.database import Database
from tidemill.db.integrity import broken_records
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.runner import affected, redo
from tidemill.runner.affected import ByApp, ByInput
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]
OLD, NEW = "aa" * 32, "bb" * 32


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


def same(document: Json, parameters: Json) -> Json:
    return {**document, parameters["name"]: True}


async def a_run(mill: Mill, items: int = 4, **options: Any) -> int:
    run = await mill.start(
        items=items, steps=["copy", "fit"], functions={"c": same, "f": same}, use=["c", "f"], **options
    )
    await mill.work({"c": same, "f": same}, until=mill.finished(run))
    return run


async def put(mill: Mill, *statements: str) -> None:
    async with mill.database.begin() as session:
        for statement in statements:
            await session.execute(text(statement))


async def new_version(mill: Mill, app: str, version: str) -> None:
    await put(
        mill,
        f"insert into app_version (app_id, version, digest, seen_at) "
        f"select id, '{version}', '', clock_timestamp() from app where name = '{app}'",
        f"update app set revision = revision + 1, version_id = (select max(id) from app_version where app_id = app.id) "
        f"where name = '{app}'",
    )


async def find(mill: Mill, asked: affected.Asked, **options: Any) -> tuple[dict[str, int], list[tuple[str, int, str]]]:
    async with mill.database.begin() as session:
        found = await affected.find(session, asked, **options)
        rows = await affected.listing(session, found.places)
        assert len(rows) == found.results
    return {one.name: one.results for one in found.made}, [(row["item"], row["run"], row["step"]) for row in rows]


async def test_the_results_of_an_older_version_are_found_and_done_again(mill: Mill) -> None:
    run = await a_run(mill)
    assert await find(mill, ByApp("f")) == ({"1": 4}, [])
    await new_version(mill, "f", "2")
    assert await find(mill, ByApp("f")) == ({"1": 4}, [(f"item-{n}", run, "fit") for n in range(4)])
    async with mill.database.begin() as session:
        assert await redo.rerun(session, run, 1, redo.Filter(items=["item-2"])) == 1
    await mill.work({"c": same, "f": same}, until=mill.finished(run))
    expected = [("item-0", run, "fit"), ("item-1", run, "fit"), ("item-3", run, "fit")]
    assert await find(mill, ByApp("f", before="current")) == ({"2": 1, "1": 3}, expected)
    assert (await find(mill, ByApp("f", version="1")))[1] == expected
    assert (await find(mill, ByApp("f", version="2")))[1] == [("item-2", run, "fit")]
    assert (await find(mill, ByApp("f", before="2")))[1] == expected
    assert (await find(mill, ByApp("f", before="1")))[1] == []
    async with mill.database.begin() as session:
        preview = await redo.preview(session, (await affected.find(session, ByApp("f"))).places)
        assert (preview.tasks, preview.items, preview.steps) == (3, 3, 3)
        assert await affected.rerun(session, ByApp("f")) == 3
    assert await mill.states(run) == {"done": 1, "waiting": 3}
    await mill.work({"c": same, "f": same}, until=mill.finished(run))
    assert await find(mill, ByApp("f")) == ({"2": 4}, [])
    async with mill.database.begin() as session:
        with pytest.raises(Conflict):
            await affected.rerun(session, ByApp("f"))
    assert await broken_records(mill.database) == []


async def test_what_the_app_said_counts_more_than_what_was_known_of_it(mill: Mill) -> None:
    run = await a_run(mill)
    await put(
        mill,
        "update attempt a set app_said = '1.1' from task t where t.id = a.task_id and a.step = 1 and t.position < 2",
        "update attempt a set app_said = '1' from task t where t.id = a.task_id and a.step = 1 and t.position = 2",
    )
    made, items = await find(mill, ByApp("f"))
    assert made == {"1.1": 2, "1": 2}
    assert items == [("item-0", run, "fit"), ("item-1", run, "fit")]
    assert (await find(mill, ByApp("f", version="1.1")))[1] == items
    assert len((await find(mill, ByApp("f", version="1")))[1]) == 2
    again = await mill.again(run)
    await mill.work({"c": same, "f": same}, until=mill.finished(again))
    assert all(attempt["origin_task_id"] for attempt in await mill.attempts(again))
    assert (await find(mill, ByApp("f")))[1] == [("item-0", again, "fit"), ("item-1", again, "fit")], (
        "a result that was used again counts by what made it"
    )


async def test_of_an_item_only_the_newest_run_counts_unless_every_run_is_asked_for(mill: Mill) -> None:
    run = await a_run(mill, items=2)
    again = await mill.again(run, reuse=False)
    await mill.work({"c": same, "f": same}, until=mill.finished(again))
    await new_version(mill, "c", "2")
    assert (await find(mill, ByApp("c")))[1] == [("item-0", again, "copy"), ("item-1", again, "copy")]
    assert len((await find(mill, ByApp("c"), every_run=True))[1]) == 4
    third = await mill.again(run, reuse=False, paused=True)
    assert (await find(mill, ByApp("c")))[1][0] == ("item-0", again, "copy"), (
        "a newer run that has not done it changes nothing"
    )
    assert await mill.states(third) == {"waiting": 2}


async def test_a_side_input_is_found_by_its_checksum(mill: Mill) -> None:
    run = await a_run(mill)

    def inputs(sha256: str) -> str:
        template = {"name": "template", "sha256": sha256, "size": 9, "url": "file:///t.h5"}
        return json.dumps([template, {"name": "gain", "sha256": NEW}])

    async with mill.database.begin() as session:
        for positions, sha256 in ("0, 1", OLD), ("2", NEW):
            await session.execute(
                text(
                    "update attempt a set inputs = cast(:inputs as jsonb), "
                    f"finished_at = a.finished_at + interval '{positions[0]} min' from task t "
                    f"where t.id = a.task_id and a.step = 1 and t.position in ({positions})"
                ),
                {"inputs": inputs(sha256)},
            )
    old = [("item-0", run, "fit"), ("item-1", run, "fit")]
    assert await find(mill, ByInput("template")) == ({NEW: 1, OLD: 2}, old)
    assert (await find(mill, ByInput("template", sha256=OLD[:12])))[1] == old
    assert (await find(mill, ByInput("template", sha256=NEW)))[1] == [("item-2", run, "fit")]
    assert len((await find(mill, ByInput("template", unlike="cc" * 32)))[1]) == 3
    assert (await find(mill, ByInput("gain")))[1] == []
    async with mill.database.begin() as session:
        assert await affected.inputs(session) == ["gain", "template"]
        assert await affected.rerun(session, ByInput("template")) == 2
        with pytest.raises(NotFound, match="No result used a side input"):
            await affected.find(session, ByInput("tempate"))
        with pytest.raises(NotFound, match="with the checksum"):
            await affected.find(session, ByInput("template", sha256="cc"))
        with pytest.raises(NotFound, match="no app named 'g'"):
            await affected.find(session, ByApp("g"))
        with pytest.raises(NotFound, match="made by version '7'"):
            await affected.find(session, ByApp("f", version="7"))
        with pytest.raises(InvalidInput):
            await affected.find(session, ByApp("f", version="1", before="1"))
    assert await mill.states(run) == {"done": 2, "waiting": 2}


async def test_a_rerun_of_an_app_that_stands_twice_begins_at_the_first(mill: Mill) -> None:
    run = await mill.start(items=2, steps=["a", "b", "c"], functions={"c": same, "f": same}, use=["c", "f", "f"])
    await mill.work({"c": same, "f": same}, until=mill.finished(run))
    await new_version(mill, "f", "2")
    assert len((await find(mill, ByApp("f")))[1]) == 4
    async with mill.database.begin() as session:
        preview = await redo.preview(session, (await affected.find(session, ByApp("f"))).places)
        assert (preview.tasks, preview.steps) == (2, 4)
        assert await affected.rerun(session, ByApp("f")) == 2
    assert {task["step"] for task in await mill.tasks(run)} == {1}
    assert await broken_records(mill.database) == []


async def test_a_rerun_of_all_affected_in_several_runs_is_one_step_back_for_each(mill: Mill) -> None:
    one, two = await a_run(mill, items=2), await a_run(mill, items=3, prefix="other")
    await new_version(mill, "f", "2")
    async with mill.database.begin() as session:
        found = await affected.find(session, ByApp("f"))
        preview = await redo.preview(session, found.places)
        assert (preview.tasks, preview.runs) == (5, 2)
        assert await affected.rerun(session, ByApp("f")) == 5
    assert await mill.states(one) == {"waiting": 2}
    await mill.work({"c": same, "f": same}, until=mill.all_finished(one, two))
    assert await mill.states(two) == {"done": 3}
    assert await broken_records(mill.database) == []
