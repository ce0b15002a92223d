"""Schedules: done once each, by the database's clock, however many are there to do it."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.transactions import no_transaction_is_open
from tests.watching import Watched

from tidemill.db.database import Database, Row
from tidemill.errors import Conflict, InvalidInput, NotFound, StorageError
from tidemill.pipelines import schedules
from tidemill.pipelines.schedules import ScheduleWish, cron_fault, next_time
from tidemill.runner.schedules import Doer
from tidemill.storage.documents import DocumentStore

START = {"start": {"batch": "may", "pipeline": "chain"}}
YEARLY = "0 0 1 1 *"


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Watched:
    mill = Watched(database, documents)
    await mill.pipeline("chain", ["one"])
    await mill.add("a", "b")
    await mill.sql("insert into batch (name) values ('may')")
    await mill.sql(
        "insert into batch_item (batch_id, position, item_id) "
        "select b.id, row_number() over (order by i.id) - 1, i.id from batch b, item i"
    )
    return mill


@pytest.fixture
def doer(documents: DocumentStore) -> Doer:
    async def sync(source: str) -> str:
        if source == "broken":
            raise StorageError("The folder is not there: /broken")
        if source == "odd":
            raise ValueError("nobody thought of this")
        return f"read {source}"

    return Doer(documents, sync)


async def make(mill: Watched, name: str, action: Row, cron: str = YEARLY, due: str | None = "now()") -> None:
    async with mill.database.begin() as session:
        await schedules.define(session, ScheduleWish(name, cron, "UTC", action))
    if due:
        await mill.sql(f"update schedule set next_at = {due} where name = :name", name=name)


async def do_due(doer: Doer, database: Database) -> None:
    await doer.start_due(database)
    await doer.sync_due(database)


async def one(mill: Watched, name: str) -> Row:
    async with mill.database.begin() as session:
        return await schedules.get(session, name)


async def test_what_is_due_is_done_once_however_many_try(mill: Watched, doer: Doer) -> None:
    await make(mill, "s", START)
    await asyncio.gather(*(do_due(doer, mill.database) for _ in range(5)))
    assert [row["id"] for row in await mill.sql("select id from run")] == [1]
    row = await one(mill, "s")
    assert row["last_result"] == "started run 1 with 2 items"
    assert row["next_at"] > row["now"] >= row["last_at"]


async def test_what_is_not_due_or_rests_is_left_alone(mill: Watched, doer: Doer) -> None:
    await make(mill, "later", START, due="now() + interval '1 hour'")
    await make(mill, "rests", START)
    async with mill.database.begin() as session:
        assert await schedules.pause(session, "rests")
        assert not await schedules.pause(session, "rests")
    await do_due(doer, mill.database)
    assert await mill.sql("select id from run") == []


async def test_times_that_were_missed_are_done_once_and_said(mill: Watched, doer: Doer) -> None:
    await make(
        mill, "nightly", START, "0 2 * * *", due="date_trunc('day', now()) - interval '3 days' + interval '2 hours'"
    )
    await do_due(doer, mill.database)
    assert len(await mill.sql("select id from run")) == 1
    row = await one(mill, "nightly")
    assert "started run 1 with 2 items (late: it was due at" in row["last_result"]
    assert "and once stands for" in row["last_result"]
    assert row["next_at"] - row["now"] <= dt.timedelta(days=1)


async def test_what_was_missed_while_it_rested_is_not_made_up_for(mill: Watched, doer: Doer) -> None:
    await make(mill, "s", START, due="now() - interval '3 days'")
    async with mill.database.begin() as session:
        await schedules.pause(session, "s")
        await schedules.pause(session, "s", False)
    await do_due(doer, mill.database)
    assert await mill.sql("select id from run") == []


async def test_what_fails_says_so_undoes_itself_and_comes_again(mill: Watched, doer: Doer) -> None:
    await make(mill, "a", {"sync": "broken"})
    await make(mill, "b", {"sync": "odd"})
    await make(mill, "c", {"start": {"batch": "june", "pipeline": "chain"}})
    await make(mill, "d", {"start": {"batch": "may", "pipeline": "chain", "only_not_done": True}})
    await make(mill, "e", START)
    await do_due(doer, mill.database)
    rows = {
        row["name"]: row for row in await mill.sql("select name, last_result, next_at > now() as ahead from schedule")
    }
    assert rows["a"]["last_result"] == "failed: The folder is not there: /broken"
    assert rows["b"]["last_result"] == "failed: ValueError: nobody thought of this"
    assert rows["c"]["last_result"] == "failed: There is no batch named 'june'."
    assert rows["d"]["last_result"] == "started run 1 with 2 items"
    assert rows["e"]["last_result"] == "started run 2 with 2 items"
    assert all(row["ahead"] for row in rows.values())
    await mill.sql("update schedule set next_at = now() where name = 'd'")
    await do_due(doer, mill.database)
    assert (await one(mill, "d"))["last_result"].startswith("nothing was started: Batch 'may' has nothing that chain")


async def test_a_process_that_dies_in_the_middle_leaves_it_due(mill: Watched, documents: DocumentStore) -> None:
    begun = asyncio.Event()

    async def sync(source: str) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "never"

    await make(mill, "s", {"sync": "slow"})
    dying = asyncio.create_task(Doer(documents, sync).sync_due(mill.database))
    await begun.wait()

    async def quick(source: str) -> str:
        return "read"

    other = Doer(documents, quick)
    await do_due(other, mill.database)
    assert (await one(mill, "s"))["last_at"] is None, "the first one is still at it"
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    await do_due(other, mill.database)
    assert (await one(mill, "s"))["last_result"] == "read"


async def test_a_long_sync_holds_back_no_transaction_no_run_and_no_other_sync(
    mill: Watched, documents: DocumentStore
) -> None:
    begun, may_end, done = asyncio.Event(), asyncio.Event(), list[str]()

    async def sync(source: str) -> str:
        if source == "slow":
            begun.set()
            await may_end.wait()
        done.append(source)
        return f"read {source}"

    doer = Doer(documents, sync)
    await make(mill, "long", {"sync": "slow"})
    at_work = [asyncio.create_task(doer.sync_due(mill.database)) for _ in range(3)]
    await begun.wait()
    await no_transaction_is_open(mill.database)
    with pytest.raises(Conflict, match="being done already"):
        await doer.run_now(mill.database, "long")
    await make(mill, "short", {"sync": "quick"})
    await make(mill, "run", START)
    await doer.start_due(mill.database)
    await doer.sync_due(mill.database)
    assert (await one(mill, "run"))["last_result"] == "started run 1 with 2 items"
    assert done == ["quick"]
    may_end.set()
    await asyncio.gather(*at_work)
    assert done == ["quick", "slow"]
    assert (await one(mill, "long"))["last_result"] == "read slow"


async def test_a_schedule_that_is_changed_while_it_is_done_keeps_its_new_time(
    mill: Watched, documents: DocumentStore
) -> None:
    async def sync(source: str) -> str:
        await make(mill, "s", {"sync": "tapes"}, cron="0 0 1 6 *", due=None)
        return "read tapes"

    await make(mill, "s", {"sync": "tapes"})
    await Doer(documents, sync).sync_due(mill.database)
    row = await one(mill, "s")
    assert (row["next_at"].month, row["last_result"]) == (6, "read tapes")


async def test_done_at_once_by_a_person_the_next_time_stays(mill: Watched, doer: Doer) -> None:
    await make(mill, "s", {"sync": "tapes"}, due=None)
    before = await one(mill, "s")
    assert await doer.run_now(mill.database, "s") == "read tapes (asked for by a person)"
    after = await one(mill, "s")
    assert (after["next_at"], after["last_result"]) == (before["next_at"], "read tapes (asked for by a person)")
    with pytest.raises(NotFound, match="Did you mean 's'"):
        await doer.run_now(mill.database, "S")


async def test_changing_the_time_makes_a_new_next_one_and_changing_the_action_does_not(mill: Watched) -> None:
    await make(mill, "s", START, due="now() + interval '1 minute'")
    soon = (await one(mill, "s"))["next_at"]
    async with mill.database.begin() as session:
        assert not await schedules.define(session, ScheduleWish("s", YEARLY, "UTC", START))
        assert await schedules.define(session, ScheduleWish("s", YEARLY, "UTC", {"sync": "x"}))
    assert (await one(mill, "s"))["next_at"] == soon
    async with mill.database.begin() as session:
        assert await schedules.define(session, ScheduleWish("s", YEARLY, "Europe/Berlin", {"sync": "x"}))
    berlin = (await one(mill, "s"))["next_at"].astimezone(ZoneInfo("Europe/Berlin"))
    assert (berlin.month, berlin.day, berlin.hour, berlin.minute) == (1, 1, 0, 0)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("cron", "after", "following"),
    [
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),  # the hour that is left out
        ("30 2 * * *", "2026-03-29T12:00+02:00", "2026-03-30T02:30+02:00"),
        ("30 2 * * *", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),  # the hour that comes twice
        ("30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),
        ("30 2 * * *", "2026-10-25T02:10+01:00", "2026-10-26T02:30+01:00"),
        ("0 8 * * mon-fri", "2026-11-20T09:00+01:00", "2026-11-23T08:00+01:00"),
    ],
)
def test_summer_time(cron: str, after: str, following: str) -> None:
    assert next_time(cron, "Europe/Berlin", dt.datetime.fromisoformat(after)) == dt.datetime.fromisoformat(following)


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 2 * *", "must have five fields"),
        ("0 0 2 * * *", "must have five fields"),
        ("61 2 * * *", "wrong minute"),
        ("0 0 30 2 *", "wrong day-of-month"),
        ("0 0 * * *", None),
    ],
)
def test_cron_expressions_are_checked(cron: str, said: str | None) -> None:
    fault = cron_fault(cron)
    assert fault is None if said is None else fault is not None and said in fault


async def test_a_time_zone_must_be_known_to_the_database(mill: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.pipelines.schedules.is_zone", lambda zone: True)
    with pytest.raises(InvalidInput, match="no time zone named Mars/Olympus"):
        async with mill.database.begin() as session:
            await schedules.define(session, ScheduleWish("s", YEARLY, "Mars/Olympus", START))


async def test_a_schedule_reads_a_real_folder(database: Database, documents: DocumentStore, tmp_path: Path) -> None:
    from tidemill.catalogue.sync import reader

    mill = Watched(database, documents)
    (tmp_path / "one.dat").write_bytes(b"x")
    await mill.sql(
        """insert into source (name, url, layout)
           values ('tapes', :url, '{"rules": [{"pattern": "{item}.dat"}]}')""",
        url=tmp_path.as_uri(),
    )
    await make(mill, "s", {"sync": "tapes"})
    await do_due(Doer(documents, reader(database)), database)
    assert (await one(mill, "s"))["last_result"] == "read 1 file of tapes: 1 new file, 0 changed, 1 new item"
    assert await mill.sql("select name from item") == [{"name": "one"}]
