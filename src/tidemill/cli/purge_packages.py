"""`tidemill purge-computed-files`: take packages out of the offer that nothing calls for any more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.load_metadata import Projects
from tidemill.cli.output import AsJson, Yes, confirm, count, emit, say, tell
from tidemill.cli.packing_words import left_over_told, tell_left_over

if TYPE_CHECKING:
    from tidemill.publishing.left_over import LeftOver


@application.command("purge-computed-files", rich_help_panel="Packages")
def purge_computed_files(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these packages.", show_default=False)
    ] = None,
    project_id: Projects = None,
    delete_from_s3: Annotated[
        bool, typer.Option("--delete-from-s3", help="Remove their bytes at once, not after publishing.keep_replaced.")
    ] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Take packages away that are left over: nothing in the site file and the catalogue calls for them any more.

    It says first which, and asks; where nobody can be asked it does no more than that, unless --yes is given. They go
    the way replaced ones do: links that were given out stay good for publishing.keep_replaced, then the bytes go.
    """
    door.run(_purge(names or [], project_id or None, delete_from_s3, yes, json))


async def _purge(names: list[str], projects: list[str] | None, delete: bool, yes: bool, json: bool) -> None:
    from tidemill.publishing import retiring
    from tidemill.publishing.registering import Registrar
    from tidemill.publishing.removing import remove_replaced

    async with door.opened() as site:
        await Registrar(site.documents).register(site.database)
        async with site.database.begin() as session:
            would = await retiring.preview(session, projects=projects, names=names)
        if not json:
            _say(would, delete)
        if not would or (not yes and not sys.stdin.isatty()):
            if json:
                emit({"packages": [left_over_told(one) for one in would], "done": False, "removed": []})
            elif would:
                say("Nothing was changed: give --yes to do it.")
            return
        confirm(f"Take {count(len(would), 'package')} out of the offer?", yes=yes)
        async with site.database.begin() as session:
            did = await retiring.retire(session, projects=projects, names=[one.name for one in would])
        removed = await remove_replaced(site.database, at_once=did.files) if delete else []
    if json:
        told = [left_over_told(one) for one in did.packages]
        emit({"packages": told, "done": True, "cancelled": did.cancelled, "removed": [one.name for one in removed]})
        return
    tell(f"{count(len(did.packages), 'package')} taken out of the offer.")
    if delete:
        say(f"Removed {count(len(removed), 'package')} from {'its store' if len(removed) == 1 else 'their stores'}.")
        if left := len(did.files) - len(removed):
            say(f"{count(left, 'package')} could not be removed yet; workers, and `tidemill up`, try again.")


def _say(would: list[LeftOver], delete: bool) -> None:
    """What would go."""
    if not would:
        say("Nothing is left over: all packages that there are are called for.")
        return
    tell(f"{count(len(would), 'package')} left over:")
    tell_left_over(would)
    if busy := sum(one.run is not None for one in would):
        tell(f"{count(busy, 'package')} in hand would be cancelled")
    tell(f"their bytes would be removed {'at once' if delete else 'once the links that were given out have run out'}")
