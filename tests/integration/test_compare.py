"""Old against new after a re-run, then keep or go back; and the records agree with each other whatever one does."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from tests.faults.audit import audit
from tests.site import Mill

from tidemill.db.database import Database
from tidemill.db.integrity import broken_records
from tidemill.domain.json_diff import Difference
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.runner import compare, go_back, redo, runs
from tidemill.runner.redo import Filter
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]
STEPS = ["copy", "fit", "sum"]


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


def gain(factor: float, fails: tuple[str, ...] = ()) -> Callable[[Json, Json], Json]:
    """A step that puts out what it is given, times a factor; some items fail at the last step."""

    def step(document: Json, parameters: Json) -> Json:
        name = parameters["name"]
        if name == "sum" and document["item"] in fails:
            raise ValueError(f"no sum of {document['item']}")
        n = int(document["item"].partition("-")[2])
        return {**document, name: {"amplitude": factor * (n + 1), "channels": [n, n]}}

    return step


async def a_run(mill: Mill, items: int = 3, fails: tuple[str, ...] = ()) -> int:
    work = gain(1, fails)
    run = await mill.start(items=items, steps=STEPS, functions={"f": work}, use=["f"] * 3, tries=1)
    await mill.work({"f": work}, until=mill.finished(run))
    return run


async def rerun(mill: Mill, run: int, step: int, factor: float, which: Filter | None = None) -> None:
    async with mill.database.begin() as session:
        await redo.rerun(session, run, step, which)
    await mill.work({"f": gain(factor)}, until=mill.finished(run))


async def back(mill: Mill, run: int, which: Filter | None = None, **options: Any) -> int:
    async with mill.database.begin() as session:
        preview = await go_back.preview(session, run, which, **options)
        moved = await go_back.go_back(session, run, which, **options)
        assert moved == preview.tasks
    assert await broken_records(mill.database) == []
    await audit(mill.database, mill.documents, run, gone_back=True)
    return moved


async def amplitudes(mill: Mill, run: int, item: str = "item-1") -> list[float]:
    """Of each step, as the item's newest document has them."""
    async with mill.database.begin() as session:
        found = await session.execute(
            text(
                "select d.body from task t join item i on i.id = t.item_id join document d on d.sha256 = t.document "
                "where t.run_id = :run and i.name = :item"
            ),
            {"run": run, "item": item},
        )
        body = found.scalar_one()
    document = orjson.loads(body)
    return [document[name]["amplitude"] for name in STEPS if name in document]


async def test_old_and_new_results_of_an_item_stand_side_by_side(mill: Mill) -> None:
    run = await a_run(mill)
    async with mill.database.begin() as session:
        with pytest.raises(NotFound, match="nothing to compare"):
            await compare.item(session, mill.documents, "item-1")
    await rerun(mill, run, 1, 1.5)
    async with mill.database.begin() as session:
        found = await compare.item(session, mill.documents, "item-1")
        one = await compare.item(session, mill.documents, "item-1", run=run, step="fit")
        with pytest.raises(NotFound, match="no result of a step 'fi'"):
            await compare.item(session, mill.documents, "item-1", step="fi")
        with pytest.raises(NotFound):
            await compare.item(session, mill.documents, "item-99")
    assert [step.step for step in found.steps] == ["fit", "sum"]
    assert [step.step for step in one.steps] == ["fit"]
    fit, total = found.steps
    assert fit.comparison is not None
    assert fit.comparison.differences == [Difference("fit.amplitude", "changed", 2, 3.0, pytest.approx(1 / 3))]
    assert fit.old is not None
    assert fit.new is not None
    assert (fit.old["app"], fit.old["version"], fit.new["parameters"]) == ("f", "1", {"name": "fit"})
    assert fit.equal is False
    assert total.comparison is not None
    assert total.comparison.count == 2


async def test_a_whole_rerun_is_told_in_numbers(mill: Mill) -> None:
    run = await a_run(mill, items=4)
    async with mill.database.begin() as session:
        await redo.rerun(session, run, 1)
    half = Filter(items=["item-0", "item-1"])

    def work(document: Json, parameters: Json) -> Json:
        return gain(1 if document["item"] in ("item-0", "item-3") else 2)(document, parameters)

    await mill.work({"f": work}, until=mill.finished(run))
    async with mill.database.begin() as session:
        found = await compare.whole_run(session, mill.documents, run)
        with pytest.raises(InvalidInput, match="Nothing was put aside at"):
            await compare.whole_run(session, mill.documents, run, at="1999")
    fit, total = found.steps
    assert (fit.step, fit.results, fit.equal, fit.differ, fit.missing) == ("fit", 4, 2, 2, 0)
    assert (fit.looked_at, fit.items) == (2, ["item-1", "item-2"])
    assert fit.largest == {"fit.amplitude": 0.5}
    assert fit.keys == {"fit.amplitude": 2}
    assert total.differ == 2
    assert [g["tasks"] for g in found.generations] == [4]
    async with mill.database.begin() as session:
        await redo.rerun(session, run, 2, half)
        again = await compare.whole_run(session, mill.documents, run)
    assert [(step.step, step.results, step.missing) for step in again.steps] == [("sum", 2, 2)]


