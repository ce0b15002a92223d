"""`tidemill apply` and `export`: the database as a site file says, and back."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, Yes, confirm, count, emit, out, say, tell
from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.pipelines.apply import Plan


@application.command(rich_help_panel="Site")
def apply(
    file: Annotated[Path, typer.Argument(help="The site file (TOML).")],
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the apps what they are; what is known of them stays.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make the site as a site file says. Shows the difference first, and asks."""
    door.run(_apply(file, yes=yes, dry_run=dry_run, offline=offline, json=json))


@application.command(rich_help_panel="Site")
def export(
    file: Annotated[Path | None, typer.Argument(help="File to write; none: stdout.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write the site as a site file, which `apply` takes again."""
    text = door.run(_export())
    if file is None:
        out().file.write(text)
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError as error:
        raise InvalidInput(f"{file} is there already.", hint="--force writes over it.") from error
    except OSError as error:
        raise InvalidInput(f"The site file cannot be written to {file}: {error.strerror}.") from error
    say(f"Written to {file}.")


async def _apply(file: Path, *, yes: bool, dry_run: bool, offline: bool, json: bool) -> None:
    from tidemill.pipelines import apply as service
    from tidemill.pipelines.site_file import read_site_file

    site_file = await asyncio.to_thread(read_site_file, file)
    async with door.opened() as site:
        facts = await service.look_at_apps(site.addresses, site_file, offline=offline)
        async with site.database.begin() as session:
            plan = await service.plan(session, site_file, facts)
        if not json:
            _show(plan)
        doing = not (plan.empty or dry_run)
        if doing:
            question = f"Make {count(len(plan.changes), 'change')}?"
            await confirm(question, yes=yes)
            async with site.database.begin() as session:
                await service.carry_out(session, plan)
    if json:
        emit(_as_json(plan) | {"applied": doing})
    elif doing:
        say(f"{count(len(plan.changes), 'change')} made.")


def _show(plan: Plan) -> None:
    for line in plan.lines():
        tell(line)


def _as_json(plan: Plan) -> dict[str, object]:
    return {"changes": [dataclasses.asdict(change) for change in plan.changes], "left_alone": plan.left_alone}


async def _export() -> str:
    from tidemill.pipelines.export import export as service

    async with door.opened() as site, site.database.begin() as session:
        return await service(session)
