"""A week in one look."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text
from tests.site import Mill
from tests.zones import quiet_zone

from tidemill.db.database import Database
from tidemill.domain.weeks import week_of
from tidemill.errors import InvalidInput
from tidemill.runner.summary import Summary, summary
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]
ZONE = quiet_zone("UTC", "Asia/Tokyo")
"""In which no week ends while a test is at work."""


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


def work(document: Json, _: Json) -> Json:
    if document["item"].endswith("-3"):
        raise ValueError(f"no pulses in {document['item']}")
    return document


async def put(mill: Mill, *statements: str) -> None:
    async with mill.database.begin() as session:
        for statement in statements:
            await session.execute(text(statement))


async def look(mill: Mill, week: str | None = None, zone: str = ZONE) -> Summary:
    async with mill.database.begin() as session:
        return await summary(session, week, zone)


async def a_week_ago(mill: Mill) -> str:
    """Puts all that there is back by a week; the name of that week."""
    await put(
        mill,
        "alter table item disable trigger all",
        "update item set created_at = created_at - interval '7 days', updated_at = updated_at - interval '7 days'",
        "alter table item enable trigger all",
        "update attempt set finished_at = finished_at - interval '7 days'",
        "update attempt set started_at = finished_at - interval '10 s'",
        "update change set at = at - interval '7 days'",
        "update worker set started_at = started_at - interval '7 days', seen_at = seen_at - interval '7 days', "
        "stopped_at = stopped_at - interval '7 days'",
    )
    async with mill.database.begin() as session:
        now = (await session.execute(text("select now()"))).scalar_one()
    return week_of(now - dt.timedelta(days=7), ZONE).name


async def test_a_week_tells_what_came_what_was_done_and_what_failed(mill: Mill) -> None:
    run = await mill.start(items=4, steps=["fit"], functions={"f": work}, use=["f"], tries=2, backoff=0)
    await mill.work({"f": work}, until=mill.finished(run))
    week = await a_week_ago(mill)
    await put(mill, "update item set metadata = '{\"a\": 1}' where name = 'item-1'")
    again = await mill.again(run)
    await mill.work({"f": work}, until=mill.finished(again))
    await put(
        mill,
        'update attempt set files = \'[{"name": "a", "size": 1000}, {"name": "b", "size": 24}]\' '
        f"where task_id in (select id from task where run_id = {run} and position = 0)",
    )
    before = await look(mill, week)
    assert (before.over, before.week, before.totals.added, before.totals.edited) == (True, week, 4, 0)
    (fit,) = before.steps
    assert (fit.step, fit.done, fit.failed, fit.retried, fit.skipped, fit.reused) == ("fit", 3, 2, 1, 0, 0)
    assert fit.versions == {"f 1": 3}
    assert fit.median == pytest.approx(10, abs=0.01)
    assert fit.p95 == pytest.approx(10, abs=0.01)
    assert (before.totals.files, before.totals.bytes) == (2, 1024)
    assert [(one.message, one.attempts, one.item, one.run) for one in before.families] == [
        ("ValueError: no pulses in item-#", 2, "item-3", run)
    ]
    assert before.work.workers == 1
    assert before.waiting == []

    now = await look(mill)
    assert (now.over, now.previous, now.next) == (False, week, None)
    assert (now.totals.added, now.totals.edited) == (0, 1)
    assert now.totals.done == 3
    assert now.steps[0].reused == 2, "and the one that was edited was done"
    assert now.families == [], "the week before had it, too"
    assert now.items == {"good": 4}
    assert any("not over" in note for note in now.notes)
    assert (await look(mill, now.previous)).next == now.week


async def test_a_new_family_is_one_that_the_weeks_before_did_not_have(mill: Mill) -> None:
    run = await mill.start(items=4, steps=["fit"], functions={"f": work}, use=["f"], tries=1)
    await mill.work({"f": work}, until=mill.finished(run))
    now = await look(mill)
    assert [one.message for one in now.families] == ["ValueError: no pulses in item-#"]
    await put(mill, "update attempt set error = 'ValueError: no pulses in item-7', "
                    "finished_at = finished_at - interval '8 days' where outcome = 'failed'")  # fmt: skip
    again = await mill.again(run)
    await mill.work({"f": work}, until=mill.finished(again))
    assert (await look(mill)).families == []


async def test_time_without_a_worker_is_told_as_far_as_it_is_known(mill: Mill) -> None:
    assert (await look(mill)).work.down is None
    week = "2026-W10"
    await put(
        mill,
        "insert into worker (hostname, pid, slots, kinds, started_at, seen_at, stopped_at) values "
        "('a', 1, 1, '{}', '2026-02-20', '2026-03-02 12:00', '2026-03-02 12:00'), "
        "('b', 1, 1, '{}', '2026-03-02 11:00', '2026-03-03 00:00', '2026-03-03 00:00'), "
        "('b', 2, 1, '{}', '2026-03-03 06:00', '2026-03-08 00:00', null)",
    )
    told = (await look(mill, week, "UTC")).work
    assert (told.workers, told.hosts) == (3, {"a": 1, "b": 2})
    assert told.down == (6 + 24) * 3600
    assert (told.longest_gap, told.longest_gap_at) == (24 * 3600, dt.datetime(2026, 3, 8, tzinfo=dt.UTC))


async def test_what_the_feed_no_longer_tells_is_said(mill: Mill) -> None:
    run = await mill.start(items=2, steps=["fit"], functions={"f": work}, use=["f"])
    week = await a_week_ago(mill)
    await put(mill, "insert into floor (seq) values ('0-0')", "delete from change",
              f"update run set paused = true where id = {run}",
              "insert into change (kind, state) values ('app', 'active')")  # fmt: skip
    found = await look(mill, week)
    assert found.totals.added is None
    assert any("does not reach back" in note for note in found.notes)


async def test_a_week_that_is_none_or_has_not_begun_is_refused(mill: Mill) -> None:
    for week, zone, said in (
        ("2026-W99", "UTC", "is no week"),
        ("2200-W01", "UTC", "has not begun"),
        ("2026-W01", "Mars", "no time zone"),
    ):
        with pytest.raises(InvalidInput, match=said):
            await look(mill, week, zone)
    assert (await look(mill, "2026-W01", "Asia/Tokyo")).begins == dt.datetime(2025, 12, 28, 15, tzinfo=dt.UTC)
