"""`tidemill retry`, `cancel`, `pause`, `resume`, `rerun`: steer runs, and do again what is to be done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, Yes, confirm, count, emit, say, tell
from tidemill.cli.runs import RunId

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tidemill.runner.redo import Filter, Preview

States = Annotated[list[str] | None, typer.Option("--state", help="Only tasks in this state; may be given again.")]
Items = Annotated[list[str] | None, typer.Option("--item", help="Only this item; may be given again.")]
AtStep = Annotated[
    str | None, typer.Option("--step", help="Only tasks that stand at this step: its name, or its number from 1.")
]
Reason = Annotated[str | None, typer.Option(help="Only tasks whose reason contains these words.")]
MaybeRun = Annotated[int | None, typer.Argument(help="The run's number.", metavar="RUN", show_default=False)]
OfApp = Annotated[str | None, typer.Option("--app", help="An app instead of a run, for all runs.")]


@application.command(rich_help_panel="Work")
def retry(
    run: RunId,
    states: States = None,
    step: AtStep = None,
    items: Items = None,
    reason: Reason = None,
    json: AsJson = False,
) -> None:
    """Try again what failed, each at the step where it failed; with filters, only some of it."""
    moved = door.run(_retry(run, states, step, items, reason))
    if json:
        return emit({"run": run, "retried": moved})
    return tell(f"{count(moved, 'task')} of run {run} will be tried again.")


@application.command(rich_help_panel="Work")
def cancel(
    run: RunId,
    items: Annotated[list[str] | None, typer.Argument(help="Only these items; none named: the whole run.")] = None,
    json: AsJson = False,
) -> None:
    """Cancel a run, or some of its items. What is done stays done."""
    moved = door.run(_cancel(run, items))
    if json:
        return emit({"run": run, "cancelled": moved})
    whole = "" if items else f"Run {run} is cancelled: "
    return tell(f"{whole}{count(moved, 'task')} cancelled.")


@application.command(rich_help_panel="Work")
def pause(run: MaybeRun = None, app: OfApp = None) -> None:
    """Hold back the waiting tasks of a run, or of an app. Work in hand finishes."""
    tell(door.run(set_paused(run, app, True)))


@application.command(rich_help_panel="Work")
def resume(run: MaybeRun = None, app: OfApp = None) -> None:
    """Let a paused run or app go on; an app that was found to be down is tried at once."""
    tell(door.run(set_paused(run, app, False)))


@application.command(rich_help_panel="Work")
def rerun(
    run: RunId,
    start: Annotated[str, typer.Option("--from", help="The step to begin at: its name, or its number from 1.")],
    states: States = None,
    step: AtStep = None,
    items: Items = None,
    reason: Reason = None,
    reuse: Annotated[bool, typer.Option("--reuse", help="Where an earlier output fits, use it again.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Do a step and all after it again. Shows first what it will touch; old results are kept as superseded."""
    moved = door.run(_rerun(run, start, (states, step, items, reason), reuse=reuse, yes=yes))
    if json:
        return emit({"run": run, "rerun": moved})
    return tell(f"{count(moved, 'task')} of run {run} will start again from {start}.")


async def _retry(
    run: int, states: list[str] | None, step: str | None, items: list[str] | None, reason: str | None
) -> int:
    from tidemill.runner import redo

    async with door.opened() as site, site.database.begin() as session:
        which = await _filter(session, run, states, step, items, reason)
        return await redo.retry(session, run, which)


async def _cancel(run: int, items: list[str] | None) -> int:
    from tidemill.runner import redo, runs

    async with door.opened() as site, site.database.begin() as session:
        tasks = None
        if items:
            which = await _filter(session, run, None, None, items, None)
            tasks = await redo.matching(session, run, which)
        return await runs.cancel(session, run, tasks)


async def set_paused(run: int | None, app: str | None, paused: bool) -> str:
    from tidemill.pipelines import apps
    from tidemill.runner import runs

    if (run is None) == (app is None):
        raise typer.BadParameter("name a run, or an app with --app NAME")
    word = "paused" if paused else "active again"
    async with door.opened() as site, site.database.begin() as session:
        if app is not None:
            changed = await (apps.pause if paused else apps.resume)(session, app)
            return f"App {app} is {word}." if changed else f"App {app} was {'paused' if paused else 'active'} already."
        assert run is not None
        await runs.pause(session, run, paused)
    return f"Run {run} is {word}."


async def _rerun(
    run: int,
    start: str,
    asked: tuple[list[str] | None, str | None, list[str] | None, str | None],
    *,
    reuse: bool,
    yes: bool,
) -> int:
    from tidemill.errors import Conflict
    from tidemill.runner import redo

    async with door.opened() as site:
        async with site.database.begin() as session:
            position = await step_position(session, run, start)
            which = await _filter(session, run, *asked)
            preview = await redo.preview_rerun(session, run, position, which)
        _show(preview, start)
        if not preview.tasks:
            raise Conflict(f"Nothing of run {run} can start again from {start}: nothing was changed.")
        await _confirmed(yes)
        async with site.database.begin() as session:
            return await redo.rerun(session, run, position, which, reuse=reuse)


async def _confirmed(yes: bool) -> None:
    import asyncio

    await asyncio.to_thread(confirm, "Start again?", yes=yes)


def _show(preview: Preview, start: str) -> None:
    say(f"From {start}: {count(preview.tasks, 'task')} would start again, {count(preview.steps, 'finished step')} "
        "would be done anew (the old results are kept as superseded).")  # fmt: skip
    if preview.busy:
        say(f"Left alone: {count(preview.busy, 'task')} being worked on.")
    if preview.not_reached:
        say(f"Left alone, since they have not come to that step: {count(preview.not_reached, 'task')}.")


async def _filter(
    session: AsyncSession,
    run: int,
    states: list[str] | None,
    step: str | None,
    items: list[str] | None,
    reason: str | None,
) -> Filter:
    """The filter that the options ask for. Raises UnknownIds for items that are not in the run."""
    from tidemill.errors import UnknownIds
    from tidemill.runner.redo import Filter, matching

    if items:
        missing = [name for name in dict.fromkeys(items) if not await matching(session, run, Filter(items=[name]))]
        if missing:
            raise UnknownIds(missing, f"items of run {run}")
    position = await step_position(session, run, step) if step is not None else None
    return Filter(None, states or None, position, items or None, reason)


async def step_position(session: AsyncSession, run: int, step: str) -> int:
    """The position (from 0) of a step named by its name or its number from 1. Raises NotFound."""
    return (await _step(session, run, step))[0]


async def step_name(session: AsyncSession, run: int, step: str) -> str:
    """The name of a step named by its name or its number from 1. Raises NotFound."""
    return (await _step(session, run, step))[1]


async def _step(session: AsyncSession, run: int, step: str) -> tuple[int, str]:
    from tidemill.errors import NotFound
    from tidemill.runner import look

    names = [one.name for one in (await look.overview(session, run)).steps]
    if step in names:
        return names.index(step), step
    if step.isdecimal() and 1 <= int(step) <= len(names):
        return int(step) - 1, names[int(step) - 1]
    known = ", ".join(f"{number} {name}" for number, name in enumerate(names, start=1))
    raise NotFound(f"Run {run} has no step {step!r}.", hint=f"It has: {known}.")
