"""`tidemill generate-computed-files`, `load-data`, `dispatch-to-batch`, `computed-files`: making packages."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.load_metadata import Bucket, Projects, ReloadExisting, ReloadLocked
from tidemill.cli.output import AsJson, count, emit, say, table, tell
from tidemill.cli.packing_options import DryRun, Making, Which, having
from tidemill.cli.packing_words import (
    at_it,
    left_over_told,
    say_beginning,
    say_end,
    say_left_over,
    say_rehearsal,
    tell_checked,
)

if TYPE_CHECKING:
    from tidemill.catalogue.metadata import LoadReport
    from tidemill.cli.packing import Attended
    from tidemill.main import Site
    from tidemill.publishing.checking import Checked
    from tidemill.publishing.members import Members
    from tidemill.publishing.package_runs import Begun, Wish
    from tidemill.publishing.removing import Removed


PLANNING = "Planning the packages"


@application.command("generate-computed-files", rich_help_panel="Packages")
@having(Making)
def generate_computed_files(making: Making, dry_run: DryRun = False, json: AsJson = False) -> None:
    """Make the packages that are due: those that are not there yet, and those whose contents have changed.

    It starts a run and works on it; other workers may help. Ctrl-C gives back what is in hand, and the run can go on.
    """
    door.quiet()
    if dry_run:
        raise typer.Exit(_say_rehearsed(door.run(_rehearse(making.wish(), json)), json))
    told, code = door.run(_generate(making, json))
    if json:
        emit(told)
    if making.clean_up_input_data and not json:
        say("--clean-up-input-data: packages are streamed from their sources; there is nothing to clean up.")
    raise typer.Exit(code)


@application.command("load-data", rich_help_panel="Packages")
@having(Making)
def load_data(
    making: Making,
    input_bucket_name: Bucket = None,
    reload_existing: ReloadExisting = False,
    reload_locked: ReloadLocked = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Load metadata, then make the packages that are due: load-metadata and generate-computed-files in one."""
    from tidemill.catalogue.metadata import LoadWish
    from tidemill.cli.load_metadata import load, tell_mistakes, tell_summary
    from tidemill.errors import TablesRefused

    projects = tuple(making.project_id or ())
    loading = LoadWish(input_bucket_name, reload_existing, reload_locked, projects, dry_run)
    try:
        report = door.run(load(loading, json=json))
    except TablesRefused as error:
        tell_mistakes(error, json=json)
        raise
    if not json:
        tell_summary(report)
    if dry_run:
        raise typer.Exit(_say_estimate(door.run(_rehearsed_if_known(making.wish(), json)), report, json))
    told, code = door.run(_generate(making, json))
    if json:
        emit({"metadata": report.told(), "packages": told})
    if making.clean_up_input_data and not json:
        say("--clean-up-input-data: nothing was copied here, so there is nothing to clean up.")
    raise typer.Exit(code)


@application.command("dispatch-to-batch", rich_help_panel="Packages")
@having(Which)
def dispatch_to_batch(which: Which, dry_run: DryRun = False, json: AsJson = False) -> None:
    """Start a run of the packages that are due, and leave it to workers and to the engine that the site names."""
    if dry_run:
        raise typer.Exit(_say_rehearsed(door.run(_rehearse(which.wish(), json)), json))
    raise typer.Exit(door.run(_dispatch(which.wish(), json)))


@application.command("computed-files", rich_help_panel="Packages")
def computed_files(
    project_id: Projects = None,
    replaced: Annotated[bool, typer.Option("--replaced", help="Also files that were replaced.")] = False,
    left_over: Annotated[
        bool, typer.Option("--left-over", help="Only packages that nothing calls for any more.")
    ] = False,
    members: Annotated[
        int | None, typer.Option("--members", help="List what is in the computed file of this id.", show_default=False)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Look whether their bytes lie in their stores, and list those that do not.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, in order of name.")] = 1000,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many first.")] = 0,
    json: AsJson = False,
) -> None:
    """List the packages with their computed files: size, SHA-256, when each was made, and how it stands."""
    if check:
        if members is not None or replaced or left_over:
            raise typer.BadParameter("--check looks at all that can be had; of --project-id, if given.")
        raise typer.Exit(_tell_checked(door.run(_checked(project_id)), json))
    if members is not None:
        return _tell_members(door.run(_members(members, limit, offset)), offset, json)
    asked = {"projects": project_id or None, "replaced": replaced, "left_over": left_over}
    rows = door.run(_listed(asked | {"limit": limit, "offset": offset}))
    if json:
        return emit(rows)
    table(
        ["id#", "name", "state", "project", "size#", "sha256", "made", "run#", "downloads#"],
        (
            [row[key] for key in ("id", "name", "state", "project", "size", "sha256", "updated_at", "run", "downloads")]
            for row in rows
        ),
        empty=_none(project_id, replaced, left_over, offset),
    )
    if len(rows) == limit:
        say(f"These are {limit:,}; if there are more, --offset {offset + limit} lists them.")
    return None


