"""`tidemill import`: records taken over from another system, once or for as long as both are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.output import AsJson, emit, emit_line, say, table

if TYPE_CHECKING:
    from tidemill.catalogue.couchdb_import import Told
    from tidemill.catalogue.imports import Counts

group = typer.Typer(help="Take records over from another system.", no_args_is_help=True)
application.add_typer(group, name="import", rich_help_panel="Items")


@group.command()
def couchdb(
    url: Annotated[str, typer.Argument(help="http://user:password@host:5984/database; the secrets are not kept.")],
    follow: Annotated[
        bool, typer.Option("--follow/--once", help="Go on with what changes there, until a signal comes.")
    ] = False,
    project: Annotated[
        str | None, typer.Option(help="Put the new items into this project.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=10_000, help="Documents in one transaction.")] = 500,
    include_design: Annotated[bool, typer.Option("--include-design", help="Take design documents, too.")] = False,
    json: AsJson = False,
) -> None:
    """Take over the documents of a CouchDB database, with their `process` as past steps.

    It goes on where it ended before. What was edited here since stays as it is here. Documents that cannot be taken are
    counted, and `tidemill import list --notes` names them.
    """
    code, counts = door.run(_couchdb(url, follow, project, batch_size, include_design, json))
    if not json:
        say(_sentence(counts))
    if code is not Exit.OK:
        raise typer.Exit(code)


@group.command("list")
def listing(
    notes: Annotated[
        bool, typer.Option("--notes", help="Name the documents that were not taken, or not in full, and say why.")
    ] = False,
    json: AsJson = False,
) -> None:
    """List the imports: how far they are, and what a person should look at."""
    rows = door.run(_listed(notes))
    if json:
        emit(rows)
        return
    table(
        ["import", "items#", "not taken#", "noted#", "last"],
        ([r["name"], r["items"], r["refused"], r["noted"], r["updated_at"]] for r in rows),
        empty="Nothing was imported yet. `tidemill import couchdb URL` begins.",
    )
    if notes:
        table(
            ["document", "taken", "why"],
            ([note["document"], note["taken"], note["note"]] for row in rows for note in row["notes"]),
            empty="There is nothing to note.",
        )


async def _couchdb(
    url: str, follow: bool, project: str | None, page: int, design: bool, json: bool
) -> tuple[Exit, Counts]:
    from tidemill.catalogue.couchdb import parse_address
    from tidemill.catalogue.couchdb_import import CouchDBImport
    from tidemill.catalogue.imports import Wish

    address = parse_address(url)
    stopped = False

    async with door.opened() as site:
        work = CouchDBImport(
            site.database,
            address,
            Wish(address.url, project, design),
            page=page,
            told=lambda told: _tell(told, follow=follow, json=json),
        )

        def signalled(_: int) -> None:
            nonlocal stopped
            stopped = True
            work.stop()

        with door.stop_signals(signalled):
            counts = await work.run(follow=follow)
    return Exit.INTERRUPTED if stopped and not follow else Exit.OK, counts


def _tell(told: Told, *, follow: bool, json: bool) -> None:
    if json:
        emit_line({"counts": told.counts, "caught_up": told.caught_up, "trouble": told.trouble or None})
    elif told.trouble:
        say(told.trouble)
    elif told.caught_up and follow:
        say(f"{_sentence(told.counts)} Following; Ctrl-C stops.")


def _sentence(counts: Counts) -> str:
    told = [
        f"{counts.created:,} created, {counts.changed:,} changed, {counts.unchanged:,} unchanged",
        *([f"{counts.deleted:,} deleted there"] if counts.deleted else []),
        *([f"{counts.left_out:,} left out"] if counts.left_out else []),
    ]
    more = []
    if counts.refused:
        more.append(f" {counts.refused:,} could not be taken: see `tidemill import list --notes`.")
    if counts.kept:
        more.append(f" {counts.kept:,} were edited here, which was kept: see `tidemill import list --notes`.")
    return f"{counts.documents:,} documents: {', '.join(told)}.{''.join(more)}"


async def _listed(notes: bool) -> list[dict[str, Any]]:
    from tidemill.catalogue import imports

    async with door.opened() as site, site.database.begin() as session:
        rows = await imports.listing(session)
        for row in rows if notes else []:
            row["notes"] = await imports.notes(session, row["name"])
    return rows
