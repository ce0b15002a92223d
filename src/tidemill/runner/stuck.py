"""Which files do not move, and why: tasks that wait, are held, failed, or take longer than expected; longest first."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.domain import quiet_hours
from tidemill.errors import InvalidInput
from tidemill.runner import failures, runs
from tidemill.runner.outlook import duration

WAITS = 300.0
"""Seconds that a due task may wait for its turn before it counts as stuck."""

SLOW = 5.0
"""A step takes longer than expected after so many of its app's medians."""

AT_LEAST = 60.0
"""Seconds before which nothing takes longer than expected."""

ALIVE = 45.0
"""Seconds since a worker's last sign of life."""

CAUSES = {
    "run paused": "its run is paused",
    "app paused": "its app is paused",
    "app down": "its app is down",
    "quiet hours": "these are quiet hours",
    "no worker": "no worker can do this step",
    "limit reached": "its app has as much in hand as it may",
    "turn": "it waits for its turn: the workers are busy",
    "held": "it is held back",
    "retry due": "it failed and will be tried again",
    "slow": "it takes longer than expected",
    "silent": "its worker has fallen silent",
    "failed": "it failed, and nothing will happen by itself",
}
"""Every cause, with its meaning."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why tasks at one step of one run do not move. `tasks` is exact, except that of `slow` and `silent` only those are
    counted that were looked at (the longest)."""

    cause: str
    why: str
    run: int
    step: str
    app: str
    tasks: int
    seconds: float | None
    """For how long the first of them has not moved."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """`causes`: the most tasks first. `tasks`: `item, run, step, app, state, cause, why, since, seconds`; the longest
    first, `limit` of them at most."""

    causes: list[Cause]
    tasks: list[Row]


async def stuck(
    session: AsyncSession,
    *,
    run: int | None = None,
    cause: str | None = None,
    longer: float = WAITS,
    limit: int = 100,
    days: int = failures.DAYS,
) -> Stuck:
    """What does not move, and why. A task that is due counts when it has waited `longer` seconds.

    Raises NotFound, InvalidInput.
    """
    if cause is not None and cause not in CAUSES:
        raise InvalidInput(f"There is no cause {cause!r}.", hint=f"The causes are: {', '.join(CAUSES)}.")
    if run is not None:
        await runs.get(session, run)
    lanes = [lane for lane in await fetch(session, "stuck.lanes", {"alive": ALIVE}) if run in (None, lane["run"])]
    in_hand: Counter[int] = Counter()
    for lane in lanes:
        in_hand[lane["app_id"]] += lane["in_hand"]
    for lane in lanes:
        lane["cause"], lane["why"] = _obstacle(lane, in_hand[lane["app_id"]])
    failed_runs = [row["id"] for row in await fetch(session, "failures.runs", {"run": run, "days": days})]
    tasks = await _tasks(session, lanes, longer, limit)
    causes = _lane_causes(lanes, tasks, longer)
    if failed_runs:
        some = {"runs": failed_runs, "limit": limit}
        tasks += [_failed(row) for row in await fetch(session, "stuck.failed", some)]
        causes += _failed_causes(await fetch(session, "stuck.failed_counts", some), tasks)
    tasks = [task for task in tasks if cause in (None, task["cause"])]
    return Stuck(
        sorted((one for one in causes if cause in (None, one.cause)), key=lambda one: -one.tasks),
        [_shown(task) for task in sorted(tasks, key=lambda task: -task["seconds"])[:limit]],
    )


_SHOWN = ("item", "run", "step", "app", "state", "cause", "why", "since", "seconds", "task")


def _shown(task: Row) -> Row:
    return {key: task[key] for key in _SHOWN}


def _obstacle(lane: Row, in_hand: int) -> tuple[str, str]:
    """What keeps a due task of a lane from being claimed; the first that does."""
    now: dt.datetime = lane["now"]
    if lane["run_paused"]:
        return "run paused", f"run {lane['run']} is paused"
    if lane["app_paused"]:
        return "app paused", f"{lane['app']} is paused"
    if lane["circuit_open"]:
        why = f": {lane['circuit_reason']}" if lane["circuit_reason"] else ""
        left = (lane["circuit_open_until"] - now).total_seconds()
        return "app down", f"{lane['app']} is down, and is tried again in {duration(left)}{why}"
    if end := quiet_hours.until(lane["quiet"], now):
        return "quiet hours", f"quiet hours until {end:%a %H:%M} {end.tzname()}"
    if lane["unread"]:
        return "app down", f"nothing is known of the version of {lane['app']}: tidemill apps refresh {lane['app']}"
    if not lane["workers"]:
        return "no worker", "no worker is running"
    if not lane["served"]:
        if lane["kind"] == "python":
            return "no worker", f"no worker that runs has the step {lane['url'].removeprefix('python:')}"
        return "no worker", f"no worker that runs can do steps of the kind {lane['kind']}"
    if lane["concurrency"] is not None and in_hand >= lane["concurrency"]:
        return "limit reached", f"{lane['app']} has {in_hand} in hand, and may have {lane['concurrency']}"
    return "turn", "it waits for its turn" + (": the workers are busy" if lane["in_hand"] else "")


async def _tasks(session: AsyncSession, lanes: Sequence[Row], longer: float, limit: int) -> list[Row]:
    """The tasks of lanes that do not move, `limit` per lane and kind at most."""
    of = {(lane["run"], lane["position"]): lane for lane in lanes}

    async def longest(statement: str, wanted: Iterable[Row], **params: float) -> list[Row]:
        places = list(wanted)
        if not places:
            return []
        columns = {"runs": [lane["run"] for lane in places], "steps": [lane["position"] for lane in places]}
        rows = await fetch(session, f"stuck.{statement}", columns | {"limit": limit, **params})
        return [row | _of_lane(of[row["run"], row["position"]]) for row in rows]

    found = await longest("waiting", (lane for lane in lanes if lane["oldest"] is not None), seconds=longer)
    for row in await longest("held", (lane for lane in lanes if lane["held"])):
        found.append(row | {"cause": "held", "why": row["reason"] or "held back by a person"})
    for row in await longest("later", (lane for lane in lanes if lane["later"])):
        why = f"retry due in {duration(row['due_in'])}" + (f": {row['reason']}" if row["reason"] else "")
        found.append(row | {"cause": "retry due", "why": why})
    working = await longest("in_hand", (lane for lane in lanes if lane["in_hand"]))
    return found + await _slow(session, working)


def _of_lane(lane: Row) -> Row:
    return {key: lane[key] for key in ("step", "app", "cause", "why", "deadline")}


async def _slow(session: AsyncSession, working: Sequence[Row]) -> list[Row]:
    """Of tasks in hand those that take longer than expected, or whose worker says nothing any more."""
    found = []
    medians: dict[tuple[int, int], float | None] = {}
    for run in sorted({row["run"] for row in working if row["seconds"] > AT_LEAST}):
        for row in await fetch(session, "look.medians", {"run": run, "sample": 100}):
            medians[run, row["step"]] = row["median"]
    for row in working:
        median = medians.get((row["run"], row["position"]))
        expected = max(AT_LEAST, SLOW * median) if median is not None else max(AT_LEAST, 0.8 * row["deadline"])
        took = f"worked on for {duration(row['seconds'])}"
        if row["silent"]:
            host = row["hostname"] or "an unknown host"
            why = f"its worker on {host} has not been heard of; another takes it over soon"
            found.append(row | {"cause": "silent", "why": why})
        elif row["seconds"] > expected:
            usual = f"{row['app']} takes {duration(median)} in the median" if median is not None else (
                f"the deadline is {duration(row['deadline'])}, and what is usual is not known"
            )  # fmt: skip
            found.append(row | {"cause": "slow", "why": f"{took}; {usual}"})
    return found


def _failed(row: Row) -> Row:
    return row | {"cause": "failed", "why": row["reason"] or "no reason was given"}


def _lane_causes(lanes: Iterable[Row], tasks: Sequence[Row], longer: float) -> list[Cause]:
    found = []
    looked = Counter((task["run"], task["step"], task["cause"]) for task in tasks)
    for lane in lanes:
        where = lane["run"], lane["step"], lane["app"]
        due = lane["waiting"] - lane["held"] - lane["later"]
        waited = (lane["now"] - lane["oldest"]).total_seconds() if lane["oldest"] else 0.0
        if due > 0 and waited >= longer:
            found.append(Cause(lane["cause"], lane["why"], *where, due, waited))
        for name, number in (("held", lane["held"]), ("retry due", lane["later"])):
            if number:
                found.append(Cause(name, CAUSES[name], *where, number, _longest(tasks, lane, name)))
        for name in ("slow", "silent"):
            if number := looked[lane["run"], lane["step"], name]:
                found.append(Cause(name, CAUSES[name], *where, number, _longest(tasks, lane, name)))
    return found


def _failed_causes(rows: Iterable[Row], tasks: Sequence[Row]) -> list[Cause]:
    return [
        Cause(
            "failed",
            CAUSES["failed"],
            row["run"],
            row["step"],
            row["app"],
            row["tasks"],
            _longest(tasks, row, "failed"),
        )
        for row in rows
    ]


def _longest(tasks: Iterable[Row], lane: Row, cause: str) -> float | None:
    of = (t["seconds"] for t in tasks if (t["run"], t["step"], t["cause"]) == (lane["run"], lane["step"], cause))
    return max(of, default=None)
