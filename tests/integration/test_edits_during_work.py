"""Steps and people write the same record at the same time, and neither loses what it wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import pytest
from tests.faults.audit import audit
from tests.site import Mill

from tidemill.catalogue import edits, items
from tidemill.catalogue.edits import Answer
from tidemill.db.database import Database
from tidemill.domain.record_document import with_step
from tidemill.executors.contract import Done, Outcome, Report, Work
from tidemill.runner.link import DatabaseLink
from tidemill.runner.worker import Pace, Worker
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]
Step = Callable[[Json, str], Awaitable[Json]]
"""From a record document and the step's name to what it merges into the record."""


class Physicist:
    """An engine of kind `python` whose steps put out record documents and write into the record."""

    at_once: int | None = None

    def __init__(self, step: Step) -> None:
        self._step = step

    async def submit(self, work: Work, report: Report) -> Outcome:
        document = orjson.loads(work.document)
        record = await self._step(document, work.step)
        return Done(with_step(document, {"name": work.step, "output": record}), record=record)

    async def poll(self, work: Work, handle: Mapping[str, Any]) -> None: ...
    async def collect(self, work: Work, handle: Mapping[str, Any]) -> None: ...
    async def cancel(self, work: Work, handle: Mapping[str, Any]) -> None: ...
    async def close(self) -> None: ...


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


async def work(mill: Mill, run: int, step: Step, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Let a worker do a run to its end, while something else happens."""
    worker = Worker(
        DatabaseLink(mill.database),
        {"python": Physicist(step)},  # type: ignore[dict-item]
        mill.documents,
        pace=Pace(64, 30.0, 0.1),
        functions=("python:step",),
    )
    job = asyncio.create_task(worker.run())
    await meanwhile()
    await mill.until(mill.finished(run))
    worker.stop()
    await asyncio.wait_for(job, 60)


async def edit(mill: Mill, *rows: Json) -> list[Answer]:
    async with mill.database.begin() as session:
        return await edits.apply(session, rows)


async def start(mill: Mill, items: int, *steps: str) -> int:
    return await mill.start(items=items, steps=steps, functions={"step": None}, use=["step"] * len(steps))  # type: ignore[dict-item]


async def test_a_record_that_is_edited_during_hours_of_work_keeps_the_edit_and_the_result(mill: Mill) -> None:
    run = await start(mill, 1, "slow", "after")
    begun, go_on = asyncio.Event(), asyncio.Event()
    seen: list[Json] = []

    async def step(document: Json, name: str) -> Json:
        seen.append(document)
        begun.set()
        await go_on.wait()
        return {"by-step": name, "both": f"step {name}"}

    async def person() -> None:
        await begun.wait()
        (answer,) = await edit(
            mill, {"name": "item-0", "metadata": {"by-person": True, "both": "person"}, "revision": 1}
        )
        assert answer.outcome == "changed"
        go_on.set()

    await work(mill, run, step, person)
    assert await mill.states(run) == {"done": 1}
    async with mill.database.begin() as session:
        found = await items.get(session, "item-0")
    assert found["metadata"] == {"by-person": True, "by-step": "after", "both": "step after"}
    first, second = seen
    assert (first["revision"], first["metadata"], first["process"]) == (1, {}, [])
    assert (second["revision"], second["metadata"]["by-person"]) == (3, True)
    assert [entry["name"] for entry in second["process"]] == ["slow"]
    (stale,) = await edit(mill, {"name": "item-0", "metadata": {"x": 1}, "revision": 2})
    assert (stale.outcome, stale.record and stale.record["metadata"]) == ("refused", found["metadata"])
    await audit(mill.database, mill.documents, run)


async def test_sets_of_results_and_sets_of_edits_pass_one_another(mill: Mill) -> None:
    """Forty items through three steps that write into the record, while three people edit all of them, too."""
    run = await start(mill, 40, "one", "two", "three")
    names = [f"item-{n}" for n in range(40)]
    over = asyncio.Event()
    rounds = 0

    async def step(document: Json, name: str) -> Json:
        await asyncio.sleep(0)
        return {name: document["item"], "last": name}

    async def person(who: int) -> int:
        count = 0
        while not over.is_set() or count < 5:
            count += 1
            rows = [{"name": name, "metadata": {f"person-{who}": count}} for name in names[:: -1 if who % 2 else 1]]
            assert {answer.outcome for answer in await edit(mill, *rows)} == {"changed"}
        return count

    async def people() -> None:
        nonlocal rounds
        jobs = [asyncio.create_task(person(who)) for who in range(3)]
        await mill.until(mill.finished(run))
        over.set()
        counts = await asyncio.gather(*jobs)
        rounds = sum(counts)
        async with mill.database.begin() as session:
            found = [await items.get(session, name) for name in names]
        for row in found:
            steps = {"one": row["name"], "two": row["name"], "three": row["name"], "last": "three"}
            assert row["metadata"] == steps | {f"person-{who}": count for who, count in enumerate(counts)}
            assert row["revision"] == 1 + 3 + rounds

    await work(mill, run, step, people)
    assert await mill.states(run) == {"done": 40}
    await audit(mill.database, mill.documents, run)
