"""Failures by family: fix one, try five, release the rest."""

from __future__ import annotations

from typing import Any

import pytest
from tests.site import Mill

from tidemill.db.database import Database
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.runner import failures, redo
from tidemill.runner.redo import Filter
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]
ITEMS = 20


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


def number(document: Json) -> int:
    return int(document["item"].partition("-")[2])


def troubled(document: Json, _: Json) -> Json:
    """Item 0 to 4 lack a template, each with a path of its own; every item from 15 on is too hot."""
    n = number(document)
    if n < 5:
        raise ValueError(f"no template /calibration/2026/t{n}.h5 for run {n}")
    if n >= 15:
        raise ValueError(f"{n}.5 degrees is too hot")
    return document


def still_hot(document: Json, _: Json) -> Json:
    if number(document) == 17:
        raise ValueError("17.9 degrees is too hot")
    return document


async def failed_run(mill: Mill) -> int:
    run = await mill.start(items=ITEMS, steps=["fit"], functions={"f": troubled}, use=["f"], tries=1)
    await mill.work({"f": troubled}, until=mill.finished(run))
    return run


async def test_failures_are_grouped_by_what_their_messages_have_in_common(mill: Mill) -> None:
    run = await failed_run(mill)
    async with mill.database.begin() as session:
        found = await failures.families(session, run)
        everywhere = await failures.families(session)
    assert found.tasks == 10
    hot, template = sorted(found.families, key=lambda one: one.message)
    assert (hot.message, hot.tasks) == ("ValueError: # degrees is too hot", 5)
    assert (template.message, template.tasks) == ("ValueError: no template <path> for run #", 5)
    assert (hot.steps, hot.apps, hot.versions, hot.runs) == ({"fit": 5}, {"f": 5}, {"f 1": 5}, {run: 5})
    assert hot.first_at is not None
    assert hot.last_at is not None
    assert hot.first_at <= hot.last_at
    assert hot.example is not None
    assert hot.example["item"] in {f"item-{n}" for n in range(15, 20)}
    assert hot.example["reason"] == f"ValueError: {hot.example['item'][5:]}.5 degrees is too hot"
    assert [one.id for one in everywhere.families] == [one.id for one in found.families]


async def test_some_of_a_family_are_tried_before_the_rest(mill: Mill) -> None:
    run = await failed_run(mill)
    async with mill.database.begin() as session:
        hot = next(one for one in (await failures.families(session, run)).families if "hot" in one.message)
        assert await redo.retry(session, run, Filter(family=hot.id), first=3) == 3
    assert await mill.states(run) == {"done": 10, "failed": 7, "waiting": 3}
    tried = [task["item"] for task in await mill.tasks(run) if task["state"] == "waiting"]
    assert tried == ["item-15", "item-16", "item-18"], "spread over the run"
    async with mill.database.begin() as session:
        told = (await failures.family(session, run, hot.id)).trials
    assert [(t["tried"], t["open"], t["done"], t["failed"]) for t in told] == [(3, 3, 0, 0)]

    await mill.work({"f": still_hot}, until=mill.finished(run))
    async with mill.database.begin() as session:
        told = (await failures.family(session, run, hot.id)).trials
        assert [(t["tried"], t["open"], t["done"], t["failed"]) for t in told] == [(3, 0, 3, 0)]
        assert await redo.retry(session, run, Filter(family=hot.id)) == 2
    await mill.work({"f": still_hot}, until=mill.finished(run))
    assert await mill.states(run) == {"done": 14, "failed": 6}, "the other family was left alone"

    async with mill.database.begin() as session:
        assert await redo.retry(session, run, Filter(family=hot.id), first=5) == 1
    await mill.work({"f": still_hot}, until=mill.finished(run))
    async with mill.database.begin() as session:
        told = (await failures.family(session, run, hot.id)).trials
    assert [(t["tried"], t["done"], t["failed"]) for t in told] == [(1, 0, 1)]


async def test_a_retry_is_by_app_and_item_as_well(mill: Mill) -> None:
    run = await failed_run(mill)
    async with mill.database.begin() as session:
        which = Filter(app="f", items=["item-3", "item-7", "item-15"])
        assert len(await redo.matching(session, run, redo.failed(which))) == 2
        assert await redo.retry(session, run, which) == 2
        with pytest.raises(NotFound, match="has no app 'g'"):
            await redo.matching(session, run, Filter(app="g"))


async def test_what_cannot_be_retried_is_said(mill: Mill) -> None:
    run = await failed_run(mill)
    async with mill.database.begin() as session:
        with pytest.raises(NotFound, match="failed in a family '00000000'"):
            await redo.retry(session, run, Filter(family="00000000"))
        with pytest.raises(InvalidInput, match="from 1 to 1000"):
            await redo.retry(session, run, first=0)
        with pytest.raises(NotFound, match="There is no run 99"):
            await failures.families(session, 99)
        with pytest.raises(Conflict):
            await redo.retry(session, run, Filter(items=["item-7"]))


def test_the_first_ones_are_spread_evenly() -> None:
    assert redo.spread(list(range(100)), 5) == [0, 20, 40, 60, 80]
    assert redo.spread([1, 2], 5) == [1, 2]
