"""Re-runs by item, over runs; the steps after a step follow it, and the record as it is now goes in."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text
from tests.site import Mill

from tidemill.db.database import Database
from tidemill.db.integrity import broken_records
from tidemill.db.models import Project, ProjectItem
from tidemill.errors import InvalidInput, NotFound, UnknownIds
from tidemill.runner import redo, runs
from tidemill.runner.redo import Filter, Wanted
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


class Steps:
    """Counts what is done to which item at which step, and keeps what each was told of the item's record."""

    def __init__(self) -> None:
        self.done: Counter[tuple[str, str]] = Counter()
        self.told: list[Any] = []

    def __call__(self, document: Json, parameters: Json) -> Json:
        self.done[document["item"], parameters["name"]] += 1
        self.told.append((document.get("metadata") or {}).get("volts"))
        return {**document, parameters["name"]: self.done[document["item"], parameters["name"]]}


async def a_run(mill: Mill, steps: Steps, items: int = 3, **options: Any) -> int:
    run = await mill.start(items=items, steps=["copy", "copy_v2"], functions={"f": steps}, use=["f", "f"], **options)
    await mill.work({"f": steps}, until=mill.finished(run))
    return run


async def test_a_rerun_of_step_one_does_step_two_again_with_the_record_as_it_is_now(mill: Mill) -> None:
    steps = Steps()
    run = await a_run(mill, steps, items=1)
    async with mill.database.begin() as session:
        await session.execute(text("update item set metadata = '{\"volts\": 7}' where name = 'item-0'"))
        places = await redo.across(session, Wanted(items=["item-0"]), "copy")
        preview = await redo.preview(session, places)
        assert (preview.tasks, preview.items, preview.runs, preview.steps) == (1, 1, 1, 2)
        assert await redo.put_back(session, places) == 1
    await mill.work({"f": steps}, until=mill.finished(run))
    assert steps.done == {("item-0", "copy"): 2, ("item-0", "copy_v2"): 2}
    assert steps.told == [None, None, 7, 7]
    assert await broken_records(mill.database) == []


async def test_a_step_is_named_exactly(mill: Mill) -> None:
    steps = Steps()
    run = await a_run(mill, steps)
    async with mill.database.begin() as session:
        assert set((await redo.across(session, Wanted(search="item-"), "copy")).steps) == {0}
        assert set((await redo.across(session, Wanted(search="item-"), "copy_v2")).steps) == {1}
        for name in "cop", "COPY", "copy_v":
            with pytest.raises(NotFound, match="has a step"):
                await redo.across(session, Wanted(search="item-"), name)
    assert await mill.states(run) == {"done": 3}


async def test_items_are_chosen_by_name_search_or_project(mill: Mill) -> None:
    steps = Steps()
    await a_run(mill, steps)
    await a_run(mill, steps, prefix="other")
    async with mill.database.begin() as session:
        project = Project(name="night")
        session.add(project)
        await session.flush()
        for row in await session.execute(text("select id from item where name in ('item-1', 'other-2')")):
            session.add(ProjectItem(project_id=project.id, item_id=row.id))
    async with mill.database.begin() as session:
        assert len(await redo.across(session, Wanted(items=["item-0", "other-1"]), "copy")) == 2
        assert len(await redo.across(session, Wanted(search="other-"), "copy")) == 3
        assert len(await redo.across(session, Wanted(project="night"), "copy")) == 2
        with pytest.raises(UnknownIds):
            await redo.across(session, Wanted(items=["item-0", "nobody"]), "copy")
        with pytest.raises(NotFound):
            await redo.across(session, Wanted(project="day"), "copy")
        with pytest.raises(InvalidInput):
            await redo.across(session, Wanted(), "copy")
        with pytest.raises(InvalidInput):
            await redo.across(session, Wanted(items=["item-0"], search="x"), "copy")


async def test_of_several_runs_the_newest_of_each_pipeline_or_every_one(mill: Mill) -> None:
    steps = Steps()
    first = await a_run(mill, steps, items=2)
    second = await mill.again(first, reuse=False)
    await mill.work({"f": steps}, until=mill.finished(second))
    async with mill.database.begin() as session:
        which = Wanted(items=["item-0"])
        assert list((await redo.across(session, which, "copy")).runs) == [second]
        every = await redo.across(session, which, "copy", every_run=True)
        assert sorted(every.runs) == [first, second]
        assert await redo.put_back(session, every) == 2
    assert await mill.states(first) == await mill.states(second) == {"waiting": 1, "done": 1}
    await mill.work({"f": steps}, until=mill.all_finished(first, second))
    assert steps.done["item-0", "copy"] == 4
    assert await broken_records(mill.database) == []


async def test_a_preview_tells_what_is_left_alone(mill: Mill) -> None:
    steps = Steps()
    run = await mill.start(items=3, steps=["copy", "copy_v2"], functions={"f": steps}, use=["f", "f"])
    async with mill.database.begin() as session:
        await runs.cancel(session, run, await redo.matching(session, run, Filter(items=["item-2"])))
    await mill.work({"f": steps}, until=mill.finished(run))
    async with mill.database.begin() as session:
        await session.execute(
            text(
                "delete from attempt a using task t where t.id = a.task_id and t.position = 1 and a.step = 0; "
                "update task set entered_step = 1 where position = 1"
            )
        )
        preview = await redo.preview_rerun(session, run, 0)
        assert (preview.tasks, preview.not_reached, preview.elsewhere, preview.busy) == (1, 1, 1, 0)
        assert await redo.rerun(session, run, 0) == 1
    assert await broken_records(mill.database) == []
