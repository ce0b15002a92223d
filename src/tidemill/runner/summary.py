"""A week in one look: what came in, what was done, what failed, who worked; beside the week before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain import failures
from tidemill.domain.weeks import Week, read_week, week_of
from tidemill.errors import InvalidInput
from tidemill.runner import counts, stuck

SAMPLED = 200_000
"""Attempts up to which the times are of all of them; of more, they are of about so many."""

REASONS = 20_000
"""Different reasons of failures of a week that are looked at, the most frequent first."""

BEFORE = 4
"""Weeks that are looked back to see whether a failure family is new."""

SHOWN = 20


@dataclass(slots=True)
class StepWeek:
    """A step, by name over all pipelines, in attempts.

    `reused`: successes that took an earlier output; `retried`: failures after which it was tried again; `other`: lost,
    unavailable and so on. `median` and `p95` in seconds, of successes that were really done.
    """

    step: str
    done: int = 0
    reused: int = 0
    failed: int = 0
    retried: int = 0
    skipped: int = 0
    other: dict[str, int] = field(default_factory=dict)
    median: float | None = None
    p95: float | None = None
    versions: dict[str, int] = field(default_factory=dict)
    """Successes by app and version."""


@dataclass(slots=True)
class Totals:
    """A week in numbers; `added`, `edited` and `deleted` are items, None where the change feed does not reach back."""

    added: int | None = None
    edited: int | None = None
    deleted: int | None = None
    done: int = 0
    failed: int = 0
    retried: int = 0
    skipped: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class NewFamily:
    """A failure family that the weeks before did not have."""

    id: str
    message: str
    attempts: int
    first_at: dt.datetime
    item: str | None
    run: int | None


@dataclass(frozen=True, slots=True)
class Work:
    """Who worked. `down`: seconds without any worker, as far as signs of life tell; None where nothing is known."""

    workers: int
    hosts: dict[str, int]
    down: float | None
    longest_gap: float | None
    longest_gap_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A week. `until`: its end, or now where it is not over. `notes`: what is not known, or only about so."""

    week: str
    zone: str
    begins: dt.datetime
    ends: dt.datetime
    until: dt.datetime
    over: bool
    previous: str
    next: str | None
    totals: Totals
    before: Totals
    """The same of the week before; of the same stretch of it where this week is not over."""
    items: dict[str, int]
    """Items by status now."""
    steps: list[StepWeek]
    steps_before: dict[str, StepWeek]
    families: list[NewFamily]
    waiting: list[Row]
    """What waits longest now; empty where the week is over."""
    work: Work
    notes: list[str]


async def summary(session: AsyncSession, week: str | None = None, zone: str = "UTC") -> Summary:
    """The summary of a week (`2026-W47`), or of the one that it is now in `zone`. Raises InvalidInput."""
    now: dt.datetime = (await fetch(session, "summary.clock"))[0]["now"]
    present = week_of(now, zone)
    chosen = read_week(week, zone) if week else present
    if chosen.begins > now:
        raise InvalidInput(f"Week {chosen.name} has not begun.", hint=f"It is week {present.name}.")
    until = min(now, chosen.ends)
    earlier = chosen.shifted(-1)
    notes: list[str] = []
    totals, steps = await _week(session, chosen.begins, until, notes)
    before, steps_before = await _week(
        session, earlier.begins, min(earlier.begins + (until - chosen.begins), earlier.ends), []
    )
    over = until == chosen.ends
    if not over:
        notes.append(f"The week is not over: {earlier.name} is shown up to the same moment.")
    notes.append("Items by status are as they are now; how many there were of each then is not kept.")
    waiting = (await stuck.stuck(session, limit=SHOWN)).tasks if not over else []
    return Summary(
        week=chosen.name, zone=zone, begins=chosen.begins, ends=chosen.ends, until=until, over=over,
        previous=earlier.name, next=None if chosen.name == present.name else chosen.shifted(1).name,
        totals=totals, before=before, items=await counts.statuses(session),
        steps=sorted(steps.values(), key=lambda one: -(one.done + one.failed)), steps_before=steps_before,
        families=await _new_families(session, chosen, until, notes),
        waiting=[task for task in waiting if task["cause"] != "failed"][:5],
        work=await _work(session, chosen.begins, until, notes), notes=notes,
    )  # fmt: skip


async def _week(
    session: AsyncSession, begins: dt.datetime, until: dt.datetime, notes: list[str]
) -> tuple[Totals, dict[str, StepWeek]]:
    stretch = {"from": begins, "to": until}
    totals, steps = Totals(), _steps(await fetch(session, "summary.steps", stretch))
    for step in steps.values():
        totals.done += step.done
        totals.failed += step.failed
        totals.retried += step.retried
        totals.skipped += step.skipped
    nth = max(1, round(totals.done / SAMPLED))
    for row in await fetch(session, "summary.times", stretch | {"nth": nth}):
        steps[row["step"]].median, steps[row["step"]].p95 = row["median"], row["p95"]
    if nth > 1:
        notes.append(f"Median and 95th percentile are of every {nth}th task, spread over the week.")
    put_out = await fetch_one(session, "summary.put_out", stretch)
    assert put_out is not None
    totals.files, totals.bytes = put_out["files"], put_out["bytes"]
    await _items(session, totals, stretch, notes)
    return totals, steps


