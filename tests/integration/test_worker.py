"""The worker against a real database: chains, retries, circuits, limits, pauses, cancels, re-use, stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text
from tests.site import Mill

from tidemill.db.database import Database
from tidemill.errors import InvalidInput
from tidemill.runner import redo, runs
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


async def test_every_item_goes_through_all_steps_in_order(mill: Mill) -> None:
    def trace(document: Json, parameters: Json) -> Json:
        return {**document, "path": [*document.get("path", []), parameters["name"]]}

    run = await mill.start(items=30, steps=["a", "b", "a2"], functions={"f": trace}, use=["f", "f", "f"])
    await mill.work({"f": trace}, until=mill.finished(run))

    assert await mill.states(run) == {"done": 30}
    for document in await mill.final_documents(run):
        assert document["path"] == ["a", "b", "a2"]
    attempts = await mill.attempts(run)
    assert Counter(a["step"] for a in attempts) == {0: 30, 1: 30, 2: 30}
    assert {a["outcome"] for a in attempts} == {"done"}


async def test_a_failing_step_is_tried_again_and_then_fails_with_its_reason(mill: Mill) -> None:
    calls: Counter[str] = Counter()

    def sometimes(document: Json, parameters: Json) -> Json:
        calls[document["item"]] += 1
        if document["item"] == "item-1" or (document["item"] == "item-2" and calls["item-2"] < 3):
            raise ValueError("no light in the tunnel")
        return document

    run = await mill.start(items=4, steps=["only"], functions={"f": sometimes}, use=["f"], tries=3, backoff=0.01)
    await mill.work({"f": sometimes}, until=mill.finished(run))

    assert await mill.states(run) == {"done": 3, "failed": 1}
    assert calls == {"item-0": 1, "item-1": 3, "item-2": 3, "item-3": 1}
    (failed,) = [t for t in await mill.tasks(run) if t["state"] == "failed"]
    assert failed["item"] == "item-1"
    assert "no light in the tunnel" in failed["reason"]
    assert [a["outcome"] for a in await mill.attempts(run, "item-2")] == ["failed", "failed", "done"]


async def test_retry_starts_at_the_step_that_failed_and_not_before(mill: Mill) -> None:
    broken = True
    calls: Counter[str] = Counter()

    def first(document: Json, _: Json) -> Json:
        calls["first"] += 1
        return {**document, "first": True}

    def second(document: Json, _: Json) -> Json:
        calls["second"] += 1
        if broken:
            raise RuntimeError("out of order")
        return {**document, "second": True}

    functions = {"first": first, "second": second}
    run = await mill.start(items=3, steps=["1", "2"], functions=functions, use=["first", "second"], tries=1)
    await mill.work(functions, until=mill.finished(run))
    assert await mill.states(run) == {"failed": 3}

    broken = False
    async with mill.database.begin() as session:
        assert await redo.retry(session, run, redo.Filter(reason="out of order")) == 3
    await mill.work(functions, until=mill.finished(run))
    assert await mill.states(run) == {"done": 3}
    assert calls == {"first": 3, "second": 6}


async def test_two_workers_never_do_one_step_twice(mill: Mill) -> None:
    calls: Counter[tuple[str, str]] = Counter()

    async def count(document: Json, parameters: Json) -> Json:
        calls[document["item"], parameters["name"]] += 1
        await asyncio.sleep(0.001)
        return {**document, "n": document.get("n", 0) + 1}

    run = await mill.start(items=200, steps=["a", "b"], functions={"f": count}, use=["f", "f"])
    await asyncio.gather(
        mill.work({"f": count}, until=mill.finished(run), slots=20),
        mill.work({"f": count}, until=mill.finished(run), slots=20),
    )
    assert await mill.states(run) == {"done": 200}
    assert len(calls) == 400
    assert set(calls.values()) == {1}


async def test_a_worker_claims_no_more_than_its_engine_does_at_once(mill: Mill) -> None:
    most = 0

    async def watch(document: Json, _: Json) -> Json:
        nonlocal most
        async with mill.database.begin() as session:
            rows = await session.execute(text("select count(*) from task where state = 'running'"))
            most = max(most, rows.scalar_one())
        return document

    run = await mill.start(items=12, steps=["a", "b"], functions={"f": watch, "g": watch}, use=["f", "g"])
    await mill.work({"f": watch, "g": watch}, until=mill.finished(run), at_once=3)
    assert most == 3


@pytest.mark.parametrize("limit", [1, 3])
async def test_an_apps_limit_holds_over_all_workers(mill: Mill, limit: int) -> None:
    now = most = 0

    async def watch(document: Json, _: Json) -> Json:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return document

    run = await mill.start(items=20, steps=["a", "b"], functions={"f": watch}, use=["f", "f"], concurrency=limit)
    await asyncio.gather(*(mill.work({"f": watch}, until=mill.finished(run)) for _ in range(3)))
    assert await mill.states(run) == {"done": 20}
    assert most == limit


async def test_a_paused_run_is_held_back_and_goes_on(mill: Mill) -> None:
    done: list[str] = []

    def note(document: Json, _: Json) -> Json:
        done.append(document["item"])
        return document

    run = await mill.start(items=5, steps=["a"], functions={"f": note}, use=["f"], paused=True)
    other = await mill.start(items=5, steps=["a"], functions={"f": note}, use=["f"], prefix="other", reuse=False)
    await mill.work({"f": note}, until=mill.finished(other))
    assert await mill.states(run) == {"waiting": 5}
    assert {item.split("-")[0] for item in done} == {"other"}
    async with mill.database.begin() as session:
        await runs.pause(session, run, paused=False)
    await mill.work({"f": note}, until=mill.finished(run))
    assert await mill.states(run) == {"done": 5}


async def test_higher_priority_goes_first(mill: Mill) -> None:
    order: list[str] = []

    def note(document: Json, _: Json) -> Json:
        order.append(document["item"].split("-")[0])
        return document

    low = await mill.start(items=10, steps=["a"], functions={"f": note}, use=["f"], prefix="low")
    high = await mill.start(items=10, steps=["a"], functions={"f": note}, use=["f"], prefix="high", priority=5)
    # One at a time: of several threads, the one that was begun last may be the first to note it.
    await mill.work({"f": note}, until=mill.all_finished(low, high), slots=1)
    assert order == ["high"] * 10 + ["low"] * 10


async def test_cancel_stops_work_in_hand_and_keeps_what_was_done(mill: Mill) -> None:
    begun = asyncio.Event()

    async def slow(document: Json, parameters: Json) -> Json:
        if parameters["name"] == "b":
            begun.set()
            await asyncio.sleep(60)
        return document

    run = await mill.start(items=3, steps=["a", "b"], functions={"f": slow}, use=["f", "f"])
    async with mill.working({"f": slow}) as worker:
        await asyncio.wait_for(begun.wait(), 60)
        async with mill.database.begin() as session:
            await runs.cancel(session, run)
        await mill.until(lambda: _is(worker.in_hand == 0))
    assert await mill.states(run) == {"cancelled": 3}
    assert Counter((a["step"], a["outcome"]) for a in await mill.attempts(run)) == {(0, "done"): 3, (1, "cancelled"): 3}


async def test_an_output_is_used_again_for_the_same_input_and_parameters_only(mill: Mill) -> None:
    calls = 0

    def work(document: Json, _: Json) -> Json:
        nonlocal calls
        calls += 1
        return {**document, "made": True}

    first = await mill.start(items=5, steps=["a"], functions={"f": work}, use=["f"])
    await mill.work({"f": work}, until=mill.finished(first))
    again = await mill.again(first)
    await mill.work({"f": work}, until=mill.finished(again))
    assert calls == 5
    assert await mill.final_documents(again) == await mill.final_documents(first)
    assert all(a["origin_task_id"] is not None for a in await mill.attempts(again))

    anew = await mill.again(first, reuse=False)
    await mill.work({"f": work}, until=mill.finished(anew))
    assert calls == 10


async def test_the_output_of_an_app_that_tells_no_version_is_not_used_again(mill: Mill) -> None:
    calls = 0

    def work(document: Json, _: Json) -> Json:
        nonlocal calls
        calls += 1
        return {**document, "made": True}

    first = await mill.start(items=2, steps=["a"], functions={"f": work}, use=["f"])
    async with mill.database.begin() as session:
        await session.execute(text("update app_version set version = ''"))
    await mill.work({"f": work}, until=mill.finished(first))
    again = await mill.again(first)
    await mill.work({"f": work}, until=mill.finished(again))
    assert calls == 4


async def test_a_rerun_from_a_step_does_that_step_and_all_after_it_again(mill: Mill) -> None:
    calls: Counter[str] = Counter()

    def work(document: Json, parameters: Json) -> Json:
        calls[parameters["name"]] += 1
        return {**document, parameters["name"]: calls[parameters["name"]]}

    run = await mill.start(items=2, steps=["a", "b", "c"], functions={"f": work}, use=["f", "f", "f"])
    await mill.work({"f": work}, until=mill.finished(run))
    async with mill.database.begin() as session:
        preview = await redo.preview_rerun(session, run, 1)
        assert (preview.tasks, preview.steps, preview.busy) == (2, 4, 0)
        assert await redo.rerun(session, run, 1) == 2
    await mill.work({"f": work}, until=mill.finished(run))
    assert calls == {"a": 2, "b": 4, "c": 4}
    attempts = await mill.attempts(run)
    assert Counter(a["superseded_at"] is not None for a in attempts) == {True: 4, False: 6}
    assert len({str(d) for d in await mill.final_documents(run)}) == 2


async def test_start_only_what_was_not_done(mill: Mill) -> None:
    def work(document: Json, _: Json) -> Json:
        if document["item"] == "item-3":
            raise ValueError("no")
        return document

    run = await mill.start(items=5, steps=["a"], functions={"f": work}, use=["f"], tries=1)
    await mill.work({"f": work}, until=mill.finished(run))
    again = await mill.again(run, only_not_done=True)
    assert [t["item"] for t in await mill.tasks(again)] == ["item-3"]


async def test_a_large_document_goes_to_the_store_and_comes_back_whole(mill: Mill) -> None:
    def grow(document: Json, _: Json) -> Json:
        return {**document, "text": document.get("text", "") + "é" * 5000}

    run = await mill.start(items=2, steps=["a", "b"], functions={"f": grow}, use=["f", "f"])
    await mill.work({"f": grow}, until=mill.finished(run))
    assert [len(d["text"]) for d in await mill.final_documents(run)] == [10000, 10000]
    async with mill.database.begin() as session:
        stored = (await session.execute(text("select count(*) from document where location is not null"))).scalar()
    assert stored


async def test_a_stop_lets_work_in_hand_finish(mill: Mill) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(document: Json, _: Json) -> Json:
        begun.set()
        await go.wait()
        return document

    run = await mill.start(items=6, steps=["a", "b"], functions={"f": slow}, use=["f", "f"])
    async with mill.working({"f": slow}, slots=4) as worker:
        await asyncio.wait_for(begun.wait(), 60)
        worker.stop()
        go.set()
    tasks = await mill.tasks(run)
    assert Counter((t["step"], t["state"]) for t in tasks) == {(1, "waiting"): 4, (0, "waiting"): 2}


async def test_a_second_stop_gives_the_leases_back_without_a_lost_try(mill: Mill) -> None:
    begun = asyncio.Event()

    async def slow(document: Json, _: Json) -> Json:
        begun.set()
        await asyncio.sleep(60)
        return document

    run = await mill.start(items=3, steps=["a"], functions={"f": slow}, use=["f"])
    async with mill.working({"f": slow}) as worker:
        await asyncio.wait_for(begun.wait(), 60)
        worker.stop()
        worker.abandon()
    assert await mill.states(run) == {"waiting": 3}
    assert {(t["tries"], t["fence"]) for t in await mill.tasks(run)} == {(0, 1)}
    assert {a["outcome"] for a in await mill.attempts(run)} == {"released"}


async def _is(value: bool) -> bool:
    return value


async def test_a_result_that_the_database_refuses_fails_alone(mill: Mill) -> None:
    def odd(document: Json, _: Json) -> Json:
        if document["item"] == "item-2":
            raise ValueError("a reason with a NUL: \x00")
        return document

    run = await mill.start(items=5, steps=["a"], functions={"f": odd}, use=["f"], tries=1)
    await mill.work({"f": odd}, until=mill.finished(run))
    assert await mill.states(run) == {"done": 4, "failed": 1}
    (failed,) = [task for task in await mill.tasks(run) if task["state"] == "failed"]
    assert "could not be recorded" in failed["reason"] or "with a NUL" in failed["reason"]


async def test_a_run_does_not_start_when_an_app_no_longer_takes_a_steps_parameter(mill: Mill) -> None:
    run = await mill.start(items=1, steps=["a"], functions={"f": dict}, use=["f"])
    async with mill.database.begin() as session:
        details = '{"name": "f", "parameters": [{"name": "nam", "type": "string", "description": ""}]}'
        await session.execute(text("update app_version set metadata = cast(:d as jsonb)"), {"d": details})
    with pytest.raises(InvalidInput, match=r"Step 'a'.*'name'"):
        await mill.again(run)
    async with mill.database.begin() as session:
        assert (await session.execute(text("select count(*) from run"))).scalar() == 1
