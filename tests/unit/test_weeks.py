"""ISO weeks in a zone."""

from __future__ import annotations

import datetime as dt

import pytest

from tidemill.domain.weeks import read_week, week_of
from tidemill.errors import InvalidInput


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def test_a_week_begins_on_monday_at_midnight_where_people_are() -> None:
    week = read_week("2026-W47", "UTC")
    assert (week.begins, week.ends) == (at("2026-11-16T00:00Z"), at("2026-11-23T00:00Z"))
    there = read_week("2026w47", "Europe/Berlin")
    assert there.begins == at("2026-11-15T23:00Z")
    assert there.name == "2026-W47"


def test_a_week_in_which_the_clock_is_changed() -> None:
    spring, autumn = read_week("2026-W13", "Europe/Berlin"), read_week("2026-W43", "Europe/Berlin")
    assert (spring.ends - spring.begins, autumn.ends - autumn.begins) == (
        dt.timedelta(hours=167),
        dt.timedelta(hours=169),
    )


def test_the_turn_of_the_year() -> None:
    assert week_of(at("2027-01-01T12:00Z"), "UTC").name == "2026-W53"
    assert read_week("2026-W53", "UTC").shifted(1).name == "2027-W01"
    assert read_week("2027-W01", "UTC").shifted(-1).name == "2026-W53"
    assert week_of(at("2026-11-22T23:30Z"), "Asia/Tokyo").name == "2026-W48"


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-47", "2026-W00", "2026-W54", "2025-W53", "0000-W01", "9999-W52", "x"]
)
def test_what_is_no_week_is_said(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no week"):
        read_week(text, "UTC")


@pytest.mark.parametrize("zone", ["Mars", "", "../etc/passwd", "Europe/"])
def test_what_is_no_zone_is_said(zone: str) -> None:
    with pytest.raises(InvalidInput, match="no time zone"):
        read_week("2026-W47", zone)
