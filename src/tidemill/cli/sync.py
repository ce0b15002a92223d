"""`tidemill sync-original-files`, `sync`, `syncs`: making the catalogue true to its sources, and what that did."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, complain, count, duration, emit, err, say, table, tell
from tidemill.domain.keys import printable
from tidemill.errors import DatabaseUnavailable, TidemillError

if TYPE_CHECKING:
    from tidemill.catalogue.listing import Listed
    from tidemill.catalogue.sync_report import SyncReport

SHOWN = 10


def sync_original_files(
    source: Annotated[
        str | None, typer.Argument(help="Name of the source; none: every source.", show_default=False)
    ] = None,
    bucket: Annotated[
        str | None, typer.Option(help="Only sources in this bucket, or BUCKET/PREFIX.", show_default=False)
    ] = None,
    allow_bucket_wipe: Annotated[
        bool, typer.Option("--allow-bucket-wipe", help="Let files go, however many are gone from the source.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another sync of the source is going on.")] = False,
    json: AsJson = False,
) -> None:
    """Make the catalogue true to what lies in the sources: files, items, projects, locks."""
    with _progress(json) as progress:
        reports, errors = door.run(
            _sync(source, bucket, progress, allow_wipe=allow_bucket_wipe, dry_run=dry_run, wait=wait)
        )
    if json:
        emit([report.as_json(whole=True) for report in reports])
    else:
        for report in reports:
            _tell_report(report)
    for error in errors[1:]:
        complain(error.message, error.hint)
    if errors:
        raise errors[0]
    if not reports and not json:
        say("There are no sources. `tidemill apply` makes them from a site file.")


application.command("sync-original-files", rich_help_panel="Items")(sync_original_files)
application.command("sync", rich_help_panel="Items", help="The short name of `sync-original-files`.")(
    sync_original_files
)


@application.command(rich_help_panel="Items")
def syncs(
    source: Annotated[str | None, typer.Argument(help="Name of a source; none: of all.", show_default=False)] = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="Only those that changed something, or failed.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    json: AsJson = False,
) -> None:
    """List the newest syncs: when each was, what it found and what it did."""
    rows = door.run(_syncs(source, limit, effective))
    if json:
        emit(rows)
        return
    table(
        ["sync#", "source", "finished", "took#", "seen#", "new#", "changed#", "gone#", "unmatched#", "what came of it"],
        (
            [r["id"], r["source"], r["finished_at"], duration((r["finished_at"] - r["started_at"]).total_seconds()),
             f"{r['seen']:,}", f"{r['created']:,}", f"{r['changed']:,}", f"{r['deleted']:,}",
             f"{r['details']['unmatched']['count']:,}", came(r["details"])]
            for r in rows
        ),
        empty="No source was read yet.",
    )  # fmt: skip


def came(details: dict[str, Any]) -> str:
    """What came of a sync, in a few words."""
    if details["error"]:
        return f"failed: {details['error']}"
    if details["refused"]:
        return f"dry run; would stop: {details['refused']}"
    word = "changed something" if details["did_something"] else "nothing to do"
    return f"dry run; {word.replace('changed', 'would change')}" if details["dry_run"] else word


@contextmanager
def _progress(silent: bool) -> Iterator[Callable[[str, int], None]]:
    """Within: how far the listing is, on a terminal."""
    if silent or not sys.stderr.isatty():
        yield lambda source, seen: None
        return
    with err().status("Reading …") as status:
        yield lambda source, seen: status.update(f"Reading {printable(source)}: {count(seen, 'file')} seen …")


def _tell_report(report: SyncReport) -> None:
    new = f"{count(report.items, 'new item')}, {count(report.projects, 'new project')}"
    would = " (a dry run: nothing was changed)" if report.dry_run else ""
    tell(
        f"{report.source}: {count(report.seen, 'file')} seen, {report.created:,} new, {report.changed:,} changed, "
        f"{report.deleted:,} gone; {new}{would}."
    )
    if report.refused:
        tell(f"  The sync itself would stop. {report.refused}")
    _tell_listed("gone from the source", report.gone)
    _tell_number(report.kept, "gone from the source, and kept since their project is locked")
    _tell_listed("matched by no layout rule", report.unmatched)
    _tell_listed("not usable: they cannot be read, or no path or name can be made of them", report.unreadable)
    _tell_number(report.untied, "taken from items that their keys or the rules no longer name")
    if report.locked:
        say(f"  {count(report.locked, 'project')} locked: the lock lies in the source")
    if report.unlocked:
        say(f"  {count(report.unlocked, 'project')} unlocked: the lock is gone")
    for project, number in report.held_out.items():
        say(f"  {count(number, 'item')} not put into project {printable(project)}, which is locked")


def _tell_number(number: int, what: str) -> None:
    if number:
        say(f"  {number:,} {what}")


def _tell_listed(what: str, listed: Listed) -> None:
    if listed.count:
        more = f", … and {listed.count - SHOWN:,} more" if listed.count > SHOWN else ""
        say(f"  {listed.count:,} {what}: {', '.join(map(printable, listed.keys[:SHOWN]))}{more}")


async def _sync(
    source: str | None, bucket: str | None, progress: Callable[[str, int], None], **options: Any
) -> tuple[list[SyncReport], list[TidemillError]]:
    """What came of each source, one that cannot be read stops no other; and what went wrong."""
    from tidemill.catalogue import sources
    from tidemill.catalogue.sync import sync

    reports, errors = [], []
    async with door.opened() as site:
        async with site.database.begin() as session:
            names = await sources.chosen(session, source, bucket)
        for name in names:

            def tick(seen: int, name: str = name) -> None:
                progress(name, seen)

            try:
                reports.append(await sync(site.database, name, progress=tick, **options))
            except DatabaseUnavailable:
                raise
            except TidemillError as error:
                errors.append(error)
    return reports, errors


async def _syncs(source: str | None, limit: int, effective: bool) -> list[dict[str, Any]]:
    from tidemill.catalogue import sources

    async with door.opened() as site, site.database.begin() as session:
        if source is not None:
            await sources.get(session, source)
        return await sources.syncs(session, source, limit=limit, effective=effective)
