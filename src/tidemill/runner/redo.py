"""Doing things again: retry what failed, re-run from a step, promote a late result. Each can be previewed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain import failures
from tidemill.domain.states import TaskState
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.runner import runs

MANY = 2000
"""From so many different reasons on they are compared beside the event loop."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks of a run; every part narrows. Empty: all of them."""

    tasks: Sequence[int] | None = None
    states: Sequence[str] | None = None
    step: int | None = None
    items: Sequence[str] | None = None
    reason: str | None = None
    """Words that the task's reason contains."""
    app: str | None = None
    """The app of the step that the task stands at."""
    family: str | None = None
    """A failure family (`domain.failures`): of what has failed, that with such a message."""


@dataclass(frozen=True, slots=True)
class Place:
    """A task, and the step from which it is to be done again."""

    task: int
    run: int
    step: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a re-run would touch: tasks that start again, finished steps that are superseded, and what stays."""

    tasks: int
    items: int
    runs: int
    steps: int
    busy: int
    """Tasks that are being worked on, and so are left alone."""
    not_reached: int
    """Tasks that have not come to that step yet."""
    elsewhere: int
    """Tasks whose step another system has done: what it had before it is not known here."""


async def matching(session: AsyncSession, run: int, which: Filter) -> list[int]:
    """The ids of the tasks that a filter names, in order. Raises NotFound, InvalidInput."""
    row = await runs.get(session, run)
    known = {state.value for state in TaskState}
    if unknown := set(which.states or ()) - known:
        raise InvalidInput(f"Unknown state {', '.join(sorted(unknown))}; a task is one of {', '.join(sorted(known))}.")
    if which.step is not None:
        _check_step(row, which.step)
    if which.family is not None and which.states is None:
        which = replace(which, states=[TaskState.FAILED])
    params = {
        "run": run,
        "tasks": list(which.tasks) if which.tasks is not None else None,
        "states": list(which.states) if which.states is not None else None,
        "steps": await _steps(session, run, which),
        "items": list(which.items) if which.items is not None else None,
        "reason": which.reason,
        "reasons": await _reasons(session, run, which.family) if which.family is not None else None,
        "compared": failures.COMPARED,
    }
    return [found["id"] for found in await fetch(session, "runs.matching", params)]


async def retry(session: AsyncSession, run: int, which: Filter | None = None, *, first: int | None = None) -> int:
    """Failed tasks that match become due again at the step where they failed; how many. Default: all that failed.

    `first`: only so many of them, spread over the run; of a family it is remembered which, and so what became of them.
    Raises NotFound, InvalidInput, Conflict (there are none).
    """
    which = failed(which)
    if first is not None and not 1 <= first <= 1000:
        raise InvalidInput(f"To try {first} first makes no sense: choose from 1 to 1000.")
    tasks = await matching(session, run, which)
    if first is not None:
        tasks = spread(tasks, first)
    await fetch(session, "runs.reopen", {"runs": [run]})
    moved = await fetch(session, "runs.retry", {"run": run, "tasks": tasks})
    if not moved:
        raise Conflict(f"Run {run} has no failed or cancelled task that matches: nothing was changed.")
    if first is not None and which.family is not None:
        await _remember(session, run, which.family, moved)
    await runs.announce(session)
    return len(moved)


def failed(which: Filter | None) -> Filter:
    """The filter of a retry: where it names no states, what has failed."""
    which = which or Filter()
    return which if which.states is not None else replace(which, states=[TaskState.FAILED])


def spread(tasks: Sequence[int], most: int) -> list[int]:
    """At most so many tasks, evenly from beginning to end: the first ones may be alike."""
    return [tasks[n * len(tasks) // most] for n in range(most)] if len(tasks) > most else list(tasks)


async def preview_rerun(session: AsyncSession, run: int, step: int, which: Filter | None = None) -> Preview:
    """What `rerun` with the same arguments would touch now."""
    return await preview(session, await _from_step(session, run, step, which))


async def rerun(session: AsyncSession, run: int, step: int, which: Filter | None = None, *, reuse: bool = False) -> int:
    """Put matching tasks back at `step`, with everything after it; how many. Old attempts are kept as superseded."""
    moved = await put_back(session, await _from_step(session, run, step, which), reuse=reuse)
    if not moved:
        raise Conflict(f"Run {run} has no task that has been at step {step} and is not being worked on.")
    return moved


async def preview(session: AsyncSession, places: Sequence[Place]) -> Preview:
    """What `put_back` would touch now."""
    row = await fetch_one(session, "runs.rerun_preview", _columns(places))
    assert row is not None
    return Preview(**row)


async def put_back(session: AsyncSession, places: Sequence[Place], *, reuse: bool = False) -> int:
    """Put tasks, of any runs, back at a step each; how many. What is being worked on or never came there is left."""
    if not places:
        return 0
    columns = _columns(places)
    await fetch(session, "runs.reopen", {"runs": sorted({place.run for place in places})})
    # First the rows, then in a statement of its own their attempts: one may have been handed in while we waited.
    await fetch(session, "runs.hold", {"tasks": columns["tasks"]})
    moved = await fetch(session, "runs.rerun", columns | {"fresh": not reuse})
    await runs.announce(session)
    return len(moved)


async def promote(session: AsyncSession, task: int, fence: int) -> str:
    """Apply a late result by a person's decision; the task's new state. Raises NotFound, Conflict."""
    attempt = await fetch_one(session, "items.attempt", {"task": task, "fence": fence})
    if attempt is None:
        raise NotFound(f"There is no attempt {task}-{fence}.")
    await fetch(session, "runs.reopen", {"runs": [attempt["run_id"]]})
    moved = await fetch_one(session, "runs.promote", {"task": task, "fence": fence})
    if moved is None:
        raise Conflict(
            f"Attempt {task}-{fence} cannot be applied: it is not late, it failed, or its task has moved on."
        )
    await runs.announce(session)
    return str(moved["state"])


async def _from_step(session: AsyncSession, run: int, step: int, which: Filter | None) -> list[Place]:
    _check_step(await runs.get(session, run), step)
    return [Place(task, run, step) for task in await matching(session, run, which or Filter())]


def _check_step(run: Row, step: int) -> None:
    if not 0 <= step < run["steps"]:
        raise InvalidInput(f"Run {run['id']} has the steps 0 to {run['steps'] - 1}; there is no step {step}.")


def _columns(places: Sequence[Place]) -> dict[str, list[int]]:
    return {"tasks": [place.task for place in places], "steps": [place.step for place in places]}


async def _steps(session: AsyncSession, run: int, which: Filter) -> list[int] | None:
    if which.app is None:
        return [which.step] if which.step is not None else None
    steps = await fetch(session, "runs.steps", {"run": run})
    if which.app not in (apps := {step["app"] for step in steps}):
        raise NotFound(f"Run {run} has no app {which.app!r}.", hint=f"It has: {', '.join(sorted(apps))}.")
    return [s["position"] for s in steps if s["app"] == which.app and which.step in (None, s["position"])]


async def _reasons(session: AsyncSession, run: int, family: str) -> list[str]:
    """The reasons of a run's failures that belong to a family. Raises NotFound."""
    rows = await fetch(session, "failures.reasons", {"run": run, "compared": failures.COMPARED})
    found = [row["reason"] for row in rows]

    def of_family() -> list[str]:
        return [reason for reason in found if failures.family(reason) == family]

    reasons = await asyncio.to_thread(of_family) if len(found) > MANY else of_family()
    if not reasons:
        raise NotFound(
            f"Nothing of run {run} stands failed in a family {family!r}.",
            hint=f"`tidemill failures {run}` shows the families.",
        )
    return reasons


async def _remember(session: AsyncSession, run: int, family: str, moved: Sequence[Row]) -> None:
    tried = {key: [row[key] for row in moved] for key in ("id", "step", "fence")}
    await fetch(session, "failures.try", {"run": run, "family": family, **tried})
