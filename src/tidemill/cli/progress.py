"""How far a run is: counts per step and state, pace, and an estimate of the time left."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.db.database import Database, Row, fetch
from tidemill.domain.states import FINAL, TaskState
from tidemill.runner import runs

PACE_SECONDS = 30.0
"""The pace is that of this last while."""

SHOWN_FAILURES = 20


@dataclass(frozen=True, slots=True)
class StepProgress:
    """One step of a run. `counts`: items by state; `done` are those that have this step behind them."""

    position: int
    name: str
    app: str
    counts: dict[str, int]
    held: str | None
    """Why its tasks are held back, if they are."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment."""

    run: Row
    steps: list[StepProgress]
    totals: dict[str, int]
    """Items by state."""

    @property
    def over(self) -> bool:
        return bool(self.run["state"] != "active")

    @property
    def steps_done(self) -> int:
        return sum(step.counts["done"] for step in self.steps)

    @property
    def steps_left(self) -> int:
        """Steps that are still to be done, if nothing fails."""
        left = len(self.steps)
        behind = [sum(step.counts[state] for state in TaskState if state not in FINAL) for step in self.steps]
        return sum(count * (left - position) for position, count in enumerate(behind))

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        steps = [
            {"position": s.position, "name": s.name, "app": s.app, "counts": s.counts, "held": s.held}
            for s in self.steps
        ]
        return {"run": self.run, "counts": self.totals, "steps": steps}


@dataclass(slots=True)
class Pace:
    """Steps per second, from what a watcher has seen."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, progress: Progress) -> None:
        """Take this moment into account."""
        now = time.monotonic()
        self.seen.append((now, progress.steps_done))
        while len(self.seen) > 2 and now - self.seen[0][0] > PACE_SECONDS:
            self.seen.popleft()

    def rate(self) -> float | None:
        """Steps a second of late; None as long as nothing is known."""
        if len(self.seen) < 2:
            return None
        (began, before), (ended, after) = self.seen[0], self.seen[-1]
        return max(after - before, 0) / (ended - began) if ended > began else None

    def left(self, progress: Progress) -> float | None:
        """Seconds that the rest will take if the pace holds: an estimate."""
        rate = self.rate()
        return progress.steps_left / rate if rate else None


async def progress_of(database: Database, run: int) -> Progress:
    """How far this run is now. Raises NotFound."""
    async with database.begin() as session:
        row = await runs.get(session, run)
        steps = await fetch(session, "runs.steps", {"run": run})
        counts = await fetch(session, "runs.counts", {"run": run})
    return Progress(row, _per_step(row, steps, counts), _totals(counts))


async def failures(database: Database, run: int, limit: int = SHOWN_FAILURES) -> list[Row]:
    """The first items of a run that failed, each with `item`, `step` and `reason`."""
    params = {"run": run, "from": 0, "states": [TaskState.FAILED], "step": None, "prefix": None, "limit": limit}
    async with database.begin() as session:
        return await fetch(session, "runs.window", params)


def _totals(counts: Sequence[Row]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for row in counts:
        found[row["state"]] += row["tasks"]
    return {state.value: found[state.value] for state in TaskState}


def _per_step(run: Row, steps: Sequence[Row], counts: Sequence[Row]) -> list[StepProgress]:
    here: Counter[tuple[int, str]] = Counter()
    for row in counts:
        here[row["step"], row["state"]] += row["tasks"]
    beyond = 0
    found = []
    for step in reversed(steps):
        position = step["position"]
        mine = {state.value: here[position, state.value] for state in TaskState}
        arrived = sum(mine.values())
        mine["done"] += beyond
        beyond += arrived
        found.append(StepProgress(position, step["name"], step["app"], mine, _held(run, step)))
    return found[::-1]


def _held(run: Row, step: Row) -> str | None:
    if run["state"] != "active":
        return None
    if run["paused"]:
        return "paused"
    if step["paused"]:
        return f"app {step['app']} is paused"
    if step["circuit_open_until"] is not None:
        return f"app {step['app']} is down: {step['circuit_reason']}"
    return None
