"""`tidemill load-metadata`: projects and items as the metadata files of the sources describe them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, count, emit, err, say, tell
from tidemill.errors import TablesRefused

if TYPE_CHECKING:
    from tidemill.catalogue.metadata import LoadReport, LoadWish
    from tidemill.catalogue.metadata_write import ProjectReport

SHOWN = 10

Bucket = Annotated[
    str | None,
    typer.Option(
        "--input-bucket-name", help="Only from this source: its name, BUCKET or BUCKET/PREFIX.", show_default=False
    ),
]
ReloadExisting = Annotated[bool, typer.Option("--reload-existing", help="Also projects that were loaded before.")]
ReloadLocked = Annotated[bool, typer.Option("--reload-locked", help="Also projects that are locked.")]
Projects = Annotated[
    list[str] | None,
    typer.Option("--project-id", help="Only this project; may be given again.", show_default=False),
]
CleanUpInput = Annotated[
    bool,
    typer.Option("--clean-up-input-data", help="Accepted; nothing is copied here that would have to be cleaned up."),
]
UpdateS3 = Annotated[bool, typer.Option("--update-s3", help="Accepted; metadata alone upload nothing (see load-data).")]


@application.command("load-metadata", rich_help_panel="Items")
def load_metadata(
    input_bucket_name: Bucket = None,
    reload_existing: ReloadExisting = False,
    reload_locked: ReloadLocked = False,
    project_id: Projects = None,
    clean_up_input_data: CleanUpInput = False,
    update_s3: UpdateS3 = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all and say what would happen; do nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make projects and items as the metadata files in the sources describe them ([[tables]] of the site file).

    All files are checked before anything is written. Each project is written as a whole or not at all.
    """
    from tidemill.catalogue.metadata import LoadWish

    wish = LoadWish(input_bucket_name, reload_existing, reload_locked, tuple(project_id or ()), dry_run)
    try:
        report = door.run(load(wish, json=json))
    except TablesRefused as error:
        tell_mistakes(error, json=json)
        raise
    if json:
        emit(report.told())
        return
    tell_summary(report)
    if clean_up_input_data:
        say("--clean-up-input-data: nothing was copied here, so there is nothing to clean up.")
    if update_s3:
        say("--update-s3: loading metadata uploads nothing; `tidemill load-data` does.")


async def load(wish: LoadWish, *, json: bool = False) -> LoadReport:
    """Load; a line for each project when it is done, unless JSON is printed at the end."""
    from tidemill.catalogue import metadata

    async with door.opened() as site:
        if json:
            return await metadata.load(site.database, wish)
        if not sys.stderr.isatty():
            return await metadata.load(site.database, wish, tell_project)
        with err().status("Reading the metadata files …") as status:

            def read(files: int, of: int) -> None:
                status.update(f"Reading the metadata files: {files:,} of {of:,} …")

            def wrote(project: str | None, items: int, of: int) -> None:
                status.update(f"{escape(_called(project))}: {items:,} of {count(of, 'item')} …")

            def tell_above(done: ProjectReport) -> None:
                status.stop()
                tell_project(done)
                status.start()

            return await metadata.load(site.database, wish, tell_above, read, wrote)


def _called(project: str | None) -> str:
    return project if project is not None else "(items of no project)"


def tell_project(done: ProjectReport) -> None:
    """One line of a project, and what a person should know of it beneath."""
    name = _called(done.project)
    reasons = {
        "skipped": "loaded before; left alone without --reload-existing",
        "locked": "locked; left alone without --reload-locked",
        "unnamed": "no metadata file names it; left alone",
    }
    if done.outcome in reasons:
        tell(f"{name}: {reasons[done.outcome]}")
        return
    parts = f", {count(done.parts, 'part')}" if done.parts else ""
    tell(f"{name}: {done.outcome}; {count(done.items, 'item')}, {done.created:,} new, {done.changed:,} changed{parts}")
    for what, names in (
        ("no longer named, and taken out of the project", done.left),
        ("no longer named; they stay in the project, since files of it belong to them", done.kept),
    ):
        if names:
            tell(f"  {count(len(names), 'item')} {what}: {_first(names)}")


def _first(names: list[str]) -> str:
    more = f", … and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def tell_summary(report: LoadReport) -> None:
    """What came of it all."""
    counts = report.counts()
    words = [
        f"{counts[word]:,} {word}"
        for word in ("created", "changed", "unchanged", "skipped", "locked")
        if counts.get(word)
    ]
    would = " (dry run: nothing was written)" if report.dry_run else ""
    say(
        f"{count(report.files, 'file')} read; projects: {', '.join(words) or 'none'}; "
        f"{count(counts['items_created'], 'new item')}, {counts['items_changed']:,} changed{would}."
    )
    for table in report.unused:
        say(f"  table {table!r}: no synced file matches its pattern")
    if report.gone:
        named = "named by no metadata file any more, and left as they are"
        say(f"  {count(len(report.gone), 'project')} {named}: {_first(report.gone)}")


def tell_mistakes(error: TablesRefused, *, json: bool) -> None:
    """Every mistake that is listed, one a line; `error` itself says how many there are."""
    if json:
        emit({"mistakes": error.count, "faults": error.faults})
        return
    for fault in error.faults:
        tell(str(fault["told"]))
    if error.count > len(error.faults):
        tell(f"… and {error.count - len(error.faults):,} more.")
