"""`tidemill purge-computed-files`, `purge-strays`: taking packages away that nothing calls for, or points to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.load_metadata import Projects
from tidemill.cli.output import AsJson, Yes, confirm, count, emit, say, table, tell
from tidemill.cli.packing_words import SHOWN, at_it, left_over_told, may_ask, tell_left_over

if TYPE_CHECKING:
    from tidemill.publishing.left_over import LeftOver
    from tidemill.publishing.strays import Stray, Sweep

KINDS = {"package": "package", "upload": "unfinished upload", "part": "part file", "trial": "trial"}


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

    It says first which, and asks; where nobody can be asked, and with --json, it does no more without --yes. They go
    the way replaced ones do: links that were given out stay good for publishing.keep_replaced, then the bytes go.
    """
    door.run(_purge(names or [], project_id or None, delete_from_s3, yes, json))


async def _purge(names: list[str], projects: list[str] | None, delete: bool, yes: bool, json: bool) -> None:
    from tidemill.publishing import retiring
    from tidemill.publishing.registering import Registrar
    from tidemill.publishing.removing import remove_replaced

    async with door.opened() as site:
        await Registrar(site.documents).register(site.database)
        with at_it("Planning the packages", json=json):
            async with site.database.begin() as session:
                would = await retiring.preview(session, projects=projects, names=names)
        if not json:
            _say(would, delete)
        if not would or not may_ask(yes, json=json):
            if json:
                emit({"packages": [left_over_told(one) for one in would], "done": False, "removed": []})
            elif would:
                say("Nothing was changed: give --yes to do it.")
            return
        await confirm(f"Take {count(len(would), 'package')} out of the offer?", yes=yes)
        with at_it("Taking them away", json=json):
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
    tell(f"their bytes would be removed {'at once' if delete else 'after publishing.keep_replaced'}")


@application.command("purge-strays", rich_help_panel="Packages")
def purge_strays(
    older_than: Annotated[str, typer.Option(help="Only what is older, by the store's clock; 1h is the least.")] = "1d",
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Take away what cancelled tasks and killed builders left in the packages' stores, and no record points to.

    It says first what, and asks; where nobody can be asked, and with --json, it does no more without --yes. Touched
    are only packages that a plan of this site names and that are not in the works, dead part files, and trials.
    """
    from tidemill.errors import InvalidInput
    from tidemill.pipelines.quantities import seconds
    from tidemill.publishing.strays import check_age

    try:
        age = check_age(seconds(older_than))
    except ValueError as error:
        raise InvalidInput(f"--older-than is {older_than!r}; it {error}.") from None
    raise typer.Exit(door.run(_sweep(age, yes, json)))


async def _sweep(age: float, yes: bool, json: bool) -> Exit:
    from tidemill.publishing.strays import Sweeper

    async with door.opened() as site:
        sweeper = Sweeper(site.database, site.documents, site.settings.packages_folder, age)
        with at_it("Looking at the stores", json=json):
            found = await sweeper.sweep()
        if not json:
            _say_strays(found)
        done = bool(found.strays) and may_ask(yes, json=json)
        if done:
            shown = found.strays
            await confirm(f"Remove {count(len(shown), 'stray')}?", yes=yes)
            with at_it("Taking them away", json=json):
                found = await sweeper.sweep(remove=True, shown=shown)
    if json:
        emit(_strays_told(found, done))
    elif done:
        for trouble in found.troubles:
            tell(f"✕ {trouble}")
        gone = sum(one.removed for one in found.strays)
        tell(f"Removed {count(gone, 'stray')}.")
        if left := len(shown) - gone:
            say(f"{count(left, 'stray')} not: gone by now, or something has come to mean them, or see above.")
    elif found.strays:
        say("Nothing was changed: give --yes to do it.")
    return Exit.SOME_FAILED if found.troubles else Exit.OK


def _say_strays(found: Sweep) -> None:
    """What no record points to, and what was left alone."""
    from tidemill.executors.amounts import amount

    for trouble in found.troubles:
        tell(f"✕ {trouble}")
    if found.strays:
        tell(f"{count(len(found.strays), 'stray')}, {amount(found.size)}:")
        rows = [_stray_row(one) for one in found.strays[:SHOWN]]
        table(["kind", "size#", "of", "where"], rows, empty="")
        if len(found.strays) > SHOWN:
            tell(f"… and {len(found.strays) - SHOWN:,} more (--json lists all)")
    else:
        say(f"No strays among {count(found.looked, 'thing')} in the packages' stores.")
    for number, why in (
        (found.young, "too young to tell"),
        (found.busy, "left alone, since their packages are in the works"),
        (found.forgotten, "left alone, since a purge of their project left them there"),
        (found.foreign, "left alone, since no plan of this site names them"),
    ):
        if number:
            say(f"{number:,} {why}.")


def _stray_row(one: Stray) -> list[Any]:
    from tidemill.executors.amounts import amount

    lies = one.lies
    return [KINDS[lies.kind], amount(lies.size) if lies.size else "", lies.at, f"{one.place.url}/{lies.key}"]


def _strays_told(found: Sweep, done: bool) -> dict[str, Any]:
    numbers = {key: getattr(found, key) for key in ("looked", "young", "busy", "forgotten", "foreign", "troubles")}
    return {"strays": [one.told() for one in found.strays], "done": done, **numbers}
