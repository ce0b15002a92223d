"""What stands where, what does not move, and why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from tests.site import Mill

from tidemill.db.database import Database
from tidemill.errors import InvalidInput, NotFound
from tidemill.runner import runs
from tidemill.runner.counts import counts
from tidemill.runner.stuck import Stuck, stuck
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]
WORKER = "insert into worker (hostname, pid, slots, kinds) values ('pc', 1, 4, '{python, python:f}') returning id"
"""One that is live."""


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


def same(document: Json, _: Json) -> Json:
    if document["item"].endswith("-3"):
        raise ValueError("no pulses")
    return document


async def put(mill: Mill, *statements: str) -> None:
    async with mill.database.begin() as session:
        for statement in statements:
            await session.execute(text(statement))


async def look(mill: Mill, **options: Any) -> Stuck:
    async with mill.database.begin() as session:
        return await stuck(session, **options)


async def why(mill: Mill, **options: Any) -> dict[str, str]:
    """Cause and reason of the one lane that there is."""
    return {one.cause: one.why for one in (await look(mill, longer=0, **options)).causes}


async def test_counts_are_of_items_and_of_steps_as_the_steps_see_them(mill: Mill) -> None:
    run = await mill.start(items=4, steps=["a", "b"], functions={"f": same}, use=["f", "f"], tries=1)
    async with mill.database.begin() as session:
        before = await counts(session)
    assert before.items == {"good": 4}
    assert before.oldest is not None
    assert (before.oldest["run"], before.oldest["step"], before.oldest["item"][:5]) == (run, "a", "item-")
    await mill.work({"f": same}, until=mill.finished(run))
    await put(mill, "update item set status = 'bad' where name = 'item-3'")
    again = await mill.again(run)
    await put(
        mill, f"update task set held = true, reason = 'no longer matches' where run_id = {again} and position < 3"
    )
    async with mill.database.begin() as session:
        site, active, one = await counts(session), await counts(session, active=True), await counts(session, run)
        with pytest.raises(NotFound):
            await counts(session, 99)
    assert site.items == {"good": 3, "bad": 1}
    first, second = site.steps
    assert (first.pipeline, first.step, first.app) == ("pipe-item", "a", "f")
    assert (first.counts["waiting"], first.counts["done"], first.counts["failed"]) == (4, 3, 1)
    assert (second.counts["done"], second.counts["to_come"]) == (3, 4)
    assert [step.counts["done"] for step in active.steps] == [0, 0]
    assert [step.counts["failed"] for step in one.steps] == [1, 0]
    assert [(held["reason"], held["step"], held["tasks"]) for held in site.held] == [("no longer matches", "a", 3)]
    assert one.items == {}


async def test_each_obstacle_is_told_in_words(mill: Mill) -> None:
    run = await mill.start(items=3, steps=["a"], functions={"f": same}, use=["f"], concurrency=2)
    assert await why(mill) == {"no worker": "no worker is running"}
    await put(mill, WORKER.replace("{python, python:f}", "{http}"))
    assert await why(mill) == {"no worker": "no worker that runs has the step f"}
    await put(mill, WORKER.replace("{python, python:f}", "{python, python:g}"))
    assert await why(mill) == {"no worker": "no worker that runs has the step f"}
    await put(mill, WORKER)
    assert await why(mill) == {"turn": "it waits for its turn"}
    everyday = '[{"from": "00:00", "to": "23:59", "zone": "UTC"}, {"from": "23:59", "to": "00:00", "zone": "UTC"}]'
    async with mill.database.begin() as session:
        await session.execute(text("update app set quiet = cast(:quiet as jsonb)"), {"quiet": everyday})
    assert (await why(mill))["quiet hours"].startswith("quiet hours until ")
    await put(mill, "update app set quiet = '[]', circuit_failures = 3, circuit_reason = 'refused', "
                    "circuit_open_until = now() + interval '1 h'")  # fmt: skip
    assert await why(mill) == {"app down": "f is down, and is tried again in 60 min: refused"}
    await put(mill, "update app set circuit_failures = 0, circuit_open_until = null, paused = true")
    assert await why(mill) == {"app paused": "f is paused"}
    async with mill.database.begin() as session:
        await runs.pause(session, run)
    assert await why(mill) == {"run paused": f"run {run} is paused"}
    await put(mill, "update app set paused = false", "update run set paused = false",
              "update task set state = 'running', worker_id = 1, lease_until = now() + interval '1 h', fence = 1, "
              "started_at = now() where position < 2")  # fmt: skip
    assert await why(mill) == {"limit reached": "f has 2 in hand, and may have 2"}


async def test_what_does_not_move_is_listed_longest_first(mill: Mill) -> None:
    run = await mill.start(items=6, steps=["a"], functions={"f": same}, use=["f"], tries=1)
    done = await mill.start(items=4, steps=["a"], functions={"f": same}, use=["f"], prefix="old", paused=True)
    await put(
        mill,
        WORKER,
        f"update task set due_at = now() - interval '1 h' where run_id = {run} and position = 0",
        f"update task set held = true, reason = 'locked', due_at = now() - interval '2 h' "
        f"where run_id = {run} and position = 1",
        f"update task set due_at = now() + interval '3 h', reason = 'out of memory', tries = 1 "
        f"where run_id = {run} and position = 2",
        f"update task set state = 'failed', reason = 'no pulses', finished_at = now() - interval '4 h' "
        f"where run_id = {run} and position = 3",
        f"update task set state = 'running', worker_id = 1, fence = 1, lease_until = now() + interval '1 h', "
        f"started_at = now() - interval '5 h' where run_id = {run} and position = 4",
        f"update task set state = 'running', worker_id = 1, fence = 1, lease_until = now() - interval '1 min', "
        f"started_at = now() - interval '6 h' where run_id = {run} and position = 5",
    )
    found = await look(mill)
    assert [(task["item"], task["cause"]) for task in found.tasks] == [
        ("item-5", "silent"),
        ("item-4", "slow"),
        ("item-3", "failed"),
        ("item-1", "held"),
        ("item-0", "turn"),
        ("item-2", "retry due"),
    ]
    said = {task["item"]: task["why"] for task in found.tasks}
    assert said["item-5"] == "its worker on pc has not been heard of; another takes it over soon"
    assert said["item-4"] == "worked on for 5 h; the deadline is 60 min, and what is usual is not known"
    assert said["item-3"] == "no pulses"
    assert said["item-1"] == "locked"
    assert said["item-2"] == "retry due in 3 h: out of memory"
    assert {one.cause: one.tasks for one in found.causes} == dict.fromkeys(
        ("silent", "slow", "failed", "held", "turn", "retry due"), 1
    )
    assert [task["item"] for task in (await look(mill, limit=2)).tasks] == ["item-5", "item-4"]
    assert [task["item"] for task in (await look(mill, cause="held")).tasks] == ["item-1"]
    assert (await look(mill, run=done)).tasks == [], "it was paused just now"
    assert [one.cause for one in (await look(mill, run=done, longer=0)).causes] == ["run paused"]
    with pytest.raises(InvalidInput, match="no cause 'bored'"):
        await look(mill, cause="bored")


async def test_a_step_is_slow_by_what_its_app_usually_takes(mill: Mill) -> None:
    run = await mill.start(items=6, steps=["a"], functions={"f": same}, use=["f"], tries=1)
    await mill.work({"f": same}, until=mill.finished(run))
    again = await mill.again(run, reuse=False)
    await put(
        mill,
        WORKER,
        "update attempt set started_at = finished_at - interval '10 s'",
        "update task set state = 'running', worker_id = (select max(id) from worker), fence = 1, "
        "lease_until = now() + interval '1 h', started_at = now() - case position when 0 then interval '30 s' "
        f"when 1 then interval '100 s' else interval '20 s' end where run_id = {again}",
    )
    slow = (await look(mill, run=again)).tasks
    assert [(task["item"], task["why"]) for task in slow] == [
        ("item-1", "worked on for 2 min; f takes 10 s in the median")
    ]


async def test_a_paused_run_of_any_size_is_one_cause(mill: Mill) -> None:
    run = await mill.start(items=300, steps=["a"], functions={"f": same}, use=["f"], paused=True)
    await put(mill, "update task set due_at = now() - interval '1 day'")
    found = await asyncio.wait_for(look(mill, limit=5), 30)
    assert [(one.cause, one.tasks, one.run) for one in found.causes] == [("run paused", 300, run)]
    assert len(found.tasks) == 5
