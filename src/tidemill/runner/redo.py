"""Doing things again: retry what failed, re-run from a step, promote a late result. Each can be previewed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch, fetch_one
from tidemill.domain.states import TaskState
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.runner import runs


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks of a run; every part narrows. Empty: all of them."""

    tasks: Sequence[int] | None = None
    states: Sequence[str] | None = None
    step: int | None = None
    items: Sequence[str] | None = None
    reason: str | None = None
    """Words that the task's reason contains."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a re-run would touch: tasks that start again, finished steps that are superseded, and what stays."""

    tasks: int
    steps: int
    busy: int
    """Tasks that are being worked on, and so are left alone."""
    not_reached: int
    """Tasks that have not come to that step yet."""


async def matching(session: AsyncSession, run: int, which: Filter) -> list[int]:
    """The ids of the tasks that a filter names, in order. Raises NotFound, InvalidInput."""
    row = await runs.get(session, run)
    known = {state.value for state in TaskState}
    if unknown := set(which.states or ()) - known:
        raise InvalidInput(f"Unknown state {', '.join(sorted(unknown))}; a task is one of {', '.join(sorted(known))}.")
    if which.step is not None and not 0 <= which.step < row["steps"]:
        raise InvalidInput(f"Run {run} has the steps 0 to {row['steps'] - 1}; there is no step {which.step}.")
    params = {
        "run": run,
        "tasks": list(which.tasks) if which.tasks is not None else None,
        "states": list(which.states) if which.states is not None else None,
        "step": which.step,
        "items": list(which.items) if which.items is not None else None,
        "reason": which.reason,
    }
    return [found["id"] for found in await fetch(session, "runs.matching", params)]


async def retry(session: AsyncSession, run: int, which: Filter | None = None) -> int:
    """Failed tasks that match become due again at the step where they failed; how many. Default: all that failed."""
    which = which or Filter()
    if which.states is None:
        which = Filter(which.tasks, [TaskState.FAILED], which.step, which.items, which.reason)
    tasks = await matching(session, run, which)
    await fetch(session, "runs.reopen", {"run": run})
    moved = await fetch(session, "runs.retry", {"run": run, "tasks": tasks})
    if not moved:
        raise Conflict(f"Run {run} has no failed or cancelled task that matches: nothing was changed.")
    await runs.announce(session)
    return len(moved)


async def preview_rerun(session: AsyncSession, run: int, step: int, which: Filter | None = None) -> Preview:
    """What `rerun` with the same arguments would touch now."""
    tasks = await _from_step(session, run, step, which)
    row = await fetch_one(session, "runs.rerun_preview", {"run": run, "step": step, "tasks": tasks})
    assert row is not None
    return Preview(**row)


async def rerun(session: AsyncSession, run: int, step: int, which: Filter | None = None, *, reuse: bool = False) -> int:
    """Put matching tasks back at `step`, with everything after it; how many. Old attempts are kept as superseded."""
    tasks = await _from_step(session, run, step, which)
    await fetch(session, "runs.reopen", {"run": run})
    moved = await fetch(session, "runs.rerun", {"run": run, "step": step, "tasks": tasks, "fresh": not reuse})
    if not moved:
        raise Conflict(f"Run {run} has no task that has been at step {step} and is not being worked on.")
    await runs.announce(session)
    return len(moved)


async def promote(session: AsyncSession, task: int, fence: int) -> str:
    """Apply a late result by a person's decision; the task's new state. Raises NotFound, Conflict."""
    attempt = await fetch_one(session, "items.attempt", {"task": task, "fence": fence})
    if attempt is None:
        raise NotFound(f"There is no attempt {task}-{fence}.")
    await fetch(session, "runs.reopen", {"run": attempt["run_id"]})
    moved = await fetch_one(session, "runs.promote", {"task": task, "fence": fence})
    if moved is None:
        raise Conflict(
            f"Attempt {task}-{fence} cannot be applied: it is not late, it failed, or its task has moved on."
        )
    await runs.announce(session)
    return str(moved["state"])


async def _from_step(session: AsyncSession, run: int, step: int, which: Filter | None) -> list[int]:
    row = await runs.get(session, run)
    if not 0 <= step < row["steps"]:
        raise InvalidInput(f"Run {run} has the steps 0 to {row['steps'] - 1}; there is no step {step}.")
    return await matching(session, run, which or Filter())
