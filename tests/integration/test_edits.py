"""Edits of records: each row answered for itself, nothing overwritten that somebody else wrote meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from tidemill.catalogue import edits, items, projects
from tidemill.catalogue.edits import Answer
from tidemill.db.database import Database, Row
from tidemill.db.models import Change, Item, Site
from tidemill.errors import Conflict, InvalidInput, NotFound


async def edit(database: Database, *rows: Any) -> list[Answer]:
    async with database.begin() as session:
        return await edits.apply(session, rows)


async def item(database: Database, name: str) -> Row:
    async with database.begin() as session:
        return await items.get(session, name)


def outcomes(answers: list[Answer]) -> list[str]:
    return [answer.outcome for answer in answers]


async def test_rows_are_answered_each_for_itself(database: Database) -> None:
    await edit(database, {"name": "there", "metadata": {"run": 1}}, {"name": "done"})
    async with database.begin() as session:
        await edits.apply(session, [{"name": "full", "projects": ["closed"]}])
        await projects.lock(session, "closed")
    answers = await edit(
        database,
        {"name": "new", "status": "bad", "reason": "no signal", "projects": ["open"]},
        {"name": "there", "metadata": {"run": 2, "x": {"y": [1, None]}}},
        {"name": "done", "status": "good"},
        {"name": "late", "projects": ["open", "closed"]},
        {"name": "full", "metadata": {"still": "edited"}, "projects": ["closed"]},
        {"name": "nul\0"},
        {"name": "text", "metadata": {"x": "a\0b"}},
        {"name": "half", "metadata": {"x": "\ud800"}},
        {"name": "odd", "colour": "red"},
        {"name": "", "metadata": {}},
        {"name": "two\nlines"},
        {"name": "deep", "metadata": {"x": eval("[" * 150 + "]" * 150)}},
        {"name": "nan", "metadata": {"x": float("nan")}},
        {"name": "project", "projects": ["a/b"]},
        {"name": "nobody", "revision": 3},
        "a text",
        InvalidInput("line 7 is no JSON"),
    )
    assert outcomes(answers) == ["created", "changed", "unchanged", "refused", "changed", *["refused"] * 12]
    assert [answer.revision for answer in answers[:5]] == [1, 2, 1, None, 2]
    assert isinstance(answers[3].error, Conflict)
    assert isinstance(answers[14].error, NotFound)
    assert {type(answer.error) for answer in answers[5:14]} == {InvalidInput}
    assert answers[-1].error is not None
    assert answers[-1].error.message == "line 7 is no JSON"
    new, there = await item(database, "new"), await item(database, "there")
    assert (new["status"], new["status_reason"], new["projects"]) == ("bad", "no signal", ["open"])
    assert there["metadata"] == {"run": 2, "x": {"y": [1, None]}}
    async with database.begin() as session:
        assert await items.count(session) == 4


async def test_null_takes_a_key_out_and_the_rest_stays_exactly_as_it_was(database: Database) -> None:
    exact = {"long": 123456789012345678901234567890, "quoted": 'a \\u0000 "b"', "off": None}
    await edit(database, {"name": "a", "metadata": {"x": 1, "y": 2, "keep": exact}})
    answers = await edit(database, {"name": "a", "metadata": {"x": None, "z": None, "y": True}})
    assert outcomes(answers) == ["changed"]
    assert (await item(database, "a"))["metadata"] == {"y": True, "keep": exact}
    assert outcomes(await edit(database, {"name": "a", "metadata": {"y": 1}})) == ["changed"]


async def test_a_stale_edit_is_refused_with_the_record_as_it_is(database: Database) -> None:
    await edit(database, {"name": "a", "metadata": {"x": 1}})
    await edit(database, {"name": "a", "metadata": {"x": 2}, "status": "bad", "reason": "noise"})
    stale, wrong, fresh, again = await edit(
        database,
        {"name": "a", "metadata": {"x": 3}, "revision": 1},
        {"name": "a", "metadata": {"x": 4}, "expect": "good"},
        {"name": "a", "metadata": {"y": 5}, "revision": 2, "expect": "bad"},
        {"name": "a", "metadata": {"y": 6}, "revision": 2},
    )
    assert outcomes([stale, wrong, fresh, again]) == ["refused", "refused", "changed", "refused"]
    assert isinstance(stale.error, Conflict)
    now = {"name": "a", "status": "bad", "status_reason": "noise", "metadata": {"x": 2, "y": 5}, "revision": 3}
    assert stale.record == again.record == now
    (exists,) = await edit(database, {"name": "a", "revision": 0})
    assert (exists.outcome, exists.record) == ("refused", now)
    assert outcomes(await edit(database, {"name": "b", "revision": 0})) == ["created"]


async def test_rows_of_one_name_follow_one_another(database: Database) -> None:
    answers = await edit(
        database,
        {"name": "a", "metadata": {"x": 1}},
        {"name": "a", "metadata": {"x": 2, "y": 2}},
        {"name": "a", "metadata": {"y": None}},
        {"name": "a", "revision": 0},
    )
    assert outcomes(answers) == ["created", "changed", "changed", "refused"]
    assert [answer.revision for answer in answers] == [2, 2, 2, 2]
    assert (await item(database, "a"))["metadata"] == {"x": 2}


async def test_declared_fields_are_of_their_type(database: Database) -> None:
    kinds = {"year": "integer", "gain": "number", "live": "boolean", "shown": "date", "title": "text"}
    async with database.begin() as session:
        session.add(Site(fields={name: {"type": kind, "title": ""} for name, kind in kinds.items()}))
    right = {"year": 1987, "gain": 0.5, "live": True, "shown": "1987-05-01", "title": "x"}
    wrong = {"year": "1987", "gain": "0.5", "live": 1, "shown": "May", "title": 7}
    rows = [{"name": f"bad-{key}", "metadata": right | {key: value}} for key, value in wrong.items()]
    answers = await edit(database, {"name": "good", "metadata": right | {"free": ["anything"]}}, *rows)
    assert outcomes(answers) == ["created", *["refused"] * 5]
    assert answers[1].error is not None
    assert answers[1].error.message == "year is '1987'; it must be a whole number."
    assert outcomes(await edit(database, {"name": "good", "metadata": dict.fromkeys(right)})) == ["changed"]


async def test_writers_of_different_keys_all_keep_what_they_wrote(database: Database) -> None:
    """Ten writers create and edit the same hundred items at the same time, each in an order of its own."""
    names = [f"item-{n:03d}" for n in range(100)]

    async def write(writer: int) -> list[Answer]:
        order = names if writer % 2 else list(reversed(names))
        found = []
        for start in range(0, 100, 25):
            rows = [{"name": name, "metadata": {f"by-{writer}": start}} for name in order[start : start + 25]]
            found += await edit(database, *rows)
        return found

    answers = [answer for found in await asyncio.gather(*(write(n) for n in range(10))) for answer in found]
    assert {word: outcomes(answers).count(word) for word in set(outcomes(answers))} == {"created": 100, "changed": 900}
    async with database.begin() as session:
        found = (await session.scalars(select(Item))).all()
        told = (await session.scalars(select(Change).where(Change.kind == "item"))).all()
    assert {(len(one.details), one.revision) for one in found} == {(10, 10)}
    assert len(told) == 1000


async def test_of_two_who_expect_the_same_revision_one_is_told(database: Database) -> None:
    await edit(database, {"name": "a"})
    rows = [{"name": "a", "revision": 1, "metadata": {"by": n}} for n in range(8)]
    answers = [one for (one,) in await asyncio.gather(*(edit(database, row) for row in rows))]
    assert sorted(outcomes(answers)) == ["changed", *["refused"] * 7]
    won = outcomes(answers).index("changed")
    assert (await item(database, "a"))["metadata"] == {"by": won}
    assert all(one.record == answers[(won + 1) % 8].record for one in answers if one.error)


async def test_ten_thousand_rows_are_one_set_and_more_are_too_many(database: Database) -> None:
    rows = [{"name": f"i{n:05d}", "metadata": {"n": n}, "projects": ["big"]} for n in range(10_000)]
    assert edits.counted(await edit(database, *rows))["created"] == 10_000
    assert edits.counted(await edit(database, *rows))["unchanged"] == 10_000
    with pytest.raises(InvalidInput, match="10,000"):
        await edit(database, *rows, {"name": "one more"})
    async with database.begin() as session:
        assert (await items.search(session, "project:big from:i09998", limit=5)).total == 2


async def test_only_what_nothing_refers_to_is_deleted(database: Database) -> None:
    await edit(database, {"name": "a", "projects": ["p"]}, {"name": "b"})
    async with database.begin() as session:
        with pytest.raises(Conflict):
            await items.delete(session, "a", revision=2)
        await items.delete(session, "a", revision=1)
        with pytest.raises(NotFound):
            await items.delete(session, "a")
        assert await items.count(session) == 1