def _none(projects: list[str] | None, replaced: bool, left_over: bool, offset: int) -> str:
    """What is said where nothing is listed."""
    if left_over:
        return "No package is left over, as far as it was looked at when packages were planned last."
    if projects or offset:
        return "There are no such packages."
    retired = "" if replaced else " (--replaced lists also those that were replaced or retired)"
    return f"There are no packages{retired}. The site file declares them; tidemill generate-computed-files makes them."


async def _listed(asked: dict[str, Any]) -> list[dict[str, Any]]:
    from tidemill.publishing import computed_files as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.listing(session, **asked)


async def _members(file: int, limit: int, offset: int) -> Members:
    from tidemill.publishing.members import members

    async with door.opened() as site, site.database.begin() as session:
        return await members(session, site.documents, file, limit=limit, offset=offset)


def _tell_members(found: Members, offset: int, json: bool) -> None:
    if json:
        return emit(asdict(found))
    if not found.known:
        return say(f"The app that packed {found.name} did not say what is in it.")
    table(["name", "size#", "sha256"], ([one["name"], one["size"], one["sha256"]] for one in found.rows), empty="None.")
    if len(found.rows) < found.total:
        say(f"{offset + 1:,} to {offset + len(found.rows):,} of {count(found.total, 'member')}; --offset for others.")
    return None


async def _checked(projects: list[str] | None) -> Checked:
    from tidemill.publishing.checking import check

    async with door.opened() as site, site.database.begin() as session:
        return await check(session, projects=projects or None)


def _tell_checked(checked: Checked, json: bool) -> Exit:
    if json:
        emit(asdict(checked))
    else:
        tell_checked(checked)
    return Exit.SOME_FAILED if checked.amiss or checked.unseen else Exit.OK


async def _begun(site: Site, wished: dict[str, Any], json: bool) -> Begun:
    from tidemill.publishing import package_runs
    from tidemill.publishing.package_runs import Wish
    from tidemill.publishing.registering import Registrar

    await Registrar(site.documents).register(site.database)  # what was finished while nobody looked is not due
    wish: Wish = Wish(site.settings.packages_folder, **wished)
    with at_it(PLANNING, json=json):
        async with site.database.begin() as session:
            return await package_runs.begin(session, site.documents, wish)


async def _rehearse(wished: dict[str, Any], json: bool) -> Begun:
    """What would be made."""
    from tidemill.publishing import package_runs
    from tidemill.publishing.package_runs import Wish
    from tidemill.publishing.registering import Registrar

    async with door.opened() as site:
        await Registrar(site.documents).register(site.database)
        with at_it(PLANNING, json=json):
            async with site.database.begin() as session:
                return await package_runs.rehearse(session, Wish(site.settings.packages_folder, **wished))


async def _rehearsed_if_known(wished: dict[str, Any], json: bool) -> Begun | None:
    """The same; None where a project that was named is not there before its metadata are loaded."""
    from tidemill.errors import NotFound

    try:
        return await _rehearse(wished, json)
    except NotFound:
        return None


def _say_estimate(begun: Begun | None, report: LoadReport, json: bool) -> Exit:
    """What would be made if the metadata stayed as they are, and that this is so."""
    counts = report.counts()
    changes = begun is None or any(counts.get(word) for word in ("created", "changed"))
    if json:
        told = None if begun is None else _told(begun) | {"dry_run": True, "estimate": changes}
        emit({"metadata": report.told(), "packages": told})
    else:
        if begun is not None:
            say_rehearsal(begun)
        if changes:
            say("Which packages are due once these metadata are loaded cannot be said before: more may be.")
    return Exit.SOME_FAILED if begun is not None and begun.faults else Exit.OK


