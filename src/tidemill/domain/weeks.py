"""ISO weeks: `2026-W47` begins on Monday at midnight in a time zone and ends when the next one begins."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from tidemill.errors import InvalidInput

_WEEK = re.compile(r"(\d{4})-?W(\d{1,2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Week:
    """A week in a zone. `begins` and `ends` are points of time: where the clock is changed it has 167 or 169 hours."""

    year: int
    number: int
    zone: str

    @property
    def name(self) -> str:
        return f"{self.year}-W{self.number:02d}"

    @property
    def monday(self) -> dt.date:
        return dt.date.fromisocalendar(self.year, self.number, 1)

    @property
    def begins(self) -> dt.datetime:
        return _midnight(self.monday, self.zone)

    @property
    def ends(self) -> dt.datetime:
        return _midnight(self.monday + dt.timedelta(weeks=1), self.zone)

    def shifted(self, weeks: int) -> Week:
        """The week so many weeks later."""
        return _of(self.monday + dt.timedelta(weeks=weeks), self.zone)


def week_of(moment: dt.datetime, zone: str) -> Week:
    """The week that a moment lies in. Raises InvalidInput: no such zone."""
    return _of(moment.astimezone(_zone(zone)).date(), zone)


def read_week(text: str, zone: str) -> Week:
    """Read `2026-W47` (or `2026W47`). Raises InvalidInput for what is no week, and for an unknown zone."""
    _zone(zone)
    found = _WEEK.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        year, number = int(found[1]), int(found[2])
        dt.date.fromisocalendar(year, number, 1) + dt.timedelta(weeks=2)
        dt.date.fromisocalendar(year, number, 1) - dt.timedelta(weeks=6)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{text[:40]!r} is no week.", hint="A week reads like 2026-W47.") from None
    return Week(year, number, zone)


def _of(day: dt.date, zone: str) -> Week:
    year, number, _ = day.isocalendar()
    return Week(year, number, zone)


def _midnight(day: dt.date, zone: str) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), _zone(zone)).astimezone(dt.UTC)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise InvalidInput(f"{name[:60]!r} is no time zone.", hint="Europe/Berlin is one, and UTC.") from None
