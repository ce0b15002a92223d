"""Batches out of projects, ids, searches and other batches."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from tests.factory import make_run

from tidemill.catalogue import items
from tidemill.db.database import Database
from tidemill.errors import Conflict, InvalidInput, NotFound, UnknownIds
from tidemill.pipelines import batches
from tidemill.pipelines.batches import FromBatch, FromBatches, FromIds, FromProject, FromSearch, Made, Source


async def _add(database: Database, names: list[str], **more: object) -> None:
    async with database.begin() as session:
        await items.add(session, [{"name": name, **more} for name in names])


async def _make(database: Database, name: str, source: Source, **more: str) -> Made:
    async with database.begin() as session:
        return await batches.make(session, name, source, **more)


async def _names(database: Database, batch: str) -> list[str]:
    async with database.begin() as session:
        return [row["name"] for row in await batches.items(session, batch)]


async def test_pasted_ids_keep_their_first_order_whatever_stands_between_them(database: Database) -> None:
    await _add(database, ["a-1", "a-2", "a-3", "a-4"])
    made = await _make(database, "pasted", FromIds('a-3, a-1\n\n"a-2";a-3\ta-1\r\n a-4,'))
    assert made.size == 4
    assert await _names(database, "pasted") == ["a-3", "a-1", "a-2", "a-4"]


async def test_unknown_ids_are_all_listed_in_order_and_nothing_is_made(database: Database) -> None:
    await _add(database, ["a-1"])
    with pytest.raises(UnknownIds) as refused:
        await _make(database, "pasted", FromIds("b-9 a-1 b-1 b-9 nul\0"))
    assert refused.value.ids == ["b-9", "b-1", "nul\0"]
    async with database.begin() as session:
        assert await batches.listing(session) == []


async def test_a_project_and_a_search_give_their_items_by_name(database: Database) -> None:
    await _add(database, ["b", "a"], projects=["slates"], metadata={"year": 1987})
    await _add(database, ["c"], projects=["slates", "other"], metadata={"year": 1990, "title": "Evening News"})
    await _make(database, "project", FromProject("slates"))
    assert await _names(database, "project") == ["a", "b", "c"]
    await _make(database, "year", FromSearch("project:slates year=1987"))
    assert await _names(database, "year") == ["a", "b"]
    await _make(database, "both", FromSearch('project:slates project:other title="Evening News"'))
    assert await _names(database, "both") == ["c"]
    with pytest.raises(NotFound, match="slates"):
        await _make(database, "typo", FromProject("slate"))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["50%_a", "Cpb-1", "cpb-1", "cpb-2"]),
        ("CPB", ["Cpb-1", "cpb-1", "cpb-2"]),
        ("cpb-*", ["cpb-1", "cpb-2"]),
        ("%_", ["50%_a"]),
        ("status:bad", ["cpb-2"]),
        ("cpb status:good", ["Cpb-1", "cpb-1"]),
        ('"cpb-1"', ["Cpb-1", "cpb-1"]),
        ("missing=1", []),
    ],
)
async def test_a_search_finds(database: Database, query: str, found: list[str]) -> None:
    await _add(database, ["cpb-1", "Cpb-1", "50%_a"])
    await _add(database, ["cpb-2"], status="bad")
    async with database.begin() as session:
        page = await items.search(session, query)
    assert sorted(row["name"] for row in page.rows) == found
    assert page.total == len(found)


@pytest.mark.parametrize("query", ['"open', "colour:red"])
async def test_a_search_that_cannot_be_read_is_refused(database: Database, query: str) -> None:
    async with database.begin() as session:
        with pytest.raises(InvalidInput):
            await items.search(session, query)


async def test_what_would_be_empty_or_is_taken_is_not_made(database: Database) -> None:
    await _add(database, ["a"])
    with pytest.raises(InvalidInput, match="finds nothing"):
        await _make(database, "none", FromSearch("zzz"))
    with pytest.raises(InvalidInput, match="no ids"):
        await _make(database, "none", FromIds(" , \n"))
    await _make(database, "one", FromIds("a"))
    with pytest.raises(Conflict, match="already"):
        await _make(database, "one", FromIds("a"))
    with pytest.raises(InvalidInput, match="slash"):
        await _make(database, "a/b", FromIds("a"))


async def test_a_duplicate_keeps_order_pipeline_and_description(database: Database) -> None:
    run = await make_run(database, items=1)
    await _add(database, ["a", "b", "c"])
    await _make(database, "first", FromIds("c a b"), description="for May", pipeline=run.pipeline)
    await _make(database, "second", FromBatch("first"))
    assert await _names(database, "second") == ["c", "a", "b"]
    async with database.begin() as session:
        row = await batches.standing(session, "second")
    assert (row["pipeline"], row["description"], row["size"]) == (run.pipeline, "for May", 3)
    assert row["made_from"] == {"ids": 3, "duplicate_of": "first"}


async def test_combining_keeps_the_union_and_says_what_differs(database: Database) -> None:
    one = await make_run(database, items=1)
    two = await make_run(database, items=1)
    await _add(database, ["a", "b", "c", "d"])
    await _make(database, "left", FromIds("c b"), pipeline=one.pipeline)
    await _make(database, "right", FromIds("d b a"), pipeline=two.pipeline)
    made = await _make(database, "union", FromBatches(["left", "right"]))
    assert await _names(database, "union") == ["c", "b", "d", "a"]
    assert made.comparison is not None
    left, right = made.comparison.parts
    assert (left.name, left.size, left.only_here, left.only_names, left.shared) == ("left", 2, 1, ["c"], 1)
    assert (right.name, right.only_here, right.only_names, right.shared) == ("right", 2, ["d", "a"], 1)
    assert made.comparison.pipelines == [one.pipeline, two.pipeline]
    assert not made.comparison.same
    async with database.begin() as session:
        assert (await batches.standing(session, "union"))["pipeline"] is None


async def test_combining_batches_of_one_pipeline_keeps_it(database: Database) -> None:
    run = await make_run(database, items=1)
    await _add(database, ["a", "b"])
    await _make(database, "left", FromIds("a"), pipeline=run.pipeline)
    await _make(database, "right", FromIds("b"), pipeline=run.pipeline)
    await _make(database, "union", FromBatches(["left", "right"]))
    async with database.begin() as session:
        assert (await batches.standing(session, "union"))["pipeline"] == run.pipeline


async def test_the_listing_counts_each_item_by_its_newest_task(database: Database) -> None:
    run = await make_run(database, items=4, steps=1)
    statements = [
        """insert into run (batch_id, pipeline_version_id, steps, total)
           select batch_id, pipeline_version_id, 1, 1 from run""",
        """insert into task (run_id, position, item_id, document, state, finished_at)
           select 2, position, item_id, document, 'done', now() from task where position = 0""",
        "update task set state = 'failed', finished_at = now() where run_id = 1 and position < 2",
        "delete from task where position = 3",
    ]
    async with database.begin() as session:
        for statement in statements:
            await session.execute(text(statement))
    async with database.begin() as session:
        row = await batches.standing(session, run.batch)
    assert (row["size"], row["runs"], row["started"], row["not_started"]) == (4, 2, 3, 1)
    assert (row["completed"], row["successful"], row["failed"]) == (2, 1, 1)
    assert (row["completed_percent"], row["successful_percent"]) == (50.0, 25.0)
    assert row["not_started_names"] == [run.item(3)]


async def test_many_ids_go_in_and_out_as_sets(database: Database) -> None:
    names = [f"item-{n:06d}" for n in range(20_000)]
    async with database.begin() as session:  # as quickly as can be: that they came is nobody's news
        await session.execute(text("set local session_replication_role = replica"))
        await session.execute(text("insert into item (name) select unnest(cast(:names as text[]))"), {"names": names})
    made = await _make(database, "all", FromIds("\n".join(reversed(names))))
    assert made.size == 20_000
    assert (await _names(database, "all"))[0] == "item-019999"
    assert (await _make(database, "few", FromSearch("item-00000*"))).size == 10
    assert (await _make(database, "again", FromBatches(["few", "all"]))).size == 20_000