def _steps(rows: Iterable[Row]) -> dict[str, StepWeek]:
    found: dict[str, StepWeek] = {}
    for row in rows:
        one = found.setdefault(row["step"], StepWeek(row["step"]))
        outcome, attempts = row["outcome"], int(row["attempts"])
        if outcome in ("done", "failed", "skipped"):
            setattr(one, outcome, getattr(one, outcome) + attempts)
        else:
            one.other[outcome] = one.other.get(outcome, 0) + attempts
        if outcome == "failed":
            one.retried += int(row["followed"])
        if outcome == "done":
            one.reused += attempts if row["reused"] else 0
            version = f"{row['app']} {row['version'] or '(version unknown)'}"
            one.versions[version] = one.versions.get(version, 0) + attempts
    return found


async def _items(session: AsyncSession, totals: Totals, stretch: dict[str, dt.datetime], notes: list[str]) -> None:
    row = await fetch_one(session, "summary.items", stretch)
    assert row is not None
    since: dt.datetime | None = row["known_since"]
    if since is not None and since >= stretch["to"]:
        notes.append("How many items came in or were edited is not known: the change feed does not reach back so far.")
        return
    if since is not None and since > stretch["from"]:
        notes.append(f"Items that came in or were edited are counted since {since:%Y-%m-%d %H:%M} UTC only.")
    totals.added, totals.edited, totals.deleted = row["added"], row["edited"], row["deleted"]


async def _new_families(session: AsyncSession, week: Week, until: dt.datetime, notes: list[str]) -> list[NewFamily]:
    """Families of failed attempts that the weeks before did not have, the most frequent first."""
    params = {"compared": failures.COMPARED, "limit": REASONS}
    rows = await fetch(session, "summary.errors", params | {"from": week.begins, "to": until})
    back = week.shifted(-BEFORE).begins
    earlier = await fetch(session, "summary.errors", params | {"from": back, "to": week.begins}) if rows else []
    known = {failures.family(row["shape"]) for row in earlier}
    new: dict[str, list[Row]] = {}
    for row in rows:
        if (key := failures.family(row["shape"])) not in known:
            new.setdefault(key, []).append(row)
    if len(rows) == REASONS or len(earlier) == REASONS:
        notes.append(f"New failures are told from the {REASONS:,} most frequent reasons of each stretch.")
    firsts = {key: min(of, key=lambda row: row["first_at"]) for key, of in new.items()}
    tasks = await fetch(session, "summary.of_tasks", {"tasks": [row["task"] for row in firsts.values()]})
    where: dict[int, Row] = {row["task"]: row for row in tasks}
    found = [
        NewFamily(
            key,
            failures.normalised(of[0]["shape"]),
            sum(row["attempts"] for row in of),
            firsts[key]["first_at"],
            *(where.get(firsts[key]["task"], {}).get(name) for name in ("item", "run")),
        )
        for key, of in new.items()
    ]
    return sorted(found, key=lambda one: -one.attempts)[:SHOWN]


async def _work(session: AsyncSession, begins: dt.datetime, until: dt.datetime, notes: list[str]) -> Work:
    rows = await fetch(session, "summary.workers", {"from": begins, "to": until})
    first = (await fetch(session, "summary.first_worker"))[0]["at"]
    hosts: dict[str, int] = {}
    for row in rows:
        hosts[row["hostname"]] = hosts.get(row["hostname"], 0) + 1
    if first is None or first >= until:
        notes.append("Nothing is known of workers in that week.")
        return Work(0, {}, None, None, None)
    gaps = _gaps(rows, max(begins, first), until)
    longest = max(gaps, key=lambda gap: gap[1] - gap[0], default=None)
    notes.append(
        "Time without a worker is told from their signs of life, which are up to a minute apart; "
        "of a worker that is gone it is not known whether it slept in between."
    )
    return Work(
        len(rows),
        hosts,
        sum((end - start).total_seconds() for start, end in gaps),
        (longest[1] - longest[0]).total_seconds() if longest else 0.0,
        longest[0] if longest else None,
    )


def _gaps(rows: Sequence[Row], begins: dt.datetime, until: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
    """Stretches of more than a minute in which no worker was there."""
    gaps: list[tuple[dt.datetime, dt.datetime]] = []
    covered = begins
    stretches: list[Any] = [(row["started_at"], row["until"]) for row in rows]
    for start, end in [*sorted(stretches), (until, until)]:
        if start - covered > dt.timedelta(minutes=1):
            gaps.append((covered, min(start, until)))
        covered = max(covered, end)
    return gaps
