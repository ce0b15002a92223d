"""`tidemill retry`, `cancel`, `pause`, `resume`, `rerun`: steer runs, and do again what is to be done again."""

from __future__ import annotations

import sys
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
    app: Annotated[str | None, typer.Option(help="Only tasks that stand at a step of this app.")] = None,
    family: Annotated[str | None, typer.Option(help="Only this failure family (see `tidemill failures`).")] = None,
    first: Annotated[
        int | None,
        typer.Option(
            help="Only so many of them, spread over the run, to see whether it is mended.", show_default=False
        ),
    ] = None,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Try again what failed, each at the step where it failed; with filters, only some of it. On a terminal it asks."""
    narrowed = (states, step, items, reason, app, family)
    moved = door.run(_retry(run, narrowed, first, yes=yes))
    if json:
        return emit({"run": run, "retried": moved})
    tell(f"{count(moved, 'task')} of run {run} will be tried again.")
    if family and first:
        say(f"What becomes of them: tidemill failures {run}. The rest: tidemill retry {run} --family {family}")
    return None


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
    start: Annotated[
        str, typer.Option("--from", help="The step to begin at: its name, or in one run its number from 1.")
    ],
    run: Annotated[
        int | None,
        typer.Argument(
            help="The run's number; none: the newest run of each pipeline that the items named are in.",
            metavar="RUN",
            show_default=False,
        ),
    ] = None,
    states: States = None,
    step: AtStep = None,
    items: Items = None,
    reason: Reason = None,
    search: Annotated[str | None, typer.Option(help="Without a run: all items that this search finds.")] = None,
    project: Annotated[str | None, typer.Option(help="Without a run: all items of this project.")] = None,
    every_run: Annotated[
        bool, typer.Option("--every-run", help="Without a run: in every run that has the step.")
    ] = False,
    reuse: Annotated[bool, typer.Option("--reuse", help="Where an earlier output fits, use it again.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Do a step and all after it again. Shows first what it will touch; old results are kept as superseded."""
    across = (search, project, every_run)
    if run is None:
        if states or step or reason:
            raise typer.BadParameter("--state, --step and --reason narrow one run: name it, or leave them out")
        moved = door.run(_rerun_across(start, items, across, reuse=reuse, yes=yes))
    elif any(across):
        raise typer.BadParameter("--search, --project and --every-run are for several runs: leave the run out")
    else:
        moved = door.run(_rerun(run, start, (states, step, items, reason), reuse=reuse, yes=yes))
    if json:
        return emit({"run": run, "rerun": moved})
    return tell(f"{count(moved, 'task')}{f' of run {run}' if run else ''} will start again from {start}.")  # fmt: skip


Narrowed = tuple[list[str] | None, str | None, list[str] | None, str | None, str | None, str | None]


async def _retry(run: int, narrowed: Narrowed, first: int | None, *, yes: bool) -> int:

    from tidemill.runner import redo

    async with door.opened() as site:
        async with site.database.begin() as session:
            which = redo.failed(await filter_of(session, run, *narrowed))
            number = len(await redo.matching(session, run, which))
        if number > 1 and not first and sys.stdin.isatty():
            say(f"{count(number, 'task')} of run {run} would be tried again, each at the step where it failed.")
            await confirm("Try them again?", yes=yes)
        async with site.database.begin() as session:
            return await redo.retry(session, run, which, first=first)


async def _cancel(run: int, items: list[str] | None) -> int:
    from tidemill.runner import redo, runs

    async with door.opened() as site, site.database.begin() as session:
        tasks = None
        if items:
            which = await filter_of(session, run, None, None, items, None)
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
            which = await filter_of(session, run, *asked)
            preview = await redo.preview_rerun(session, run, position, which)
        show(preview, start)
        if not preview.tasks:
            raise Conflict(f"Nothing of run {run} can start again from {start}: nothing was changed.")
        await confirmed(yes)
        async with site.database.begin() as session:
            return await redo.rerun(session, run, position, which, reuse=reuse)


async def _rerun_across(
    start: str,
    items: list[str] | None,
    across: tuple[str | None, str | None, bool],
    *,
    reuse: bool,
    yes: bool,
) -> int:
    from tidemill.errors import Conflict
    from tidemill.runner import redo

    search, project, every_run = across
    which = redo.Wanted(items or None, search, project)
    async with door.opened() as site:
        async with site.database.begin() as session:
            preview = await redo.preview(session, await redo.across(session, which, start, every_run=every_run))
        show(preview, start)
        if not preview.tasks:
            raise Conflict(f"Nothing can start again from {start}: nothing was changed.")
        await confirmed(yes)
        async with site.database.begin() as session:
            places = await redo.across(session, which, start, every_run=every_run)
            return await redo.put_back(session, places, reuse=reuse)


async def confirmed(yes: bool, question: str = "Start again?") -> None:
    """Ask, while the event loop goes on. Raises NotConfirmed."""

    await confirm(question, yes=yes)


def show(preview: Preview, start: str) -> None:
    """What a re-run would touch, and what it would leave alone."""
    where = f" of {count(preview.items, 'item')} in {count(preview.runs, 'run')}" if preview.runs > 1 else ""
    say(
        f"From {start}: {count(preview.tasks, 'task')}{where} would start again, "
        f"{count(preview.steps, 'finished step')} would be done anew (the old results are kept as superseded)."
    )
    if preview.busy:
        say(f"Left alone: {count(preview.busy, 'task')} being worked on.")
    if preview.not_reached:
        say(f"Left alone, since they have not come to that step: {count(preview.not_reached, 'task')}.")
    if preview.elsewhere:
        say(f"Left alone, since another system did that step: {count(preview.elsewhere, 'task')}.")


async def filter_of(
    session: AsyncSession,
    run: int,
    states: list[str] | None,
    step: str | None,
    items: list[str] | None,
    reason: str | None,
    app: str | None = None,
    family: str | None = None,
) -> Filter:
    """The filter that the options ask for. Raises UnknownIds for items that are not in the run."""
    from tidemill.errors import UnknownIds
    from tidemill.runner.redo import Filter, matching

    if items:
        missing = [name for name in dict.fromkeys(items) if not await matching(session, run, Filter(items=[name]))]
        if missing:
            raise UnknownIds(missing, f"items of run {run}")
    position = await step_position(session, run, step) if step is not None else None
    return Filter(None, states or None, position, items or None, reason, app, family)


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
