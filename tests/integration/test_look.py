"""Looking at runs and items: what is shown is what the records say, in one snapshot with the feed's position."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.factory import make_run
from tests.transactions import the_feed_tells_all

from tidemill.db.database import Database
from tidemill.domain.states import TaskState, grid_code
from tidemill.errors import InvalidInput, NotFound
from tidemill.feed import changes
from tidemill.runner import look
from tidemill.runner.outlook import duration
from tidemill.storage.documents import DocumentStore


async def _do(database: Database, *statements: str, **params: Any) -> None:
    connection = await database.connect()
    async with connection:
        for statement in statements:
            await connection.execute(statement.encode(), params, prepare=False)


FINISH = "update task set state = %(state)s, step = %(step)s, finished_at = now() where position = %(position)s"
ATTEMPT = """
    insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, input, output)
    select t.id, a.step + 1, a.step, (select min(id) from app_version), '{}', 'done',
           now() - make_interval(secs => %(seconds)s), t.document, t.document
    from task t, generate_series(0, %(steps)s - 1) a(step) where t.position between %(low)s and %(high)s
"""
MOVED = """
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, state from task where position between %(low)s and %(high)s
"""
WORKER = "insert into worker (hostname, pid, slots, kinds) values ('here', 1, 4, '{python}')"


async def test_the_grid_is_one_character_for_each_task(database: Database) -> None:
    made = await make_run(database, items=5, steps=3)
    await _do(database, FINISH, position=1, state="done", step=2)
    await _do(database, FINISH, position=2, state="failed", step=1)
    async with database.begin() as session:
        grid = await look.grid(session, made.run)
    waiting = grid_code(0, TaskState.WAITING)
    assert grid.cells == (waiting + grid_code(2, TaskState.DONE) + grid_code(1, TaskState.FAILED) + waiting + waiting)
    assert (grid.first, grid.steps) == (0, ["step0", "step1", "step2"])
    assert look.decoded(grid.cells[2]) == (1, TaskState.FAILED)


async def test_a_grid_with_gaps_keeps_every_task_at_its_position(database: Database) -> None:
    made = await make_run(database, items=6)
    await _do(database, "delete from task where position in (0, 2, 3)")
    async with database.begin() as session:
        grid = await look.grid(session, made.run)
    waiting = grid_code(0, TaskState.WAITING)
    assert (grid.first, grid.cells) == (1, f"{waiting}  {waiting}{waiting}")
    assert look.decoded(grid.cells[1]) is None


async def test_the_grids_position_belongs_to_its_snapshot(database: Database) -> None:
    made = await make_run(database, items=2)
    await _do(database, FINISH, MOVED, position=0, state="done", step=1, low=0, high=0)
    await the_feed_tells_all(database)
    async with database.begin() as session:
        grid = await look.grid(session, made.run)
    await _do(database, FINISH, MOVED, position=1, state="done", step=1, low=1, high=1)
    await the_feed_tells_all(database)
    async with database.begin() as session:
        page = await changes.read(session, grid.seq)
    assert [result["position"] for result in page.results] == [1]


async def test_the_overview_counts_tasks_per_step_as_each_step_sees_them(database: Database) -> None:
    made = await make_run(database, items=10, steps=2)
    for position in range(3):
        await _do(database, FINISH, position=position, state="done", step=1)
    await _do(database, FINISH, position=3, state="failed", step=0)
    await _do(database, "update task set step = 1 where position = 4")
    async with database.begin() as session:
        seen = await look.overview(session, made.run)
    first, second = (step.counts for step in seen.steps)
    assert (first["done"], first["failed"], first["waiting"], first["to_come"]) == (4, 1, 5, 0)
    assert (second["done"], second["failed"], second["waiting"], second["to_come"]) == (3, 0, 1, 5)
    assert seen.totals == {"waiting": 6, "running": 0, "submitted": 0, "done": 3, "failed": 1, "cancelled": 0}
    assert (seen.steps_settled, seen.steps_total, seen.percent) == (9, 20, 45.0)
    assert orjson.loads(orjson.dumps(seen))["batch"] == made.batch


async def test_time_left_is_an_estimate_or_says_why_there_is_none(database: Database) -> None:
    made = await make_run(database, items=100, steps=2, concurrency=2)

    async def outlook() -> tuple[float | None, str]:
        async with database.begin() as session:
            seen = await look.overview(session, made.run)
        return seen.seconds_left, seen.time_left

    assert await outlook() == (None, "unknown: no worker is running")
    await _do(database, WORKER)
    assert await outlook() == (None, "unknown: too little has finished to estimate from")
    await _do(database, FINISH, ATTEMPT, position=0, state="done", step=1, seconds=10, steps=2, low=0, high=0)
    left, words = await outlook()
    assert left == pytest.approx(99 * 10 / 2, rel=0.01), "two at once, ten seconds each, 99 to go at the slowest step"
    assert "estimate" in words
    await _do(database, MOVED, low=0, high=0)
    for position in range(1, 50):
        await _do(database, FINISH, position=position, state="done", step=1)
    await _do(database, ATTEMPT, MOVED, seconds=10, steps=2, low=1, high=49)
    left, words = await outlook()
    assert left is not None
    assert "estimate from the pace" in words
    await _do(database, "update run set paused = true")
    assert await outlook() == (None, "unknown: the run is paused")
    await _do(database, "update run set paused = false", "update app set paused = true")
    async with database.begin() as session:
        seen = await look.overview(session, made.run)
    assert [step.held_back for step in seen.steps] == [f"{made.app} is paused"] * 2
    await _do(database, "update run set state = 'done', finished_at = now()")
    assert await outlook() == (None, "finished")


async def test_an_open_circuit_is_named_with_its_reason(database: Database) -> None:
    made = await make_run(database, items=2)
    await _do(
        database,
        "update app set circuit_open_until = now() + interval '1 minute', circuit_reason = 'connection refused'",
        WORKER,
    )
    async with database.begin() as session:
        seen = await look.overview(session, made.run)
    assert seen.steps[0].held_back is not None
    assert "connection refused" in seen.steps[0].held_back
    assert "connection refused" in seen.time_left


async def test_a_window_pages_filters_and_searches(database: Database) -> None:
    made = await make_run(database, items=30, prefix="a%b_c")
    await _do(database, FINISH, position=7, state="failed", step=0)
    async with database.begin() as session:
        page = await look.window(session, made.run, 5, 10)
        assert ([task["position"] for task in page.tasks], page.next) == (list(range(5, 15)), 15)
        last = await look.window(session, made.run, 25, 10)
        assert (len(last.tasks), last.next) == (5, None)
        failed = await look.window(session, made.run, states=["failed"])
        assert [task["item"] for task in failed.tasks] == [made.item(7)]
        found = await look.window(session, made.run, search="A%B_C-000012")
        assert [task["position"] for task in found.tasks] == [12]
        assert (await look.window(session, made.run, search="a_b")).tasks == [], "% and _ are letters, not wildcards"
        assert (await look.window(session, made.run, step=1)).tasks == []
        with pytest.raises(InvalidInput):
            await look.window(session, made.run, states=["broken"])
        with pytest.raises(NotFound):
            await look.window(session, made.run + 1)


async def test_a_running_task_is_measured_against_its_apps_median(database: Database) -> None:
    made = await make_run(database, items=3, steps=1)
    await _do(database, WORKER, FINISH, ATTEMPT, position=0, state="done", step=0, seconds=1000, steps=1, low=0, high=0)
    running = """update task set state = 'running', worker_id = 1, lease_until = now() + interval '1 minute',
                 started_at = now() - make_interval(secs => %(ago)s), progress = %(progress)s where position = %(at)s"""
    await _do(database, running, ago=250, progress=None, at=1)
    await _do(database, running, ago=250, progress=0.75, at=2)
    async with database.begin() as session:
        tasks = (await look.window(session, made.run)).tasks
    assert tasks[1]["estimate"] == pytest.approx(0.25, abs=0.05)
    assert tasks[1]["median"] == pytest.approx(1000, abs=1)
    assert (tasks[2]["progress"], tasks[2]["estimate"]) == (0.75, None), "what the app reports is no estimate"


async def test_runs_items_workers_and_documents(database: Database, documents: DocumentStore) -> None:
    made = await make_run(database, items=4, steps=2)
    other = await make_run(database, items=1)
    await _do(database, FINISH, ATTEMPT, position=3, state="done", step=1, seconds=1, steps=2, low=3, high=3)
    await _do(database, WORKER)
    async with database.begin() as session:
        listed = await look.runs(session)
        assert [row["id"] for row in listed] == [other.run, made.run]
        assert (listed[1]["done"], listed[1]["waiting"], listed[1]["percent"]) == (1, 3, 25.0)
        assert [row["id"] for row in await look.runs(session, ids=[made.run])] == [made.run]
        assert await look.runs(session, state="done") == []
        item = await look.item(session, made.item(3))
        assert [step["name"] for step in item.process] == ["step0", "step1"]
        assert (item.tasks[0]["state"], len(item.attempts)) == ("done", 2)
        found = await look.items(session, search=made.item(3)[3:])
        assert [(row["name"], row["state"]) for row in found] == [(made.item(3), "done")]
        assert (await look.workers(session))[0]["live"] is True
        sha256 = item.tasks[0]["document"]
        assert await look.document(session, documents, sha256) == b'{"item": "source"}'
        for wrong, error in (("0" * 64, NotFound), ("nonsense", InvalidInput)):
            with pytest.raises(error):
                await look.document(session, documents, wrong)
        with pytest.raises(NotFound):
            await look.item(session, "nobody")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (40, "40 s"), (719, "12 min"), (12_000, "3 h 20 min"), (10_800, "3 h"), (200_000, "2 days")],
)
def test_spans_claim_no_more_than_an_estimate_knows(seconds: float, words: str) -> None:
    assert duration(seconds) == words