async def test_going_back_lets_the_old_results_stand_again_and_can_be_undone(mill: Mill) -> None:
    run = await a_run(mill)
    await rerun(mill, run, 1, 2)
    assert await amplitudes(mill, run) == [2, 4, 4]
    async with mill.database.begin() as session:
        preview = await go_back.preview(session, run, Filter(items=["item-1"]))
    assert (preview.tasks, preview.states, preview.back, preview.aside) == (1, {"done": 1}, 2, 2)
    assert await back(mill, run, Filter(items=["item-1"])) == 1
    assert await amplitudes(mill, run) == [2, 2, 2]
    assert await amplitudes(mill, run, "item-2") == [3, 6, 6]
    assert await back(mill, run, Filter(items=["item-1"])) == 1, "undone"
    assert await amplitudes(mill, run) == [2, 4, 4]
    assert await back(mill, run) == 3
    assert await amplitudes(mill, run) == [2, 2, 2]
    await rerun(mill, run, 2, 7, Filter(items=["item-1"]))
    assert await amplitudes(mill, run) == [2, 2, 14], "and from there one can go on"
    assert await broken_records(mill.database) == []


async def test_going_back_to_an_older_generation_that_still_fits(mill: Mill) -> None:
    run = await a_run(mill)
    await rerun(mill, run, 1, 2)
    await rerun(mill, run, 2, 3)
    async with mill.database.begin() as session:
        newest, oldest = (g["at"] for g in (await compare.whole_run(session, mill.documents, run)).generations)
    assert newest > oldest
    assert await amplitudes(mill, run) == [2, 4, 6]
    assert await back(mill, run, to=compare.time_of(oldest)) == 3
    assert await amplitudes(mill, run) == [2, 2, 2]
    assert await back(mill, run) == 3
    assert await amplitudes(mill, run) == [2, 4, 6]


async def test_what_no_longer_fits_is_refused(mill: Mill) -> None:
    run = await a_run(mill)
    await rerun(mill, run, 2, 2)
    async with mill.database.begin() as session:
        (of_sum,) = (await compare.whole_run(session, mill.documents, run)).generations
    await rerun(mill, run, 0, 3)
    async with mill.database.begin() as session:
        preview = await go_back.preview(session, run, to=compare.time_of(of_sum["at"]))
        assert (preview.tasks, preview.unfit) == (0, 3)
        with pytest.raises(Conflict, match="no longer fits"):
            await go_back.go_back(session, run, to=compare.time_of(of_sum["at"]))
    assert await amplitudes(mill, run) == [6, 6, 6]
    assert await back(mill, run) == 3
    assert await amplitudes(mill, run) == [2, 2, 4]
    assert await back(mill, run, to=compare.time_of(of_sum["at"])) == 3, "step by step one gets there"
    assert await amplitudes(mill, run) == [2, 2, 2]


async def test_a_rerun_that_has_not_begun_or_has_failed_is_taken_back(mill: Mill) -> None:
    run = await a_run(mill)
    async with mill.database.begin() as session:
        await redo.rerun(session, run, 1)
    assert await back(mill, run) == 3
    assert await mill.states(run) == {"done": 3}
    async with mill.database.begin() as session:
        with pytest.raises(Conflict, match="was not re-run"):
            await go_back.go_back(session, run)
    async with mill.database.begin() as session:
        await redo.rerun(session, run, 0)

    def broken(document: Json, _: Json) -> Json:
        raise ValueError("no")

    await mill.work({"f": broken}, until=mill.finished(run))
    assert await mill.states(run) == {"failed": 3}
    assert await back(mill, run) == 3
    assert await mill.states(run) == {"done": 3}
    assert await amplitudes(mill, run) == [2, 2, 2]
    assert await back(mill, run) == 3
    assert await mill.states(run) == {"failed": 3}
    assert {task["reason"] for task in await mill.tasks(run)} == {"ValueError: no"}
    async with mill.database.begin() as session:
        assert await redo.retry(session, run) == 3
    await mill.work({"f": gain(5)}, until=mill.finished(run))
    assert await amplitudes(mill, run) == [10, 10, 10]


