"""How a run stands and what is to be expected of it: counts, pace, and an honest estimate of the time left."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain import quiet_hours
from tidemill.domain.states import FINAL, TaskState
from tidemill.runner import runs

PACE_SECONDS = 60.0
PACE_CHANGES = 4_000
ENOUGH_STEPS = 5
"""Steps that must have finished lately before their pace says anything."""

SAMPLE = 200


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of a run. `counts`: tasks by state as this step sees them: `done` have passed it, the others stand at it,
    `to_come` will still reach it."""

    position: int
    name: str
    app: str
    kind: str
    url: str
    version: str | None
    parameters: dict[str, Any]
    concurrency: int | None
    paused: bool
    circuit_open_until: dt.datetime | None
    circuit_reason: str | None
    held_back: str | None
    """Why waiting tasks of this step are not started, in words."""
    counts: dict[str, int]
    median: float | None
    """Seconds that an attempt of this app takes in the median; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class RunOverview:
    """A run at one moment. A step is settled when it is done, or never will be: its item failed or was cancelled.

    `totals`: tasks by state. `rate`: steps done per minute lately, `item_rate` the same in whole items; None where
    nothing moved. `seconds_left` is an estimate, None where there is none; `time_left` says either in words.
    """

    id: int
    batch: str
    pipeline: str
    pipeline_version: int
    state: str
    paused: bool
    priority: int
    reuse: bool
    watch: str | None
    """The watch that lets items enter this run as they come."""
    created_at: dt.datetime
    finished_at: dt.datetime | None
    seconds: float
    """Since it was started, until it finished or now."""
    total: int
    totals: dict[str, int]
    steps: list[StepView]
    steps_settled: int
    steps_total: int
    percent: float
    rate: float | None
    item_rate: float | None
    seconds_left: float | None
    time_left: str


async def overview(session: AsyncSession, run: int) -> RunOverview:
    """How a run stands now, with its steps and what is to be expected. Raises NotFound."""
    row = await runs.get(session, run)
    counts = {(c["step"], c["state"]): int(c["tasks"]) for c in await fetch(session, "runs.counts", {"run": run})}
    found = await fetch(session, "look.medians", {"run": run, "sample": SAMPLE})
    medians = {m["step"]: m["median"] for m in found}
    steps = [
        _step(step, row, counts, medians.get(step["position"]))
        for step in await fetch(session, "runs.steps", {"run": run})
    ]
    clock = await fetch_one(session, "look.clock", {"run": run})
    assert clock is not None
    totals = {state.value: sum(n for (_, s), n in counts.items() if s == state) for state in TaskState}
    settled = sum(n * (row["steps"] if state in FINAL else step) for (step, state), n in counts.items())
    whole = sum(totals.values()) * row["steps"]
    rate = await _rate(session, run) if row["state"] == "active" else None
    left, words = await _time_left(session, row, steps, totals, whole - settled, rate)
    return RunOverview(
        **{key: row[key] for key in _AS_IS},
        seconds=clock["seconds"],
        totals=totals,
        steps=steps,
        steps_settled=settled,
        steps_total=whole,
        percent=_percent(settled, whole),
        rate=rate,
        item_rate=round(rate / row["steps"], 2) if rate is not None else None,
        seconds_left=left,
        time_left=words,
    )


_AS_IS = ("id", "batch", "pipeline", "pipeline_version", "state", "paused", "priority", "reuse", "watch", "created_at",
          "finished_at", "total")  # fmt: skip


def duration(seconds: float) -> str:
    """A span in words that claim no more precision than an estimate has: `40 s`, `12 min`, `3 h 20 min`, `2 days`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(round(minutes / 10) * 10, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(minutes / 1440)} days"


def _percent(settled: int, whole: int) -> float:
    """Rounded down, so that 100 means all of it."""
    return settled * 1000 // whole / 10 if whole else 100.0


def _step(row: Row, run: Row, counts: dict[tuple[int, str], int], median: float | None) -> StepView:
    here = {state.value: counts.get((row["position"], state.value), 0) for state in TaskState}
    beyond = sum(n for (step, _), n in counts.items() if step > row["position"])
    here["done"] += beyond
    here["to_come"] = sum(n for (step, state), n in counts.items() if step < row["position"] and state not in FINAL)
    return StepView(
        **{key: row[key] for key in _STEP_AS_IS}, held_back=_held_back(row, run), counts=here, median=median
    )


_STEP_AS_IS = ("position", "name", "app", "kind", "url", "version", "parameters", "concurrency", "paused",
               "circuit_open_until", "circuit_reason")  # fmt: skip


def _held_back(step: Row, run: Row) -> str | None:
    if run["state"] != "active":
        return None
    if run["paused"]:
        return "the run is paused"
    if step["paused"]:
        return f"{step['app']} is paused"
    if step["circuit_open"]:
        until = step["circuit_open_until"]
        why = f": {step['circuit_reason']}" if step["circuit_reason"] else ""
        return f"{step['app']} is down; it is tried again at {until.astimezone(dt.UTC):%H:%M:%S} UTC{why}"
    return _quiet(step["app"], step["quiet"], run) or _quiet("the run", run["quiet"], run)


def _quiet(who: str, quiet: list[Row], run: Row) -> str | None:
    end = quiet_hours.until(quiet, run["now"])
    return f"{who} has quiet hours until {quiet_hours.told(end, run['now'])}" if end else None


async def _rate(session: AsyncSession, run: int) -> float | None:
    pace = await fetch_one(session, "look.pace", {"run": run, "seconds": PACE_SECONDS, "changes": PACE_CHANGES})
    if pace is None or not pace["done"] or not pace["seconds"]:
        return None
    return round(60 * int(pace["done"]) / float(pace["seconds"]), 1)


async def _time_left(
    session: AsyncSession, run: Row, steps: list[StepView], totals: dict[str, int], left: int, rate: float | None
) -> tuple[float | None, str]:
    """Seconds left, and words that say that it is an estimate and what it is made from."""
    if run["state"] == "active" and left == 0 and run["watch"]:
        return None, "unknown: it takes in what comes, and all that has come is settled"
    if run["state"] != "active" or left == 0:
        return None, "finished" if run["state"] != "cancelled" else "cancelled"
    if run["paused"]:
        return None, "unknown: the run is paused"
    blocked = [step for step in steps if step.held_back and step.counts["waiting"]]
    if blocked and totals["running"] + totals["submitted"] == 0 and rate is None:
        return None, f"unknown: {blocked[0].held_back}"
    live = await fetch(session, "workers.live", {"seconds": 45.0})
    if not live:
        return None, "unknown: no worker is running"
    if rate is not None and rate * PACE_SECONDS / 60 >= ENOUGH_STEPS:
        seconds = 60 * left / rate
        return seconds, f"about {duration(seconds)}: an estimate from the pace of the last minute"
    estimate = _from_medians(steps, sum(worker["slots"] for worker in live))
    if estimate is None:
        return None, "unknown: too little has finished to estimate from"
    return estimate, f"about {duration(estimate)}: an estimate from how long these apps took before"


def _from_medians(steps: list[StepView], slots: int) -> float | None:
    """What the slowest step needs for all its tasks, at its own concurrency; at least one item's way through."""
    needs, way = [], 0.0
    for step in steps:
        tasks = sum(step.counts[state] for state in ("waiting", "running", "submitted", "to_come"))
        if not tasks:
            continue
        if step.median is None:
            return None
        needs.append(tasks * step.median / max(1, min(step.concurrency or slots, slots)))
        way += step.median
    return max(max(needs), way) if needs else None
