"""Quiet hours: what the claim obeys, what the pages say, and what a site file may write, agree."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.watching import Watched

from tidemill.db.database import Database
from tidemill.db.queries import sql
from tidemill.domain.quiet_hours import DAYS, as_written, in_words, read_quiet, until
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"]
TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 30]))
ENTRIES = st.fixed_dictionaries(
    {"from": TIMES, "to": TIMES, "zone": st.sampled_from(ZONES)},
    optional={"days": st.lists(st.sampled_from(DAYS), min_size=1, max_size=4)},
)
MOMENTS = st.datetimes(dt.datetime(2026, 3, 26), dt.datetime(2026, 11, 4), timezones=st.just(dt.UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)

CLAIMS = sql("tasks.claim")
PREDICATE = CLAIMS[CLAIMS.index("and not exists (") + 4 : CLAIMS.index("and (a.kind = any")]
"""The very words with which the claim asks, with another moment in the place of now()."""


@pytest.fixture
def connection(database_url: str) -> Any:
    with psycopg.connect(database_url) as connection:
        yield connection


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(app=st.lists(ENTRIES, max_size=2), run=st.lists(ENTRIES, max_size=2), now=MOMENTS)
def test_the_claim_and_the_words_agree_at_any_time(connection: Any, app: Any, run: Any, now: dt.datetime) -> None:
    app, run = read_quiet(app), read_quiet(run)
    end = until([*app, *run], now)
    assert _claims(connection, app, run, now) is (end is None)
    if end is not None:
        assert end > now
        assert end - now < dt.timedelta(days=15)


def _claims(connection: Any, app: Any, run: Any, now: dt.datetime) -> bool:
    from psycopg.types.json import Jsonb

    asked = PREDICATE.replace("now()", "%(now)s::timestamptz")
    (claims,) = connection.execute(
        f"select {asked} from (select %(app)s::jsonb as quiet) a, (select %(run)s::jsonb as quiet) r",
        {"now": now, "app": Jsonb(app), "run": Jsonb(run)},
    ).fetchone()
    return bool(claims)


@pytest.mark.parametrize(
    ("written", "now", "end"),
    [
        ({"from": "22:00", "to": "06:00"}, "2026-11-21 23:30", "2026-11-22 06:00"),
        ({"from": "22:00", "to": "06:00"}, "2026-11-21 05:59", "2026-11-21 06:00"),
        ({"from": "22:00", "to": "06:00"}, "2026-11-21 06:00", None),
        ({"days": ["fri"], "from": "22:00", "to": "06:00"}, "2026-11-21 02:00", "2026-11-21 06:00"),
        ({"days": ["sat"], "from": "22:00", "to": "06:00"}, "2026-11-21 02:00", None),
        ({"days": ["sat", "sun"], "from": "00:00", "to": "00:00"}, "2026-11-21 12:00", "2026-11-23 00:00"),
        ({"from": "09:00", "to": "17:00"}, "2026-11-21 12:00", "2026-11-21 17:00"),
    ],
)
def test_hours_over_midnight_and_days(connection: Any, written: Json, now: str, end: str | None) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    quiet, moment = (
        read_quiet([written | {"zone": "Europe/Berlin"}]),
        dt.datetime.fromisoformat(now).replace(tzinfo=berlin),
    )
    assert until(quiet, moment) == (dt.datetime.fromisoformat(end).replace(tzinfo=berlin) if end else None)
    assert _claims(connection, quiet, [], moment) is (end is None)
    assert read_quiet([as_written(quiet[0])]) == quiet


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("22:00", "it must be a list"),
        ([{"from": "22:00"}], 'its entry must have to = "HH:MM"'),
        ([{"from": "24:00", "to": "06:00"}], 'its entry must have from = "HH:MM", from 00:00 to 23:59'),
        ([{"from": "22:00", "to": "06:00", "zone": "Berlin"}], "zone 'Berlin', which is no time zone"),
        ([{"from": "22:00", "to": "06:00", "days": ["caturday"]}], "the day 'caturday'; days are mon"),
        ([{"from": "22:00", "to": "06:00", "day": "mon"}], "has day; there are: days, from, to, zone"),
    ],
)
def test_what_makes_no_sense_is_told(written: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"entry|list") as refused:
        read_quiet(written)
    assert said in str(refused.value)


def test_words() -> None:
    (entry,) = read_quiet([{"days": ["Monday", "tue"], "from": dt.time(22), "to": "06:00", "zone": "Europe/Berlin"}])
    assert in_words(entry) == "22:00–06:00 Europe/Berlin, mon, tue"
    assert read_quiet([{"days": list(DAYS), "from": "22:00", "to": "06:00"}])[0] == {
        "from": "22:00",
        "to": "06:00",
        "zone": "UTC",
    }


async def test_work_in_hand_finishes_in_quiet_hours_and_nothing_is_begun(
    database: Database, documents: DocumentStore
) -> None:
    mill = Watched(database, documents)
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(document: Json, _: Json) -> Json:
        begun.set()
        await go.wait()
        return document

    await mill.pipeline("chain", ["one", "two"])
    run = await mill.watch()
    async with mill.at_work({"one": slow, "two": lambda document, _: document}):
        await mill.add("a")
        await begun.wait()
        await mill.sql(
            "update run set quiet = jsonb_build_array(jsonb_build_object("
            "'from', to_char(now() at time zone 'Asia/Kathmandu' - interval '1 hour', 'HH24:MI'),"
            "'to', to_char(now() at time zone 'Asia/Kathmandu' + interval '1 hour', 'HH24:MI'),"
            "'zone', 'Asia/Kathmandu'))"
        )
        go.set()

        async def next_step_waits() -> bool:
            (task,) = await mill.tasks(run)
            return (task["state"], task["step"]) == ("waiting", 1)

        await mill.until(next_step_waits)
        await mill.add("b")
        await mill.until_states(run, {"waiting": 2})
        await mill.sql("update run set quiet = '[]'")
        await mill.until_states(run, {"done": 2})
