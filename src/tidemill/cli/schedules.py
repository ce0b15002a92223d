"""`tidemill schedules`: what is done by the clock. Schedules are made in the site file."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, emit, table, tell

schedules = typer.Typer(help="What is done by the clock: list it, let it rest, do it now.")
application.add_typer(schedules, name="schedules", rich_help_panel="Site")
Name = Annotated[str, typer.Argument(help="The schedule's name.")]


@schedules.callback(invoke_without_command=True)
def listing(context: typer.Context, json: AsJson = False) -> None:
    """List the schedules with their next time and what came of the last; or do what the command after it says."""
    if context.invoked_subcommand is not None:
        return
    rows = door.run(_listed())
    if json:
        emit(rows)
        return
    table(
        ["name", "when", "what", "next", "last", "result"],
        ([r["name"], f"{r['cron']} ({r['zone']})", what(r["action"]), "paused" if r["paused"] else r["next_at"],
          r["last_at"], r["last_result"]] for r in rows),
        empty="There are no schedules. Name them in the site file: [[schedules]]",
    )  # fmt: skip


@schedules.command()
def pause(name: Name) -> None:
    """Let a schedule rest."""
    door.run(_pause(name, True))
    tell(f"Schedule {name} is paused.")


@schedules.command()
def resume(name: Name) -> None:
    """Let a schedule go on. What it missed meanwhile is not made up for."""
    door.run(_pause(name, False))
    tell(f"Schedule {name} is active.")


@schedules.command("run")
def run_now(name: Name, json: AsJson = False) -> None:
    """Do it at once, paused or not. Its next time stays."""
    result = door.run(_run(name))
    if json:
        emit({"schedule": name, "result": result})
    else:
        tell(f"Schedule {name}: {result}.")


@schedules.command()
def remove(name: Name) -> None:
    """Take a schedule away. What it started stays."""
    door.run(_remove(name))
    tell(f"Schedule {name} is gone.")


def what(action: dict[str, Any]) -> str:
    """What a schedule does, in words."""
    if "sync" in action:
        return f"read source {action['sync']}"
    start = action["start"]
    rest = ", only what is not done" if start.get("only_not_done") else ""
    return f"start {start['batch']} through {start['pipeline']}{rest}"


async def _listed() -> list[dict[str, Any]]:
    from tidemill.pipelines import schedules as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.listing(session)


async def _pause(name: str, paused: bool) -> None:
    from tidemill.pipelines import schedules as service

    async with door.opened() as site, site.database.begin() as session:
        await service.pause(session, name, paused)


async def _run(name: str) -> str:
    from tidemill.catalogue.sync import reader
    from tidemill.runner.schedules import Doer

    async with door.opened() as site:
        return await Doer(site.documents, reader(site.database)).run_now(site.database, name)


async def _remove(name: str) -> None:
    from tidemill.pipelines import schedules as service

    async with door.opened() as site, site.database.begin() as session:
        await service.remove(session, name)
