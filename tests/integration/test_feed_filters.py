"""Filters of the feed: exact, by index or in order, moving on where nothing matches; snapshots; records."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from tests.factory import make_run
from tests.site import Mill
from tests.transactions import the_feed_tells_all
from tests.webserver import Web

from tidemill.db.database import Database
from tidemill.errors import InvalidInput
from tidemill.feed import changes
from tidemill.feed.filters import Filter
from tidemill.storage.documents import DocumentStore


def step(document: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    return {**document, parameters["name"]: True}


STEPS = {"move": step, "process": step}


async def get(web: Web, path: str, status: int = 200) -> Any:
    answer = await web.client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def records(database: Database) -> None:
    """Ten items: `i0` … `i9`, of two projects, two statuses and some metadata."""
    async with database.begin() as session:
        await session.execute(text("insert into project (name) values ('north'), ('south')"))
        await session.execute(
            text(
                "insert into item (name, status, metadata) select 'i' || n, case when n < 3 then 'bad' else 'good' end,"
                " jsonb_build_object('number', n, 'word', 'w' || n % 2, 'at', jsonb_build_object('depth', n * 10))"
                " from generate_series(0, 9) n"
            )
        )
        await session.execute(
            text(
                "insert into project_item (project_id, item_id) select p.id, i.id from project p, item i"
                " where p.name = 'north' and i.name in ('i1', 'i5')"
            )
        )
    await the_feed_tells_all(database)


async def names(web: Web, filters: str) -> list[str]:
    page = await get(web, f"/api/changes?kind=item&{filters}")
    assert page["pending"] == 0
    return sorted({result["item"] for result in page["results"]})


async def test_each_filter_lets_pass_what_the_record_says_now(database: Database, web: Web) -> None:
    await records(database)
    assert await names(web, "") == [f"i{n}" for n in range(10)]
    assert await names(web, "project=north") == ["i1", "i5"]
    assert await names(web, "project=north&status=bad") == ["i1"]
    assert await names(web, "status=bad") == ["i0", "i1", "i2"]
    assert await names(web, "status=bad&status=good&item=i2&item=i7") == ["i2", "i7"]
    assert await names(web, "field.number=4") == ["i4"]
    assert await names(web, "field.number=4&field.number=5&field.word=w1") == ["i5"]
    assert await names(web, "field.word=w1&status=bad") == ["i1"]
    assert await names(web, "field.at.depth=30") == ["i3"]
    assert await names(web, "field.word=w") == []
    assert await names(web, "last_step=none&status=bad") == ["i0", "i1", "i2"]
    assert await names(web, "project=nowhere") == []
    async with database.begin() as session:
        await session.execute(text("update item set status = 'good' where name = 'i1'"))
    assert await names(web, "status=bad") == ["i0", "i2"]
    projects = (await get(web, "/api/changes?kind=project"))["results"]
    assert [one["project"] for one in projects] == ["north", "south"]


async def test_filters_in_a_body_add_to_those_in_the_address(database: Database, web: Web) -> None:
    await records(database)
    body = {"item": [f"i{n}" for n in range(8)], "field": {"word": "w0"}, "kind": ["item"]}
    page = (await web.client.post("/api/changes?status=good", json=body)).json()
    assert {result["item"] for result in page["results"]} == {"i4", "i6"}
    assert (await web.client.post("/api/changes", json={"items": []})).status_code == 422


async def test_a_deleted_item_is_told_by_the_name_it_had(database: Database, web: Web) -> None:
    await records(database)
    before = (await get(web, "/api/changes?since=now"))["last_seq"]
    async with database.begin() as session:
        await session.execute(text("delete from item where name = 'i9'"))
    await the_feed_tells_all(database)
    (gone,) = (await get(web, f"/api/changes?since={before}&include_docs=true"))["results"]
    assert (gone["item"], gone["deleted"], gone["doc"]) == ("i9", True, None)
    assert gone["changes"][0]["state"] == "deleted"


async def test_what_is_no_filter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="tasks"):
        Filter(kinds=("tasks",))
    with pytest.raises(InvalidInput, match="NUL"):
        Filter(items=("a\0b",))
    with pytest.raises(InvalidInput, match="at once"):
        Filter(fields=tuple((f"a.b{n}", "5") for n in range(6)))
    with pytest.raises(InvalidInput, match="values"):
        Filter(items=tuple(f"i{n}" for n in range(2000)))


async def read_all(database: Database, which: Filter, limit: int) -> tuple[list[str], int]:
    """The items of all changes that pass, in order, and in how many pages they came."""
    since, seen, pages = "0", [], 0
    while True:
        async with database.begin() as session:
            page = await changes.read(session, since, limit, which)
        assert page.last_seq != since or not page.pending, "every page moves on"
        since, pages = page.last_seq, pages + 1
        seen += [result["seq"] for result in page.results]
        if not page.pending:
            return seen, pages


@pytest.mark.parametrize("limit", [3, 10, 1000])
async def test_by_index_or_in_order_the_same_changes_come(
    database: Database, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small stretches make it read on by index where the matches are few, and in order where they are too many."""
    made = await make_run(database, items=60)
    async with database.begin() as session:
        await session.execute(text("update item set status = 'bad', metadata = '{\"a\": 1}' where id % 7 = 0"))
        await session.execute(
            text(
                "insert into change (kind, item_id, task_id, state) select 'task', i.id, 1, 'done'"
                " from generate_series(1, 9) n, item i order by (i.id * 31 + n * 17) % 101"
            )
        )
    await the_feed_tells_all(database)
    wholly = []
    for which in (Filter(statuses=("bad",)), Filter(fields=(("a", "1"),), kinds=("task",))):
        wanted, _ = await read_all(database, which, 10_000)
        assert len(wanted) > 50
        wholly.append(wanted)
        monkeypatch.setattr(changes, "STRETCH", 20)
        monkeypatch.setattr(changes, "LEAST_STRETCH", 5)
        monkeypatch.setattr(changes, "FEW_ITEMS", 1000)
        assert (await read_all(database, which, limit))[0] == wanted, "by index"
        monkeypatch.setattr(changes, "FEW_ITEMS", 2)
        assert (await read_all(database, which, limit))[0] == wanted, "in order"
        monkeypatch.undo()
    assert made.items == 60


