"""How many stand where: items by status, tasks by step and state. From kept sums: it costs the same at any size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.states import FINAL, TaskState
from tidemill.runner import runs


@dataclass(slots=True)
class StepCount:
    """Tasks at a step of a pipeline, as that step sees them: `done` have it behind them, the others stand at it.

    `counts` has every state, and `to_come`: those that will still reach it.
    """

    pipeline: str
    step: str
    app: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Counts:
    """The whole site, or one run (`items` is empty then).

    `held`: `reason, step, tasks, since`. `oldest`: what has been due longest: `item, run, step, since, seconds`.
    """

    run: int | None
    items: dict[str, int]
    steps: list[StepCount]
    held: list[Row]
    oldest: Row | None


async def counts(session: AsyncSession, run: int | None = None, *, active: bool = False) -> Counts:
    """How many stand where now; `active`: in the active runs only, not in those of all time. Raises NotFound."""
    if run is not None:
        await runs.get(session, run)
    return Counts(
        run=run,
        items=await statuses(session) if run is None else {},
        steps=_steps(await fetch(session, "counts.steps", {"run": run, "active": active})),
        held=await fetch(session, "counts.held", {"run": run}),
        oldest=await fetch_one(session, "counts.oldest", {"run": run}),
    )


async def statuses(session: AsyncSession) -> dict[str, int]:
    """Items by status, the most first."""
    return {row["status"]: row["items"] for row in await fetch(session, "counts.statuses")}


def _steps(rows: Iterable[Row]) -> list[StepCount]:
    """Steps of the same name in versions of one pipeline are one; in the order of the newest version that has them."""
    versions: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        versions.setdefault((row["pipeline"], row["version"]), []).append(row)
    found: dict[tuple[str, str], StepCount] = {}
    for steps in reversed(versions.values()):
        for step in steps:
            seen = _as_seen(step["position"], steps)
            key = step["pipeline"], step["step"]
            one = found.setdefault(key, StepCount(*key, step["app"], dict.fromkeys(seen, 0)))
            for state, tasks in seen.items():
                one.counts[state] += tasks
    return sorted(found.values(), key=lambda one: one.pipeline)


def _as_seen(position: int, steps: list[Row]) -> dict[str, int]:
    standing = {row["position"]: row["standing"] for row in steps}
    here = {state.value: int(standing[position].get(state, 0)) for state in TaskState}
    here["done"] += sum(sum(tasks.values()) for step, tasks in standing.items() if step > position)
    here["to_come"] = sum(
        tasks.get(state, 0)
        for step, tasks in standing.items()
        if step < position
        for state in TaskState
        if state not in FINAL
    )
    return here