async def test_what_had_failed_stands_failed_again(mill: Mill) -> None:
    run = await a_run(mill, fails=("item-2",))
    await rerun(mill, run, 1, 2)
    assert await mill.states(run) == {"done": 3}
    async with mill.database.begin() as session:
        assert (await go_back.preview(session, run)).states == {"done": 2, "failed": 1}
    await back(mill, run)
    failed = next(task for task in await mill.tasks(run) if task["item"] == "item-2")
    assert (failed["state"], failed["step"], failed["reason"]) == ("failed", 2, "ValueError: no sum of item-2")
    assert await amplitudes(mill, run, "item-2") == [3, 3]


async def test_what_is_being_worked_on_is_left_alone(mill: Mill) -> None:
    run = await a_run(mill)
    async with mill.database.begin() as session:
        await redo.rerun(session, run, 1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(document: Json, parameters: Json) -> Json:
        begun.set()
        await go_on.wait()
        return gain(2)(document, parameters)

    async with mill.working({"f": slow}, slots=1):
        await begun.wait()
        async with mill.database.begin() as session:
            preview = await go_back.preview(session, run)
            assert (preview.tasks, preview.busy) == (2, 1)
            assert await go_back.go_back(session, run) == 2
        go_on.set()
        await mill.until(mill.finished(run))
    assert await mill.states(run) == {"done": 3}
    assert await broken_records(mill.database) == []
    await audit(mill.database, mill.documents, run, gone_back=True)


async def test_the_feed_tells_of_each_task_that_went_back(mill: Mill) -> None:
    run = await a_run(mill)
    await rerun(mill, run, 1, 2)

    async def told() -> int:
        async with mill.database.begin() as session:
            found = "select count(*) from change where kind = 'task' and step = 2 and state = 'done'"
            return int((await session.execute(text(found))).scalar_one())

    before = await told()
    await back(mill, run)
    assert await told() == before + 3


async def test_whatever_people_do_while_workers_work_every_record_stays_whole(mill: Mill) -> None:
    slow = random.Random(7)

    async def work(document: Json, parameters: Json) -> Json:
        await asyncio.sleep(0.004 * slow.random())
        if slow.random() < 0.05:
            raise ValueError("bad luck")
        return {**document, parameters["name"]: slow.random()}

    run = await mill.start(items=25, steps=STEPS, functions={"f": work}, use=["f"] * 3, tries=2, backoff=0)
    did: Counter[str] = Counter()
    async with mill.working({"f": work}, slots=8, poll=0.02):
        for turn in range(600):
            if turn >= 60 and did["_go_back_some"] > 5:
                break
            act = slow.choice([_rerun_some, _go_back_some, _go_back_some, _retry_all, _cancel_some])
            with suppress(Conflict):
                async with mill.database.begin() as session:
                    await act(session, run, slow)
                did[act.__name__] += 1
            await asyncio.sleep(0.01)
            assert await broken_records(mill.database) == []
        await mill.until(mill.finished(run))
    assert did["_go_back_some"] > 5
    assert sum((await audit(mill.database, mill.documents, run, gone_back=True)).values()) == 25


async def _some(session: Any, run: int, luck: random.Random) -> Filter:
    return Filter(tasks=[task for task in await redo.matching(session, run, Filter()) if luck.random() < 0.4])


async def _rerun_some(session: Any, run: int, luck: random.Random) -> None:
    await redo.rerun(session, run, luck.randrange(3), await _some(session, run, luck))


async def _go_back_some(session: Any, run: int, luck: random.Random) -> None:
    await go_back.go_back(session, run, await _some(session, run, luck), to=await _a_time(session, run, luck))


async def _a_time(session: Any, run: int, luck: random.Random) -> str | None:
    found = await session.execute(
        text("select distinct a.superseded_at from attempt a join task t on t.id = a.task_id "
             "where t.run_id = :run and a.superseded_at is not null order by 1 desc limit 5"), {"run": run},
    )  # fmt: skip
    times = list(found.scalars())
    return compare.time_of(luck.choice(times)) if times and luck.random() < 0.5 else None


async def _retry_all(session: Any, run: int, _: random.Random) -> None:
    await redo.retry(session, run, Filter(states=["failed", "cancelled"]))


async def _cancel_some(session: Any, run: int, luck: random.Random) -> None:
    which = await _some(session, run, luck)
    await runs.cancel(session, run, which.tasks)
