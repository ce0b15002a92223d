"""The view: items by the step that they have done last, exact on its name.

The last step of an item is the name of its newest success that is not superseded, over all its runs; else the last step
that another system did before it came here; else there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import InvalidInput

MOST_ROWS = 1000
MOST_LOOKS = 20
"""Chunks of candidates that are looked through for one page."""

CHUNK = 500
MOST_ODD = 20_000
"""Up to so many items are looked at one by one to make the counts exact."""

_PHASES = {True: ("carriers", "untouched"), False: ("carriers", "past_carriers")}
"""Statements that bring the candidates, one after the other: for no step, and for a step."""


@dataclass(frozen=True, slots=True)
class View:
    """Items that have done a step last: `id` (the name), `key`, `status`, `revision`, `finished_at`, in order.

    `next`: hand it back as `after` for what follows; None at the end. A page may have few rows, or none, before the
    end: so many candidates have been looked at, and no more.
    """

    rows: list[Row]
    next: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items have done which step last: `key` (None: nothing done) and `value`.

    `estimate`: too many items are in several runs, or had steps skipped or done elsewhere, to look at each; then tasks
    are counted by where they stand.
    """

    rows: list[Row]
    estimate: bool


async def items(
    session: AsyncSession,
    step: str | None,
    *,
    statuses: Sequence[str] = (),
    limit: int = 100,
    after: str | None = None,
) -> View:
    """The items whose last step has exactly this name; None: those to which nothing was done. Raises InvalidInput."""
    if not 1 <= limit <= MOST_ROWS:
        raise InvalidInput(f"limit is {limit}; it must be from 1 to {MOST_ROWS}.")
    place: _Place | None = _place(after)
    await fetch(session, "feed.plan")
    rows: list[Row] = []
    for _ in range(MOST_LOOKS):
        if place is None or len(rows) >= limit:
            break
        place, found = await _look(session, place, step, statuses, limit - len(rows))
        rows += found
    shown = [
        {"id": row["name"], "key": step, **{key: row[key] for key in ("status", "revision", "finished_at")}}
        for row in rows
    ]
    return View(shown, None if place is None else f"{place[0]}-{place[1]}")


async def counts(session: AsyncSession) -> Counts:
    """How many items have done which step last."""
    await fetch(session, "feed.plan")
    odd = [row["item_id"] for row in await fetch(session, "views.odd", {"most": MOST_ODD + 1})]
    estimate = len(odd) > MOST_ODD
    rows = await fetch(session, "views.counts", {"odd": [] if estimate else odd})
    every = await fetch_one(session, "views.items")
    left = (every["items"] if every else 0) - sum(row["items"] for row in rows)
    keyed: list[Row] = [{"key": row["name"], "value": row["items"]} for row in rows]
    return Counts([{"key": None, "value": left}, *keyed] if left > 0 else keyed, estimate)


_Place = tuple[int, int]
"""A phase, and the last id that it has looked at."""


async def _look(
    session: AsyncSession, place: _Place, step: str | None, statuses: Sequence[str], wanted: int
) -> tuple[_Place | None, list[Row]]:
    """One chunk of candidates: where the next one begins, and those that fit."""
    phase, after = place
    most = max(CHUNK, wanted)
    params = {"name": step, "after": after, "most": most, "statuses": list(statuses) or None}
    rows = await fetch(session, f"views.{_PHASES[step is None][phase]}", params)
    fitting = [row for row in rows if row["fits"]]
    if len(fitting) > wanted:
        return (phase, fitting[wanted - 1]["id"]), fitting[:wanted]
    if len(rows) == most:
        return (phase, rows[-1]["id"]), fitting
    return ((phase + 1, 0) if phase + 1 < len(_PHASES[step is None]) else None), fitting


def _place(after: str | None) -> _Place:
    if not after:
        return 0, 0
    phase, _, last = after.partition("-")
    if phase not in ("0", "1") or not (last.isascii() and last.isdecimal()) or len(last) > 18:
        raise InvalidInput(f"{after[:60]!r} is no place in the view.", hint="Take `next` as it came.")
    return int(phase), int(last)