def _say_rehearsed(begun: Begun, json: bool) -> Exit:
    """Say what would be made."""
    if json:
        emit(_told(begun) | {"dry_run": True})
    else:
        say_rehearsal(begun)
    return Exit.SOME_FAILED if begun.faults else Exit.OK


async def _dispatch(wished: dict[str, Any], json: bool) -> Exit:
    from tidemill.publishing import package_runs

    async with door.opened() as site:
        begun = await _begun(site, wished, json)
        address = f"http://{site.settings.host}:{site.settings.port}/runs/{begun.run}" if begun.run else None
        packers = await package_runs.packers(site.database) if begun.run else {}
    if json:
        emit(_told(begun) | {"address": address})
    else:
        say_beginning(begun)
        if begun.run:
            tell(f"Run {begun.run}: {address}")
            say(f"It is left to {', '.join(packers)} and the workers there are. To follow: tidemill watch {begun.run}")
        say_left_over(begun)
    return Exit.SOME_FAILED if begun.faults else Exit.OK


async def _generate(making: Making, json: bool) -> tuple[dict[str, Any], Exit]:
    """Make what is due; what there is to tell, and how it ended."""
    from tidemill.publishing.removing import remove_replaced

    wished, slots, clean_up = making.wish(), making.max_workers, making.clean_up_output_data
    async with door.opened() as site:
        begun = await _begun(site, wished, json)
        if not json:
            say_beginning(begun)
        attended = await _attended(site, begun, slots, json)
        if begun.busy and attended is not None and not (attended.left or attended.failures()):
            # Runs that others began may have made them by an older plan, or for another store.
            further = await _begun(site, wished | {"regenerate": False}, json)
            if further.run or further.busy:
                if not json:
                    say_beginning(further)
                begun.run, begun.packages = begun.run or further.run, begun.packages + further.packages
                attended.add(await _attended(site, further, slots, json))
        removed: list[Removed] = []
        if clean_up:
            removed = await remove_replaced(site.database, at_once_below=site.settings.packages_folder.as_uri())
    if not json:
        say_end(attended, removed, clean_up)
        say_left_over(begun)
    return _told(begun, attended, removed), _code(begun, attended)


async def _attended(site: Site, begun: Begun, slots: int, json: bool) -> Attended | None:
    """Work on what has begun, and on what others have in hand of it, until it is made; None: there is nothing."""
    from tidemill.cli.packing import attend

    runs = sorted({*(busy.run for busy in begun.busy), *([begun.run] if begun.run else [])})
    names = [*begun.packages, *(busy.name for busy in begun.busy)]
    return await attend(site, runs, names, slots, json=json) if runs else None


def _code(begun: Begun, attended: Attended | None) -> Exit:
    if attended is not None and attended.left:
        return Exit.INTERRUPTED
    return Exit.SOME_FAILED if begun.faults or (attended is not None and attended.failures()) else Exit.OK


def _told(begun: Begun, attended: Attended | None = None, removed: list[Removed] | None = None) -> dict[str, Any]:
    """The same for programs."""
    told: dict[str, Any] = {
        "run": begun.run,
        "batch": begun.batch or None,
        "store": begun.store.url,
        "packages": begun.packages,
        "size": begun.size,
        "unchanged": begun.unchanged,
        "in_hand": [asdict(busy) for busy in begun.busy],
        "left_out": [
            {key: getattr(one, key) for key in ("package", "project", "why", "fault", "count")}
            for one in begun.left_out
        ],
        "due": [
            {
                "name": one.name,
                "package": one.package,
                "project": one.metadata["project"],
                "size": one.size,
                "why": one.why,
            }
            for one in begun.due
        ],
        "left_over": [left_over_told(one) for one in begun.left_over],
        "unseen": [asdict(one) for one in begun.unseen],
    }
    if attended is None:
        return told
    made = [
        {key: row[key] for key in ("name", "project", "size", "state", "reason", "task")} for row in attended.packages
    ]
    return told | {
        "made": made,
        "failures": attended.failures(),
        "unfinished": attended.unfinished,
        "removed": [asdict(one) for one in removed or ()],
    }
