"""Failures by family: which messages there are, how often, where, and what became of those that were tried again."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.domain import failures
from tidemill.errors import NotFound
from tidemill.runner import redo, runs

DAYS = 30
"""Without a run named: the runs that are active or ended within so many days."""

TAIL = 2000
"""Characters of an example's log that are shown: the last ones."""

SHOWN = 200
"""Families that are told of at most, the largest first."""


@dataclass(slots=True)
class Family:
    """Failures with one message. `steps`, `apps`, `versions`, `runs`: tasks by each, the most first."""

    id: str
    message: str
    tasks: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    apps: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    """By app and version: `convert 1.2`."""
    runs: dict[int, int] = field(default_factory=dict)
    first_at: dt.datetime | None = None
    last_at: dt.datetime | None = None
    example: Row | None = None
    """The newest of them: `task, fence, run, item, step, reason, error, log` (its end), `finished_at`."""
    trials: list[Row] = field(default_factory=list)
    """The last trial of each run: `run, tried, done, failed, cancelled, open, started_at`."""


@dataclass(frozen=True, slots=True)
class Failures:
    """All failures of one run, or of the runs of late. `families`: the largest first; `more`: families left out."""

    run: int | None
    tasks: int
    days: int | None
    families: list[Family]
    more: int = 0


async def families(
    session: AsyncSession, run: int | None = None, *, step: str | None = None, app: str | None = None, days: int = DAYS
) -> Failures:
    """What stands failed, by family: of a run, or of all that are active or ended in the last `days` days.

    `step`, `app`: only what failed there, by exact name. Raises NotFound.
    """
    if run is not None:
        await runs.get(session, run)
    named = [row["id"] for row in await fetch(session, "failures.runs", {"run": run, "days": days})]
    params = {"runs": named, "step": step, "app": app, "compared": failures.COMPARED}
    rows = await fetch(session, "failures.grouped", params) if named else []
    found = await asyncio.to_thread(_grouped, rows) if len(rows) > redo.MANY else _grouped(rows)
    shown = found[:SHOWN]
    await _with_examples(session, shown)
    await _with_trials(session, shown, named)
    return Failures(
        run, sum(one.tasks for one in found), None if run is not None else days, shown, len(found) - len(shown)
    )


async def family(session: AsyncSession, run: int, key: str) -> Family:
    """One family of a run. Raises NotFound."""
    found = [one for one in (await families(session, run)).families if one.id == key]
    if not found:
        raise NotFound(f"Nothing of run {run} stands failed in a family {key!r}.")
    return found[0]


def _grouped(rows: Iterable[Row]) -> list[Family]:
    """Families of rows as `failures.grouped` gives them, the largest first; of the examples only which task."""
    found: dict[str, Family] = {}
    counts: dict[str, dict[str, Counter[Any]]] = {}
    for row in rows:
        key, tasks = failures.family(row["reason"]), int(row["tasks"])
        one = found.setdefault(key, Family(key, failures.normalised(row["reason"])))
        one.tasks += tasks
        one.first_at = min(one.first_at or row["first_at"], row["first_at"])
        if one.last_at is None or row["last_at"] > one.last_at:
            one.last_at, one.example = row["last_at"], {"task": row["example"]}
        by = counts.setdefault(key, {name: Counter() for name in ("steps", "apps", "versions", "runs")})
        by["steps"][row["step"]] += tasks
        by["apps"][row["app"]] += tasks
        by["versions"][f"{row['app']} {row['version'] or '(version unknown)'}"] += tasks
        by["runs"][row["run"]] += tasks
    for key, by in counts.items():
        for name, counter in by.items():
            setattr(found[key], name, dict(counter.most_common(20)))
    return sorted(found.values(), key=lambda one: (-one.tasks, one.id))


async def _with_examples(session: AsyncSession, shown: Sequence[Family]) -> None:
    of = {one.example["task"]: one for one in shown if one.example}
    for row in await fetch(session, "failures.examples", {"tasks": list(of), "tail": TAIL}):
        of[row["task"]].example = row


async def _with_trials(session: AsyncSession, shown: Sequence[Family], runs: Sequence[int]) -> None:
    of = {one.id: one for one in shown}
    for row in await fetch(session, "failures.trials", {"runs": list(runs)}):
        if one := of.get(row.pop("family")):
            one.trials.append(row | {"open": row["tried"] - row["done"] - row["failed"] - row["cancelled"]})
