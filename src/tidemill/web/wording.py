"""How numbers, spans and sizes read on the pages."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from markupsafe import Markup, escape

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_AGES = ((_MINUTE, 1, "s"), (_HOUR, _MINUTE, "min"), (_DAY, _HOUR, "h"), (float("inf"), _DAY, "days"))
"""Up to which age, in which unit, with which word."""


def count(value: float | None) -> str:
    """`12,345`; a dash where there is nothing to count."""
    return "–" if value is None else f"{value:,.0f}"


def counted(value: int, one: str, many: str | None = None) -> str:
    """`1 item`, `2 items`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def span(seconds: float | None) -> str:
    """`0.24 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 days`; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{round(seconds, 2):g} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s" if whole < 10 * _MINUTE else f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} days"


def rough(seconds: float) -> str:
    """A span for an estimate, which claims no more precision than it has: `about 40 s`, `about 12 min`."""
    if seconds < 1.5 * _MINUTE:
        return f"about {max(1, round(seconds))} s"
    if seconds < 1.5 * _HOUR:
        return f"about {round(seconds / _MINUTE)} min"
    return f"about {seconds / _HOUR:.1f} h" if seconds < 2 * _DAY else f"about {round(seconds / _DAY)} days"


def pace(per_minute: float | None) -> str:
    """Steps per minute or per second, whichever reads better; a dash where nothing moved."""
    if not per_minute:
        return "–"
    return f"{per_minute / 60:,.1f} steps/s" if per_minute >= 60 else f"{per_minute:.1f} steps/min"


def size(octets: float | None) -> str:
    """`512 B`, `1.2 MB`; decimal units, as file managers show them."""
    if octets is None:
        return "–"
    value = float(octets)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def sized(octets: float | None) -> Markup:
    """A size, with the exact number of bytes for who points at it."""
    if octets is None or octets < 1000:
        return escape(size(octets))
    return Markup('<span class="nowrap" title="{}">{}</span>').format(f"{octets:,.0f} bytes", size(octets))


def moment(when: dt.datetime | str | None) -> str:
    """`2026-11-21 07:14:03 UTC`; a dash for None."""
    if when is None:
        return "–"
    return _read(when).astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def day(when: dt.datetime | str) -> str:
    """`21 November 2026`."""
    read = _read(when).astimezone(dt.UTC)
    return f"{read.day} {read:%B %Y}"


def ago(when: dt.datetime | str | None) -> Markup:
    """A `<time>` that says how long ago; site.js keeps it current."""
    if when is None:
        return Markup("–")
    read = _read(when)
    age = max(0.0, (dt.datetime.now(dt.UTC) - read).total_seconds())
    for limit, unit, word in (
        (_MINUTE, 1, "s"),
        (_HOUR, _MINUTE, "min"),
        (_DAY, _HOUR, "h"),
        (float("inf"), _DAY, "days"),
    ):
        if age < limit:
            number = int(age // unit)
            words = "just now" if age < 5 else f"{number} {'day' if word == 'days' and number == 1 else word} ago"
            break
    return Markup('<time data-ago class="nowrap" datetime="{}" title="{}">{}</time>').format(
        read.isoformat(), moment(read), words
    )


def parameters(values: Any) -> Markup:
    """`name=value` pairs of a step's parameters; a dash where there are none."""
    if not values:
        return Markup("–")
    pairs = [Markup("<code>{}={}</code>").format(name, plain(value)) for name, value in sorted(values.items())]
    return Markup(" ").join(pairs)


def plain(value: Any, limit: int = 400) -> str:
    """A JSON value as a person reads it: strings bare, the rest as JSON, cut when long."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= limit else shown[:limit] + "…"


def lines(value: str) -> Markup:
    """Text with its line breaks kept."""
    return Markup("<br>").join(escape(line) for line in value.splitlines())


def _read(when: dt.datetime | str) -> dt.datetime:
    read = dt.datetime.fromisoformat(when) if isinstance(when, str) else when
    return read if read.tzinfo else read.replace(tzinfo=dt.UTC)
