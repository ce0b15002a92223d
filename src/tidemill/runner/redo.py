"""Doing things again: retry what failed, re-run from a step, promote a late result. Each can be previewed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain import failures
from tidemill.domain.item_search import parse_search
from tidemill.domain.states import TaskState
from tidemill.errors import Conflict, InvalidInput, NotFound, UnknownIds
from tidemill.runner import runs

MANY = 2000
"""From so many different messages on they are compared beside the event loop."""


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
class Places:
    """Tasks, of any runs, and for each the step from which it is to be done again. `runs`: those that they are of."""

    tasks: Sequence[int]
    runs: Sequence[int]
    steps: Sequence[int]

    def __len__(self) -> int:
        return len(self.tasks)

    def columns(self) -> dict[str, list[int]]:
        """As the statements take them: each task once, at the first step that is named of it."""
        first: dict[int, int] = {}
        for task, step in zip(self.tasks, self.steps, strict=True):
            first[task] = min(step, first.get(task, step))
        return {"tasks": list(first), "steps": list(first.values())}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Items by name, by a search (`domain.item_search`), or all of a project; exactly one of these."""

    items: Sequence[str] | None = None
    search: str | None = None
    project: str | None = None


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
        "shapes": await _shapes(session, run, which.family) if which.family is not None else None,
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


async def preview(session: AsyncSession, places: Places) -> Preview:
    """What `put_back` would touch now."""
    row = await fetch_one(session, "runs.rerun_preview", places.columns())
    assert row is not None
    return Preview(**row)


async def put_back(session: AsyncSession, places: Places, *, reuse: bool = False) -> int:
    """Put tasks, of any runs, back at a step each; how many. What is being worked on or never came there is left."""
    if not len(places):
        return 0
    columns = places.columns()
    await fetch(session, "runs.reopen", {"runs": sorted(set(places.runs))})
    # First the rows, then in a statement of its own their attempts: one may have been handed in while we waited.
    await fetch(session, "runs.hold", {"tasks": columns["tasks"]})
    moved = await fetch(session, "runs.rerun", columns | {"fresh": not reuse})
    await runs.announce(session)
    return len(moved)


async def across(session: AsyncSession, which: Wanted, step: str, *, every_run: bool = False) -> Places:
    """Where items stand that have a step of exactly this name: in their newest run of each pipeline, or in every run.

    Raises NotFound (no run of theirs has such a step), UnknownIds, InvalidInput.
    """
    items = await _items(session, which)
    params = {"items": items, "step": step, "every_run": every_run}
    rows = await fetch(session, "runs.across", params)
    if not rows:
        raise NotFound(f"None of these {len(items):,} items is in a run that has a step {step!r}.")
    return Places(*([row[key] for row in rows] for key in ("task", "run", "step")))


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


async def _from_step(session: AsyncSession, run: int, step: int, which: Filter | None) -> Places:
    _check_step(await runs.get(session, run), step)
    tasks = await matching(session, run, which or Filter())
    return Places(tasks, [run], [step] * len(tasks))


def _check_step(run: Row, step: int) -> None:
    if not 0 <= step < run["steps"]:
        raise InvalidInput(f"Run {run['id']} has the steps 0 to {run['steps'] - 1}; there is no step {step}.")


async def _items(session: AsyncSession, which: Wanted) -> list[int]:
    """The ids of the items wanted. Raises UnknownIds, NotFound, InvalidInput."""
    if sum(part is not None for part in (which.items, which.search, which.project)) != 1:
        raise InvalidInput("Say which items: by name, by a search, or by a project; one of these.")
    if which.items is not None:
        names = list(dict.fromkeys(which.items))
        rows = await fetch(session, "runs.named", {"names": names})
        if unknown := set(names) - {row["name"] for row in rows}:
            raise UnknownIds([name for name in names if name in unknown])
        return [row["id"] for row in rows]
    if which.project is not None:
        if not await fetch(session, "runs.project", {"project": which.project}):
            raise NotFound(f"There is no project named {which.project!r}.")
        return [row["id"] for row in await fetch(session, "runs.of_project", {"project": which.project})]
    params = parse_search(which.search or "").params() | {"limit": None, "offset": 0}
    return [row["id"] for row in await fetch(session, "catalogue.matching", params)]


async def _steps(session: AsyncSession, run: int, which: Filter) -> list[int] | None:
    if which.app is None:
        return [which.step] if which.step is not None else None
    steps = await fetch(session, "runs.steps", {"run": run})
    if which.app not in (apps := {step["app"] for step in steps}):
        raise NotFound(f"Run {run} has no app {which.app!r}.", hint=f"It has: {', '.join(sorted(apps))}.")
    return [s["position"] for s in steps if s["app"] == which.app and which.step in (None, s["position"])]


async def _shapes(session: AsyncSession, run: int, family: str) -> list[str]:
    """The shapes of a run's failures that belong to a family. Raises NotFound."""
    rows = await fetch(session, "failures.shapes", {"run": run, "compared": failures.COMPARED})
    found = [row["shape"] for row in rows]

    def of_family() -> list[str]:
        return [shape for shape in found if failures.family(shape) == family]

    shapes = await asyncio.to_thread(of_family) if len(found) > MANY else of_family()
    if not shapes:
        raise NotFound(
            f"Nothing of run {run} stands failed in a family {family!r}.",
            hint=f"`tidemill failures {run}` shows the families.",
        )
    return shapes


async def _remember(session: AsyncSession, run: int, family: str, moved: Sequence[Row]) -> None:
    tried = {key: [row[key] for row in moved] for key in ("id", "step", "fence")}
    await fetch(session, "failures.try", {"run": run, "family": family, **tried})
