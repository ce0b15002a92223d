"""Watching runs: whatever matches enters, whenever it came, and once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.watching import Watched

from tidemill.db.database import Database
from tidemill.storage.documents import DocumentStore


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Watched:
    mill = Watched(database, documents)
    await mill.pipeline("chain", ["one", "two"])
    return mill


def say(document: dict[str, Any], _: Any) -> dict[str, Any]:
    return {"ok": True}


FUNCTIONS = {"one": say, "two": say}


async def test_items_from_before_and_items_that_come_later_enter(mill: Watched) -> None:
    await mill.add("before-1", "before-2")
    run = await mill.watch()
    await mill.keep_house()
    assert set(await mill.standing(run)) == {"before-1", "before-2"}
    await mill.add("later")
    await mill.look()
    assert await mill.standing(run) == {"before-1": "waiting", "before-2": "waiting", "later": "waiting"}


async def test_an_item_goes_all_the_way_by_itself(mill: Watched) -> None:
    run = await mill.watch()
    async with mill.at_work(FUNCTIONS):
        await mill.add("a", "b")

        async def done() -> bool:
            return await mill.states(run) == {"done": 2}

        await mill.until(done)
