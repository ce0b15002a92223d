"""`tidemill watching` and `why`: runs that take in every item that matches, and why an item is, or is not, in them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import SIGNS, AsJson, count, emit, table, tell

if TYPE_CHECKING:
    from tidemill.pipelines.watching import WatchWish
    from tidemill.runner.watch_steering import Reason

watching = typer.Typer(help="Watching runs: every item that matches a condition enters, whenever it comes.")
application.add_typer(watching, name="watching", rich_help_panel="Work")
Name = Annotated[str, typer.Argument(help="The watching run's name.")]
SHOWN = ("waiting", "running", "done", "failed", "cancelled")


@watching.callback(invoke_without_command=True)
def listing(context: typer.Context, json: AsJson = False) -> None:
    """List the watching runs with what they ask and how far their items are; or do what the command after it says."""
    if context.invoked_subcommand is not None:
        return
    rows = door.run(_listed())
    if json:
        emit(rows)
        return
    table(
        ["name", "run#", "state", "pipeline", "items#", *(f"{SIGNS[state]} {state}#" for state in SHOWN), "asks"],
        ([r["name"], r["run"], _state(r), f"{r['pipeline']} v{r['pipeline_version']}", r["total"],
          *(r[state] or "" for state in SHOWN), "; ".join(r["in_words"])] for r in rows),
        empty="There are no watching runs. Begin one: tidemill watching start NAME --pipeline PIPELINE",
    )  # fmt: skip


@watching.command()
def start(
    name: Name,
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="The pipeline that items go through.")],
    status: Annotated[
        list[str] | None, typer.Option(help="The status that an item must have; may be given again [default: good].")
    ] = None,
    project: Annotated[
        list[str] | None, typer.Option(help="A project that it must be in; given again: one of them.")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="A path into its metadata at which there must be something; repeatable.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="A test of its metadata: PATH=VALUE, PATH=A|B, PATH>=N, PATH<=N, PATH=ma*; repeatable."),
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="The beginning of its name.", show_default=False)] = None,
    files: Annotated[int, typer.Option(min=0, help="So many files at least.")] = 0,
    priority: Annotated[int, typer.Option(help="Runs with a higher one go first.")] = 0,
    no_reuse: Annotated[bool, typer.Option("--no-reuse", help="Use no earlier output.")] = False,
    again: Annotated[bool, typer.Option("--again", help="What has entered once enters again, in a new run.")] = False,
    json: AsJson = False,
) -> None:
    """Begin a watching run, or make the one of that name be as said here. What matches enters, old and new."""
    from tidemill.pipelines.watching import WatchWish

    given = {"status": status, "project": project, "require": require, "prefix": prefix, "files": files or None}
    condition = {key: value for key, value in given.items() if value} | ({"where": _tests(where)} if where else {})
    wish = WatchWish(name, pipeline, _condition(condition), priority, not no_reuse)
    row = door.run(_start(wish, again))
    if json:
        emit(row)
    else:
        tell(f"Watching run {name} (run {row['run']}, {row['pipeline']} version {row['pipeline_version']}) takes in "
             f"what matches: {'; '.join(row['in_words'])}.")  # fmt: skip


@watching.command()
def show(name: Name, json: AsJson = False) -> None:
    """Show one watching run: what it asks, its run, and how far its items are."""
    row = door.run(_shown(name))
    if json:
        emit(row)
        return
    tell(
        f"{row['name']} is {_state(row)}: run {row['run']} through {row['pipeline']} version {row['pipeline_version']}"
    )
    for phrase in row["in_words"]:
        tell(f"  {phrase}")
    tell(", ".join(f"{row[state]:,} {state}" for state in SHOWN if row[state]) or "nothing has entered yet")
    if row["older_runs"]:
        tell(f"runs that still finish what they have: {', '.join(map(str, row['older_runs']))}")


@watching.command()
def pause(name: Name) -> None:
    """Take in nothing, and start nothing, until it is resumed. Work in hand finishes."""
    door.run(_pause(name, True))
    tell(f"Watching run {name} is paused.")


@watching.command()
def resume(name: Name) -> None:
    """Take in what came meanwhile, and go on."""
    door.run(_pause(name, False))
    tell(f"Watching run {name} is active again.")


@watching.command()
def end(name: Name, json: AsJson = False) -> None:
    """Take in nothing more. What has entered is finished; what is held because it no longer matches is cancelled."""
    ended = door.run(_end(name))
    if json:
        emit({"watch": name} | ended)
    else:
        held = f"; {count(ended['cancelled'], 'task')} that no longer matched cancelled" if ended["cancelled"] else ""
        tell(f"Watching run {name} has ended: run {ended['run']} finishes what it has{held}.")


@application.command(rich_help_panel="Work")
def why(
    item: Annotated[str, typer.Argument(help="The item's name.")],
    watch: Annotated[str | None, typer.Option("--watch", help="Only this watching run.", show_default=False)] = None,
    json: AsJson = False,
) -> None:
    """Tell where an item stands in each watching run, or every reason why it has not entered."""
    reasons = door.run(_why(item, watch))
    if json:
        emit([dataclasses.asdict(reason) for reason in reasons])
        return
    for reason in reasons:
        tell(f"{reason.watch}: {reason.told}")
    if not reasons:
        tell("There are no watching runs.")


def _state(row: dict[str, Any]) -> str:
    return "paused" if row["paused"] and row["state"] == "active" else str(row["state"])


def _tests(where: list[str]) -> dict[str, dict[str, Any]]:
    from tidemill.domain.condition_parsing import read_test
    from tidemill.errors import InvalidInput

    tests: dict[str, dict[str, Any]] = {}
    for text in where:
        try:
            path, test = read_test(text)
        except ValueError as error:
            raise InvalidInput(f"--where {error}.") from None
        tests.setdefault(path, {}).update(test)
    return tests


def _condition(data: dict[str, Any]) -> Any:
    from tidemill.domain.conditions import Condition

    return Condition.from_json(data)


async def _listed() -> list[dict[str, Any]]:
    from tidemill.pipelines import watching as service
    from tidemill.runner.watch_steering import outline

    async with door.opened() as site, site.database.begin() as session:
        return [outline(row) for row in await service.listing(session)]


async def _shown(name: str) -> dict[str, Any]:
    from tidemill.pipelines import watching as service
    from tidemill.runner.watch_steering import outline

    async with door.opened() as site, site.database.begin() as session:
        return outline(await service.get(session, name))


async def _start(wish: WatchWish, again: bool) -> dict[str, Any]:
    from tidemill.pipelines import watching as service
    from tidemill.runner import watch_steering

    async with door.opened() as site, site.database.begin() as session:
        await watch_steering.start(session, wish, again=again)
        return watch_steering.outline(await service.get(session, wish.name))


async def _pause(name: str, paused: bool) -> None:
    from tidemill.pipelines import watching as service
    from tidemill.runner import runs, watch_steering

    async with door.opened() as site, site.database.begin() as session:
        if paused:
            await runs.pause(session, (await service.get(session, name))["run"])
        else:
            await watch_steering.resume(session, name)


async def _end(name: str) -> dict[str, Any]:
    from tidemill.runner import watch_steering

    async with door.opened() as site, site.database.begin() as session:
        return await watch_steering.end(session, name)


async def _why(item: str, watch: str | None) -> list[Reason]:
    from tidemill.runner import watch_steering

    async with door.opened() as site, site.database.begin() as session:
        return await watch_steering.why(session, item, watch)
