"""The view by last step: exact on the name, and the same as an item's whole history says, whatever became of it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.factory import make_run
from tests.site import Mill
from tests.webserver import web_site

from tidemill.db.database import Database
from tidemill.errors import InvalidInput
from tidemill.feed import changes, views
from tidemill.feed.filters import Filter
from tidemill.runner import redo
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]


async def listed(database: Database, step: str | None, limit: int = 100, **how: Any) -> list[str]:
    """The names of all items of the view, page by page."""
    names: list[str] = []
    after = None
    while True:
        async with database.begin() as session:
            page = await views.items(session, step, limit=limit, after=after, **how)
        assert len(page.rows) <= limit
        names += [row["id"] for row in page.rows]
        if page.next is None:
            return names
        after = page.next


async def counted(database: Database) -> dict[str | None, int]:
    async with database.begin() as session:
        found = await views.counts(session)
    assert not found.estimate
    return {row["key"]: row["value"] for row in found.rows}


async def by_history(database: Database) -> dict[str, str | None]:
    """The last step of every item, found out the long way."""
    async with database.begin() as session:
        rows = await session.execute(
            text(
                "select i.name, (select s.name"
                "   from attempt a join task t on t.id = a.task_id join run r on r.id = t.run_id"
                "   join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = a.step"
                "   where t.item_id = i.id and a.outcome = 'done' and a.superseded_at is null"
                "   order by a.finished_at desc, a.task_id desc limit 1) as done,"
                " (select p.name from past_step p where p.item_id = i.id order by p.position desc limit 1) as past"
                " from item i"
            )
        )
        return {row.name: row.done or row.past for row in rows}


async def agree(database: Database, limit: int = 7) -> Counter[str | None]:
    """The view and its counts say what the history says; how many items have done which step last."""
    truth = await by_history(database)
    for step in set(truth.values()) | {None, "move_to", "move_to_sps_v2"}:
        found = await listed(database, step, limit)
        assert sorted(found) == sorted(name for name, last in truth.items() if last == step), step
    counts = Counter(truth.values())
    assert await counted(database) == dict(counts)
    return counts


async def test_a_name_that_begins_with_another_is_another(database: Database, documents: DocumentStore) -> None:
    def work(document: Json, parameters: Json) -> Json:
        if parameters["name"] == "stop" or (parameters["name"] == "move_to_sps_v2" and document["item"] == "item-1"):
            raise ValueError("no")
        return {**document, parameters["name"]: 1}

    mill = Mill(database, documents)
    functions = {"f": work}
    run = await mill.start(
        items=3, steps=["move_to_sps", "move_to_sps_v2", "stop"], functions=functions, use=["f"] * 3, tries=1
    )
    assert await listed(database, "move_to_sps") == []
    assert await listed(database, None) == ["item-0", "item-1", "item-2"]
    await mill.work(functions, until=mill.finished(run))
    assert await listed(database, "move_to_sps") == ["item-1"]
    assert await listed(database, "move_to_sps_v2") == ["item-0", "item-2"]
    assert await counted(database) == {"move_to_sps": 1, "move_to_sps_v2": 2}
    async with database.begin() as session:
        page = await changes.read(session, None, 100, Filter(last_steps=("move_to_sps",)))
        assert {result["item"] for result in page.results} == {"item-1"}
        await session.execute(text("update item set status = 'bad' where name = 'item-0'"))
    assert await listed(database, "move_to_sps_v2", statuses=["good"]) == ["item-2"]
    assert await listed(database, "move_to_sps_v2", statuses=["good", "bad"]) == ["item-0", "item-2"]


async def test_reruns_skips_and_other_systems_are_seen(database: Database, documents: DocumentStore) -> None:
    def work(document: Json, parameters: Json) -> Any:
        return {**document, parameters["name"]: 1}

    mill = Mill(database, documents)
    functions = {"f": work}
    run = await mill.start(items=6, steps=["a", "b", "c", "d"], functions=functions, use=["f"] * 4, paused=False)
    async with database.begin() as session:
        await session.execute(text("insert into item (name) values ('new'), ('elsewhere'), ('long ago')"))
        await session.execute(
            text(
                "insert into past_step (item_id, position, name)"
                " select id, n, 'old' || n from item, generate_series(0, 1) n"
                " where name in ('elsewhere', 'item-5')"
            )
        )
    assert await agree(database) == {None: 7, "old1": 2}
    await mill.work(functions, until=mill.finished(run))
    assert await agree(database) == {None: 2, "d": 6, "old1": 1}
    async with database.begin() as session:
        await session.execute(
            text(
                "update attempt set outcome = 'skipped', output = null where step in (1, 2)"
                " and task_id in (select t.id from task t join item i on i.id = t.item_id"
                "                 where i.name in ('item-2', 'item-3'))"
            )
        )
    tasks = [task["id"] for task in await mill.tasks(run)]
    async with database.begin() as session:
        assert await redo.rerun(session, run, 3, redo.Filter(tasks[2:4])) == 2
        assert await redo.rerun(session, run, 1, redo.Filter(tasks[:1])) == 1
        assert await redo.rerun(session, run, 0, redo.Filter(tasks[5:])) == 1
    assert await agree(database) == {"a": 3, "d": 2, "old1": 2, None: 2}
    await mill.work(functions, until=mill.finished(run))
    assert await agree(database) == {None: 2, "d": 6, "old1": 1}


@pytest.mark.parametrize("seed", range(3))
async def test_the_view_says_what_any_history_says(database: Database, seed: int) -> None:
    """Three runs of the same items, tasks put anywhere, attempts of every outcome, superseded ones among them."""
    chance = random.Random(seed)
    made = [await make_run(database, items=40, steps=4, prefix=f"p{n}") for n in range(2)]
    async with database.begin() as session:
        await session.execute(text("insert into item (name) select 'free' || n from generate_series(1, 5) n"))
        await session.execute(
            text(
                "with more as (insert into run (batch_id, pipeline_version_id, steps, total)"
                " select batch_id, (select pipeline_version_id from run where id = :other), 4, 20 from run"
                " where id = :first returning id) insert into task (run_id, position, item_id, document)"
                " select more.id, t.position, t.item_id, t.document from more, task t where t.run_id = :first"
                " and t.position < 20"
            ),
            {"first": made[0].run, "other": made[1].run},
        )
        tasks = (await session.execute(text("select id, item_id from task order by id"))).all()
        for task in tasks:
            await session.execute(*_history(chance, task.id))
            await session.execute(*_stand(chance, task.id))
        for task in chance.sample(tasks, 10):
            await session.execute(
                text("insert into past_step (item_id, position, name) values (:i, 0, 'step1') on conflict do nothing"),
                {"i": task.item_id},
            )
    await agree(database, chance.choice((1, 3, 50)))


def _history(chance: random.Random, task: int) -> tuple[Any, list[Json]]:
    """Attempts up to some step: done or skipped, some of them superseded by a second try at the same step."""
    rows, fence = [], 0
    for step in range(chance.randint(0, 4)):
        for _ in range(chance.choice((0, 0, 1))):
            fence += 1
            rows.append({"fence": fence, "step": step, "outcome": chance.choice(("failed", "done")), "old": True})
        fence += 1
        outcome = "skipped" if chance.random() < 0.3 else "done"
        rows.append({"fence": fence, "step": step, "outcome": outcome, "old": False})
    rows = rows or [{"fence": 1, "step": 0, "outcome": "failed", "old": False}]
    times = sorted((chance.random() * 1000 for _ in rows), reverse=True)
    for row, ago in zip(rows, times, strict=True):
        row |= {"task": task, "at": ago}
    statement = text(
        "insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, finished_at,"
        " input, output, superseded_at)"
        " values (:task, :fence, :step, 1, '{}', :outcome, now(), now() - make_interval(secs => :at),"
        " '', case when :outcome = 'done' then ''::bytea end, case when :old then now() end)"
    )
    return statement, rows


def _stand(chance: random.Random, task: int) -> tuple[Any, Json]:
    """Where such a history leaves the task: at the step after the last that is done or skipped."""
    statement = text(
        "update task t set step = least(a.passed, 3), state = case when a.passed = 4 then 'done' else :state end,"
        " finished_at = case when a.passed = 4 or :state in ('failed', 'cancelled') then now() end,"
        " worker_id = case when a.passed < 4 and :state in ('running', 'submitted') then 1 end,"
        " lease_until = case when a.passed < 4 and :state in ('running', 'submitted') then now() end"
        " from (select count(*)::int as passed from attempt where task_id = :task and outcome in ('done', 'skipped')"
        "       and superseded_at is null) a where t.id = :task"
    )
    return statement, {
        "task": task,
        "state": chance.choice(("waiting", "running", "submitted", "failed", "cancelled")),
    }


async def test_counts_that_cannot_be_exact_say_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make_run(database, items=5)
    async with database.begin() as session:
        await session.execute(text("insert into past_step (item_id, position, name) select id, 0, 'old' from item"))
    monkeypatch.setattr(views, "MOST_ODD", 4)
    async with database.begin() as session:
        found = await views.counts(session)
    assert found.estimate
    assert made.items == 5


async def test_over_http(database: Database, database_url: str, tmp_path: Path) -> None:
    await make_run(database, items=3, prefix="x")
    async with web_site(database, database_url, tmp_path) as web:
        counts = (await web.client.get("/api/views/last-step")).json()
        assert (counts["rows"], counts["estimate"]) == ([{"key": None, "value": 3}], False)
        page = (await web.client.get("/api/views/last-step/none?limit=2")).json()
        assert [row["id"] for row in page["rows"]] == ["x-000000", "x-000001"]
        rest = (await web.client.get(f"/api/views/last-step/none?after={page['next']}")).json()
        assert ([row["id"] for row in rest["rows"]], rest["next"]) == (["x-000002"], None)
        assert (await web.client.get("/api/views/last-step/a%2Fb?status=good")).json()["rows"] == []
        assert (await web.client.get("/api/views/last-step/none?after=x")).status_code == 422
    with pytest.raises(InvalidInput):
        await listed(database, "x", 0)