async def test_a_page_on_which_nothing_passes_moves_on_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_run(database, items=300)
    await the_feed_tells_all(database)
    monkeypatch.setattr(changes, "STRETCH", 10)
    monkeypatch.setattr(changes, "MOST_STRETCHES", 3)
    seen, pages = await read_all(database, Filter(kinds=("app",)), 5)
    assert seen == []
    assert pages >= 10


async def test_docs_show_the_record_with_its_process(database: Database, documents: DocumentStore, web: Web) -> None:
    mill = Mill(database, documents)
    run = await mill.start(items=2, steps=["move_to_sps", "signal"], functions=STEPS, use=["move", "process"])
    await mill.work(STEPS, until=mill.finished(run))
    async with database.begin() as session:
        await session.execute(
            text(
                "insert into past_step (item_id, position, name)"
                " select id, 0, 'written' from item where name = 'item-1'"
            )
        )
    await the_feed_tells_all(database)
    page = await get(web, "/api/changes?include_docs=true&kind=task&item=item-1")
    last = page["results"][-1]
    assert last["changes"] == [{"state": "done", "step": 1, "name": "signal"}]
    assert last["now"] == {"state": "done", "step": 1}
    record = last["doc"]
    assert [entry["name"] for entry in record["process"]] == ["written", "move_to_sps", "signal"]
    assert record["last_step"] == "signal"
    view = await get(web, "/api/items/item-1")
    shown = [{key: value for key, value in entry.items() if key != "log"} for entry in view["process"]]
    assert record["process"] == shown, "the same as on the item's page, but for the logs"
    assert {"name", "status", "status_reason", "metadata", "revision", "projects"} <= set(record)
    plain = await get(web, "/api/changes?kind=task&item=item-1")
    assert "doc" not in plain["results"][0]


async def test_a_task_moved_by_two_transactions_in_turn_is_told_where_it_stands_now(
    database: Database, web: Web
) -> None:
    """The second to move it took its number first, so its change comes first; `now` is right in both."""
    made = await make_run(database, items=1)
    move = (
        "with moved as (update task set state = {0}, finished_at = {1} where run_id = %s returning *)"
        " insert into change (kind, run_id, task_id, item_id, position, step, state)"
        " select 'task', run_id, id, item_id, position, step, state from moved"
    )
    early, other = await database.connect(), await database.connect()
    async with early, other, early.transaction():
        await early.execute("select pg_current_xact_id()")
        await other.execute(move.format("'failed'", "now()").encode(), [made.run])
        await early.execute(move.format("'waiting'", "null").encode(), [made.run])
    await the_feed_tells_all(database)
    results = (await get(web, "/api/changes?kind=task&include_docs=true"))["results"]
    assert [result["changes"][0]["state"] for result in results] == ["waiting", "failed"]
    assert [result["now"]["state"] for result in results] == ["waiting", "waiting"]


async def test_a_snapshot_and_the_feed_from_it_make_the_state_at_every_moment(database: Database, web: Web) -> None:
    """While items come and are edited, snapshots are taken; each, and what follows it, gives the same end."""
    await records(database)

    async def edit(writer: int) -> None:
        connection = await database.connect()
        async with connection:
            for turn in range(25):
                async with connection.transaction():
                    await connection.execute("insert into item (name) values (%s)", [f"n{writer}-{turn}"])
                    await asyncio.sleep(0.002 * writer)
                    await connection.execute(
                        "update item set metadata = metadata || jsonb_build_object('turn', %s::int) where name = %s",
                        [turn, f"i{writer}"],
                    )

    async def shots(over: asyncio.Event) -> list[dict[str, Any]]:
        taken = []
        while not over.is_set():
            taken.append(await get(web, "/api/changes/snapshot?status=good"))
            await asyncio.sleep(0.01)
        return taken

    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        shooting = group.create_task(shots(over))
        await asyncio.gather(*(edit(n) for n in range(3, 8)))
        over.set()
    await the_feed_tells_all(database)
    final = {one["name"]: one for one in (await get(web, "/api/changes/snapshot?status=good"))["items"]}
    assert len(final) == 7 + 5 * 25
    assert len(shooting.result()) > 3
    for shot in shooting.result():
        state = {one["name"]: one for one in shot["items"]}
        since = shot["seq"]
        while True:
            page = await get(web, f"/api/changes?since={since}&include_docs=true&kind=item")
            state |= {result["item"]: result["doc"] for result in page["results"] if result["doc"]["status"] == "good"}
            since = page["last_seq"]
            if not page["pending"]:
                break
        assert {name: one["metadata"] for name, one in state.items()} == {n: o["metadata"] for n, o in final.items()}


async def test_a_snapshot_takes_the_filters_on_records(database: Database, web: Web) -> None:
    await records(database)
    shot = await get(web, "/api/changes/snapshot?project=north&field.number=5&include_docs=true")
    assert [(one["name"], one["process"], one["last_step"]) for one in shot["items"]] == [("i5", [], None)]
    assert shot["seq"] == shot["last_seq"]
    assert (await get(web, "/api/changes/snapshot?status=lost"))["items"] == []
    assert "items" in (await get(web, "/api/changes/snapshot?kind=item", 422))["error"]["message"]
