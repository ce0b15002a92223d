"""`tidemill purge-project`: take a project away, with its items and packages."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, Yes, confirm, count, emit, say, tell
from tidemill.cli.packing_words import at_it, may_ask

if TYPE_CHECKING:
    from tidemill.publishing.purging import Purge
    from tidemill.publishing.removing import Removed

SHOWN = 20


@application.command("purge-project", rich_help_panel="Packages")
def purge_project(
    project_id: Annotated[str, typer.Option("--project-id", help="The project that is to go.")],
    delete_from_s3: Annotated[
        bool, typer.Option("--delete-from-s3", help="Remove its packages from their stores, too.")
    ] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Take a project away: itself, its items that stand in no other, its computed files. Original files stay.

    It says first what would go, and asks; where nobody can be asked, and with --json, it does no more without --yes.
    """
    door.run(_purge(project_id, delete_from_s3, yes, json))


async def _purge(project: str, delete: bool, yes: bool, json: bool) -> None:
    from tidemill.publishing import purging
    from tidemill.publishing.removing import remove_replaced

    async with door.opened() as site:
        async with site.database.begin() as session:
            would = await purging.preview(session, project)
        if not json:
            _say(would, delete)
        if not may_ask(yes, json=json):
            emit(_told(would, done=False)) if json else say("Nothing was changed: give --yes to do it.")
            return
        await confirm(f"Take {project} away?", yes=yes)
        with at_it("Taking it away", json=json):
            async with site.database.begin() as session:
                did = await purging.purge(session, project, delete=delete)
            removed = await remove_replaced(site.database, at_once=did.let_go) if delete else []
    if json:
        emit(_told(did, done=True, removed=removed))
        return
    tell(f"{project} is gone.")
    if delete:
        say(f"Removed {count(len(removed), 'package')} from {'its store' if len(removed) == 1 else 'their stores'}.")
        if left := len(did.objects) - len(removed):
            say(f"{count(left, 'package')} could not be removed yet; workers, and `tidemill up`, try again.")


def _say(would: Purge, delete: bool) -> None:
    """What would go, and what would stay."""
    from tidemill.executors.amounts import amount

    touched = would.touched
    files = would.objects
    tell(f"Project {touched.project}{' (locked)' if touched.locked else ''}:")
    tell(f"  {count(touched.items, 'item')} would go")
    if touched.items_elsewhere:
        tell(f"  {count(touched.items_elsewhere, 'item')} would stay, standing in another project, too")
    if touched.items_with_history:
        tell(f"  {count(touched.items_with_history, 'item')} would stay without a project: runs have them on record")
    if would.in_hand:
        tell(f"  {count(len(would.in_hand), 'package')} in hand would be cancelled")
    size = amount(sum(row["size"] for row in files))
    downloaded = f", downloaded {touched.downloads:,} times" if touched.downloads else ""
    tell(f"  {count(len(files), 'computed file')} would go, {size}{downloaded}")
    for row in files[:SHOWN]:
        tell(f"    {row['name']}  {amount(row['size'])}  {row['store']}/{row['key']}")
    if len(files) > SHOWN:
        tell(f"    … and {len(files) - SHOWN:,} more")
    if files:
        tell(f"  their bytes would {'be removed from their stores' if delete else 'stay where they are'}")
    tell(f"  {count(touched.files, 'original file')} would stay in the catalogue")


def _told(purge: Purge, *, done: bool, removed: list[Removed] | None = None) -> dict[str, Any]:
    return asdict(purge.touched) | {
        "computed_files": purge.objects,
        "in_hand": list(purge.in_hand),
        "done": done,
        "removed": [asdict(one) for one in removed or ()],
    }
