"""Quiet hours: times of the week at which an app, or a run, begins nothing. Work in hand finishes.

As JSON: `[{"days": [1, …, 7], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}]`. `days` are those on which the
hours begin (1 is Monday; none: every day); `to` that is not after `from` is on the next day. The claim of tasks
(`tasks.claim`) asks the same in SQL, by the database's clock.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_KEYS = ("days", "from", "to", "zone")


def read_quiet(value: Any) -> list[dict[str, Any]]:
    """Quiet hours as people write them, in one form. Raises ValueError that says what is wrong with which entry."""
    if not isinstance(value, list | tuple):
        raise ValueError('it must be a list, for example [{ from = "22:00", to = "06:00", zone = "Europe/Berlin" }]')
    return [_read(entry, f"entry {n}" if len(value) > 1 else "its entry") for n, entry in enumerate(value, start=1)]


def _read(entry: Any, label: str) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{label} must be a table with {', '.join(_KEYS)}")
    if unknown := sorted(set(entry) - set(_KEYS)):
        raise ValueError(f"{label} has {', '.join(unknown)}; there are: {', '.join(_KEYS)}")
    made: dict[str, Any] = {}
    if days := _days(entry.get("days"), label):
        made["days"] = days
    for key in ("from", "to"):
        time = entry.get(key)
        text = time.strftime("%H:%M") if isinstance(time, dt.time) else time
        if not isinstance(text, str) or not _TIME.fullmatch(text):
            raise ValueError(f'{label} must have {key} = "HH:MM", from 00:00 to 23:59')
        made[key] = text
    made["zone"] = entry.get("zone", "UTC")
    if not is_zone(made["zone"]):
        raise ValueError(f"{label} has zone {made['zone']!r}, which is no time zone; Europe/Berlin is one")
    return made


def _days(value: Any, label: str) -> list[int]:
    named = [] if value is None else value
    if not isinstance(named, list | tuple):
        raise ValueError(f"{label}: days must be a list of {', '.join(DAYS)}")
    found = set()
    for day in named:
        if isinstance(day, str) and day.lower()[:3] in DAYS:
            found.add(DAYS.index(day.lower()[:3]) + 1)
        elif isinstance(day, int) and not isinstance(day, bool) and 1 <= day <= 7:
            found.add(day)
        else:
            raise ValueError(f"{label} has the day {day!r}; days are {', '.join(DAYS)}")
    return sorted(found) if len(found) < 7 else []


def is_zone(name: Any) -> bool:
    """Whether this machine knows a time zone of that name; the database is asked besides."""
    if not isinstance(name, str):
        return False
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


def until(quiet: Sequence[Mapping[str, Any]], now: dt.datetime) -> dt.datetime | None:
    """When the quiet hours that hold at `now` are over, in their own time zone; None: none hold.

    Hours that follow one another without a gap count as one.
    """
    end: dt.datetime | None = None
    for _ in range(14):  # a week of days with at most two spells each, and no quiet for ever
        later = [until for entry in quiet for until in _ends(entry, end or now) if until > (end or now)]
        if not later:
            return end
        end = max(later)
    return end


def _ends(entry: Mapping[str, Any], now: dt.datetime) -> Iterator[dt.datetime]:
    """The end of this entry's spells that `now` lies in: one that began today, one that began yesterday."""
    here = now.astimezone(ZoneInfo(entry["zone"]))
    begins, ends = dt.time.fromisoformat(entry["from"]), dt.time.fromisoformat(entry["to"])
    days = entry.get("days") or range(1, 8)
    clock, today, day = here.time(), here.date(), dt.timedelta(days=1)
    if begins < ends:
        if begins <= clock < ends and here.isoweekday() in days:
            yield dt.datetime.combine(today, ends, here.tzinfo)
        return
    if clock >= begins and here.isoweekday() in days:
        yield dt.datetime.combine(today + day, ends, here.tzinfo)
    if clock < ends and (today - day).isoweekday() in days:
        yield dt.datetime.combine(today, ends, here.tzinfo)


def told(end: dt.datetime, now: dt.datetime) -> str:
    """The end of quiet hours for a person: `06:00 (Europe/Berlin)`, with the day where it is not before tomorrow."""
    day = f"{end:%A} " if end - now > dt.timedelta(days=1) else ""
    return f"{day}{end:%H:%M} ({end.tzinfo})"


def in_words(entry: Mapping[str, Any]) -> str:
    """`22:00–06:00 Europe/Berlin, mon, tue`."""
    days = ", ".join(DAYS[day - 1] for day in entry.get("days") or [])
    return f"{entry['from']}–{entry['to']} {entry['zone']}" + (f", {days}" if days else "")


def as_written(entry: Mapping[str, Any]) -> dict[str, Any]:
    """As a site file says it: days by name."""
    days = [DAYS[day - 1] for day in entry.get("days") or []]
    return ({"days": days} if days else {}) | {key: entry[key] for key in ("from", "to", "zone")}
