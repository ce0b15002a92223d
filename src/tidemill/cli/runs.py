"""`tidemill run`, `watch`, `runs`: start a batch through a pipeline, and see how far it is."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.output import SIGNS, AsJson, count, emit, say, table, tell

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tidemill.main import Site
    from tidemill.runner.runs import Start

RunId = Annotated[int, typer.Argument(help="The run's number, as `tidemill runs` shows it.", metavar="RUN")]


@application.command("run", rich_help_panel="Work")
def run_batch(
    batch: Annotated[str, typer.Argument(help="Name of the batch.")],
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            "-p",
            help="Name of the pipeline [default: the batch's own, or the only one].",
            show_default=False,
        ),
    ] = None,
    priority: Annotated[int, typer.Option(help="Runs with a higher one go first.")] = 0,
    no_reuse: Annotated[
        bool, typer.Option("--no-reuse", help="Do every step, even where an earlier output could be used again.")
    ] = False,
    only_not_done: Annotated[
        bool, typer.Option("--only-not-done", help="Leave out items that this pipeline has done or is doing.")
    ] = False,
    paused: Annotated[bool, typer.Option("--paused", help="Start it paused; `tidemill resume` lets it go.")] = False,
    watch_it: Annotated[bool, typer.Option("--watch/--no-watch", help="Stay and show the progress.")] = True,
    work: Annotated[
        bool | None,
        typer.Option(
            "--work/--no-work",
            help="Work in this process while watching [default: if no worker is there].",
            show_default=False,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Start a batch through a pipeline, and watch it. Ctrl-C stops watching; the run goes on."""
    from tidemill.runner.runs import Start

    wish = Start(batch, pipeline or "", priority, not no_reuse, only_not_done, paused)
    raise typer.Exit(door.run(_run(wish, watching=watch_it and not paused, work=work, json=json)))


@application.command(rich_help_panel="Work")
def watch(run: RunId, json: AsJson = False) -> None:
    """Watch a run until it is over. Ctrl-C stops watching; the run goes on."""
    raise typer.Exit(door.run(_watch(run, json)))


@application.command(rich_help_panel="Work")
def runs(
    state: Annotated[str | None, typer.Option(help="Only runs in this state: active, done, cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    json: AsJson = False,
) -> None:
    """List the runs, newest first, with how many of their items stand in each state."""
    rows = door.run(_list(state, limit))
    if json:
        return emit(rows)
    counts = ("waiting", "running", "submitted", "done", "failed", "cancelled")
    return table(
        ["run#", "state", "batch", "pipeline", "items#", *(f"{SIGNS[name]} {name}#" for name in counts), "started"],
        (
            [r["id"], "paused" if r["paused"] else r["state"], r["batch"], f"{r['pipeline']} v{r['pipeline_version']}",
             r["total"], *(r[name] or "" for name in counts), r["created_at"]]
            for r in rows
        ),
        empty="There are no runs. Start one: tidemill run BATCH",
    )  # fmt: skip


async def _list(state: str | None, limit: int) -> list[dict[str, Any]]:
    from tidemill.domain.states import RunState
    from tidemill.errors import InvalidInput
    from tidemill.runner import look

    if state is not None and state not in list(RunState):
        raise InvalidInput(f"There is no state {state!r} of a run.", hint=f"It is one of: {', '.join(RunState)}.")
    async with door.opened() as site, site.database.begin() as session:
        return await look.runs(session, state=state, limit=limit)


async def _run(wish: Start, *, watching: bool, work: bool | None, json: bool) -> Exit:
    from tidemill.runner import runs as service

    stopped = asyncio.Event()
    async with door.opened() as site:
        with ExitStack() as stack:
            async with site.database.begin() as session:
                wish = await _with_pipeline(session, wish)
                run = await service.start(session, site.documents, wish)
                row = await service.get(session, run)
                await service.announce(session)
                if watching:  # from here on there is a run: a signal ends the watching, not what was started
                    stack.enter_context(door.stop_signals(lambda _: stopped.set()))
            if not watching:
                return _started(wish, row, json=json)
            pipeline = f"{row['pipeline']} (version {row['pipeline_version']})"
            say(f"Run {run}: {count(row['total'], 'item')} through {pipeline}.")
            await _attend(site, run, json, await _shall_work(site, work), stopped)
        return await _parted(site, run, json)


def _started(wish: Start, row: dict[str, Any], *, json: bool) -> Exit:
    if json:
        emit({"run": row})
    else:
        tell(f"Run {row['id']} has started: {count(row['total'], 'item')} through {row['pipeline']}"
             f" (version {row['pipeline_version']}){', paused' if wish.paused else ''}.")  # fmt: skip
    return Exit.OK


async def _with_pipeline(session: AsyncSession, wish: Start) -> Start:
    """The wish with a pipeline: the one named, else the one that the batch is meant for, else the only one there is."""
    import dataclasses

    from tidemill.errors import InvalidInput
    from tidemill.pipelines import batches, pipelines

    if wish.pipeline:
        await pipelines.get(session, wish.pipeline)
        return wish
    meant = (await batches.standing(session, wish.batch, names=0))["pipeline"]
    names = [meant] if meant else [row["name"] for row in await pipelines.listing(session)]
    if len(names) != 1:
        known = f"There are: {', '.join(names)}." if names else "There are none yet: `tidemill apply` makes them."
        raise InvalidInput(f"Say through which pipeline batch {wish.batch!r} is to go: --pipeline NAME.", hint=known)
    return dataclasses.replace(wish, pipeline=names[0])


async def _shall_work(site: Site, work: bool | None) -> bool:
    from tidemill.db.database import fetch

    if work is not None:
        return work
    async with site.database.begin() as session:
        live = await fetch(session, "workers.live", {"seconds": site.settings.lease})
    if not live:
        say("No worker is there: this process works while it watches (see --no-work).")
    return not live


async def _attend(site: Site, run: int, json: bool, work: bool, stopped: asyncio.Event) -> None:
    from tidemill.cli.watching import follow
    from tidemill.cli.working import Stopper

    if not work or stopped.is_set():
        await _attend_only(site, run, json, stopped)
        return
    running = site.worker()
    stopper = Stopper(running)

    def signalled(number: int) -> None:
        stopped.set()
        stopper.signalled(number)

    with door.stop_signals(signalled):
        working = asyncio.create_task(running.run())
        working.add_done_callback(lambda _: stopped.set())
        try:
            await follow(site.database, run, json=json, stopped=stopped)
        finally:
            running.stop()
            await working
    if stopper.signals:
        stopper.farewell()


async def _attend_only(site: Site, run: int, json: bool, stopped: asyncio.Event) -> None:
    from tidemill.cli.watching import follow

    with door.stop_signals(lambda _: stopped.set()):
        await follow(site.database, run, json=json, stopped=stopped)


async def _parted(site: Site, run: int, json: bool) -> Exit:
    """Watching is over: either the run is, or it goes on without us."""
    from tidemill.cli.watching import conclude, in_words, seen_now

    now = await seen_now(site.database, run)
    if now.state != "active":
        return await conclude(site.database, now, json=json)
    say(f"Run {run} goes on as long as a worker is there: {in_words(now.totals)}. Join again: tidemill watch {run}")
    return Exit.INTERRUPTED


async def _watch(run: int, json: bool) -> Exit:
    async with door.opened() as site:
        await _attend_only(site, run, json, asyncio.Event())
        return await _parted(site, run, json)
