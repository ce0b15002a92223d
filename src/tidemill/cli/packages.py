"""`tidemill generate-computed-files`, `load-data`, `dispatch-to-batch`, `computed-files`: making packages."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.load_metadata import Bucket, CleanUpInput, Projects, ReloadExisting, ReloadLocked
from tidemill.cli.output import AsJson, count, emit, say, table, tell

if TYPE_CHECKING:
    from tidemill.cli.packing import Attended
    from tidemill.main import Site
    from tidemill.publishing.package_runs import Begun, Wish
    from tidemill.publishing.removing import Removed

SHOWN = 20

MaxWorkers = Annotated[int, typer.Option(min=1, help="Packages that this process makes at once.")]
CleanUpOutput = Annotated[
    bool, typer.Option("--clean-up-output-data", help="Remove packages from the site's folder that were uploaded.")
]
UpdateS3 = Annotated[bool, typer.Option("--update-s3", help="Upload, whatever publishing.upload says.")]
RegenerateAll = Annotated[bool, typer.Option("--regenerate-all", help="Also packages that are there and unchanged.")]


@application.command("generate-computed-files", rich_help_panel="Packages")
def generate_computed_files(
    project_id: Projects = None,
    max_workers: MaxWorkers = 10,
    clean_up_input_data: CleanUpInput = False,
    clean_up_output_data: CleanUpOutput = False,
    update_s3: UpdateS3 = False,
    regenerate_all: RegenerateAll = False,
    json: AsJson = False,
) -> None:
    """Make the packages that are due: those that are not there yet, and those whose contents have changed.

    It starts a run and works on it; other workers may help. Ctrl-C gives back what is in hand, and the run can go on.
    """
    door.quiet()
    told, code = door.run(
        _generate(_wish(project_id, update_s3, regenerate_all), max_workers, clean_up_output_data, json)
    )
    if json:
        emit(told)
    if clean_up_input_data and not json:
        say("--clean-up-input-data: packages are streamed from their sources; there is nothing to clean up.")
    raise typer.Exit(code)


@application.command("load-data", rich_help_panel="Packages")
def load_data(
    input_bucket_name: Bucket = None,
    reload_existing: ReloadExisting = False,
    reload_locked: ReloadLocked = False,
    project_id: Projects = None,
    max_workers: MaxWorkers = 10,
    clean_up_input_data: CleanUpInput = False,
    clean_up_output_data: CleanUpOutput = False,
    update_s3: UpdateS3 = False,
    regenerate_all: RegenerateAll = False,
    json: AsJson = False,
) -> None:
    """Load metadata, then make the packages that are due: load-metadata and generate-computed-files in one."""
    from tidemill.catalogue.metadata import LoadWish
    from tidemill.cli.load_metadata import load, tell_mistakes, tell_summary
    from tidemill.errors import TablesRefused

    loading = LoadWish(input_bucket_name, reload_existing, reload_locked, tuple(project_id or ()), dry_run=False)
    try:
        report = door.run(load(loading, json=json))
    except TablesRefused as error:
        tell_mistakes(error, json=json)
        raise
    if not json:
        tell_summary(report)
    told, code = door.run(
        _generate(_wish(project_id, update_s3, regenerate_all), max_workers, clean_up_output_data, json)
    )
    if json:
        emit({"metadata": report.told(), "packages": told})
    if clean_up_input_data and not json:
        say("--clean-up-input-data: nothing was copied here, so there is nothing to clean up.")
    raise typer.Exit(code)


@application.command("dispatch-to-batch", rich_help_panel="Packages")
def dispatch_to_batch(
    regenerate_all: RegenerateAll = False,
    project_id: Projects = None,
    update_s3: UpdateS3 = False,
    json: AsJson = False,
) -> None:
    """Start a run of the packages that are due, and leave it to workers and to the engine that the site names."""
    raise typer.Exit(door.run(_dispatch(_wish(project_id, update_s3, regenerate_all), json)))


@application.command("computed-files", rich_help_panel="Packages")
def computed_files(
    project_id: Projects = None,
    replaced: Annotated[bool, typer.Option("--replaced", help="Also files that were replaced.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, in order of name.")] = 1000,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many first.")] = 0,
    json: AsJson = False,
) -> None:
    """List the packages with their computed files: size, SHA-256, when each was made, and how it stands."""
    rows = door.run(_listed(project_id, replaced, limit, offset))
    if json:
        return emit(rows)
    return table(
        ["id#", "name", "state", "project", "size#", "sha256", "made", "run#", "downloads#"],
        (
            [row[key] for key in ("id", "name", "state", "project", "size", "sha256", "updated_at", "run", "downloads")]
            for row in rows
        ),
        empty="There are no packages. The site file declares them; tidemill generate-computed-files makes them.",
    )  # fmt: skip


def _wish(projects: list[str] | None, update_s3: bool, regenerate: bool) -> dict[str, Any]:
    return {"projects": projects or None, "upload": update_s3, "regenerate": regenerate}


async def _listed(projects: list[str] | None, replaced: bool, limit: int, offset: int) -> list[dict[str, Any]]:
    from tidemill.publishing import computed_files as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.listing(session, projects=projects or None, replaced=replaced, limit=limit, offset=offset)


async def _begun(site: Site, wished: dict[str, Any]) -> Begun:
    from tidemill.publishing import package_runs
    from tidemill.publishing.package_runs import Wish
    from tidemill.publishing.registering import Registrar

    await Registrar(site.documents).register(site.database)  # what was finished while nobody looked is not due
    wish: Wish = Wish(site.settings.packages_folder, **wished)
    async with site.database.begin() as session:
        return await package_runs.begin(session, site.documents, wish)


async def _dispatch(wished: dict[str, Any], json: bool) -> Exit:
    from tidemill.publishing import package_runs

    async with door.opened() as site:
        begun = await _begun(site, wished)
        address = f"http://{site.settings.host}:{site.settings.port}/runs/{begun.run}" if begun.run else None
        packers = await package_runs.packers(site.database) if begun.run else {}
    if json:
        emit(_told(begun) | {"address": address})
    else:
        _say_beginning(begun)
        if begun.run:
            tell(f"Run {begun.run}: {address}")
            say(f"It is left to {', '.join(packers)} and the workers there are. To follow: tidemill watch {begun.run}")
    return Exit.SOME_FAILED if begun.faults else Exit.OK


async def _generate(wished: dict[str, Any], slots: int, clean_up: bool, json: bool) -> tuple[dict[str, Any], Exit]:
    """Make what is due; what there is to tell, and how it ended."""
    from tidemill.publishing.removing import remove_replaced

    async with door.opened() as site:
        begun = await _begun(site, wished)
        if not json:
            _say_beginning(begun)
        attended = await _attended(site, begun, slots, json)
        if begun.busy and attended is not None and not (attended.left or attended.failures()):
            # Runs that others began may have made them by an older plan, or for another store.
            further = await _begun(site, wished | {"regenerate": False})
            if further.run or further.busy:
                if not json:
                    _say_beginning(further)
                begun.run, begun.packages = begun.run or further.run, begun.packages + further.packages
                attended.add(await _attended(site, further, slots, json))
        removed: list[Removed] = []
        if clean_up:
            removed = await remove_replaced(site.database, at_once_below=site.settings.packages_folder.as_uri())
    if not json:
        _say_end(attended, removed, clean_up)
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


def _say_beginning(begun: Begun) -> None:
    from tidemill.executors.amounts import amount

    for fault in begun.faults:
        tell(f"✕ {fault.sentence()}")
    if begun.run:
        say(f"Run {begun.run}: {count(len(begun.packages), 'package')} of {amount(begun.size)} to {begun.store.url}.")
    if begun.busy:
        runs = ", ".join(str(run) for run in sorted({busy.run for busy in begun.busy}))
        say(f"{count(len(begun.busy), 'package')} in hand already, in run {runs}.")
    if begun.unchanged:
        say(f"{count(begun.unchanged, 'package')} there and unchanged.")
    if not (begun.run or begun.busy or begun.unchanged or begun.faults):
        say("There is nothing to pack: no package that the site declares has any files.")
    elif not (begun.run or begun.busy or begun.faults):
        say("Nothing to do.")


def _say_end(attended: Attended | None, removed: list[Removed], clean_up: bool) -> None:
    from tidemill.cli.packing import in_short
    from tidemill.executors.amounts import amount

    if attended is not None:
        tell(f"Packages: {in_short(attended)}.")
        failures = attended.failures()
        for failure in failures[:SHOWN]:
            tell(f"  ✕ {failure['name']}: {failure['reason']}")
        if len(failures) > SHOWN:
            tell(f"  … and {len(failures) - SHOWN:,} more")
        if attended.unfinished:
            runs = ", ".join(map(str, attended.unfinished))
            say(f"Run {runs} goes on where a worker is; the same command joins it again.")
    if clean_up:
        size = amount(sum(one.size for one in removed))
        say(
            f"Removed {count(len(removed), 'package')} from the site's folder, {size}."
            if removed
            else "Nothing to clean up."
        )


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
