"""`tidemill changes`, `view`, `cursors`: what changes on the site, what stands where, and who follows it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, cell, duration, emit, emit_line, out, say, table
from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.db.database import Row
    from tidemill.feed.filters import Filter
    from tidemill.feed.views import Counts, View
    from tidemill.sdk.client import Client

Words = list[str] | None
view = typer.Typer(help="What stands where: items by the step that they have done last.", no_args_is_help=True)
application.add_typer(view, name="view", rich_help_panel="Items")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reader of the feed has asked for."""

    which: Filter
    since: str | None
    cursor: str | None
    follow: bool
    docs: bool
    json: bool


@application.command(rich_help_panel="Items")
def changes(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on for ever; Ctrl-C stops.")] = False,
    since: Annotated[
        str | None,
        typer.Option(help="A position; 0: the beginning; now [default: 0, with --follow now].", show_default=False),
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option(help="Begin where this cursor stands, and move it with what was printed.", show_default=False),
    ] = None,
    kind: Annotated[Words, typer.Option(help="Of a task, run, item, project or app; may be repeated.")] = None,
    item: Annotated[Words, typer.Option(help="Of this item and its tasks; may be repeated.")] = None,
    project: Annotated[Words, typer.Option(help="Of items in this project; may be repeated.")] = None,
    status: Annotated[Words, typer.Option(help="Of items that have this status now; may be repeated.")] = None,
    last_step: Annotated[
        Words, typer.Option(help="Of items whose last step has exactly this name, or none; may be repeated.")
    ] = None,
    field: Annotated[Words, typer.Option(help="Of items with this metadata, KEY=VALUE; may be repeated.")] = None,
    run: Annotated[int | None, typer.Option(help="In this run.", show_default=False)] = None,
    include_docs: Annotated[
        bool, typer.Option("--include-docs", help="With each item's record (with --json).")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Ask the site at this address, without its database.", show_default=False)
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token for --url [default: $TIDEMILL_TOKEN].", show_default=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Print what changed on the site, oldest first; with --follow also what changes from now on."""
    from tidemill.feed.filters import Filter

    which = Filter(
        kinds=tuple(kind or ()),
        run=run,
        items=tuple(item or ()),
        projects=tuple(project or ()),
        statuses=tuple(status or ()),
        last_steps=tuple(last_step or ()),
        fields=tuple(_pair(one) for one in field or ()),
    )
    wish = Wish(which, since, cursor, follow, include_docs, json)
    if url is not None:
        door.run(_from_site(url, _token(token_file), wish))
    elif token_file is not None:
        raise InvalidInput("A token is for a site with --url.")
    else:
        door.run(_from_database(wish))


@view.command("last-step")
def last_step_view(
    step: Annotated[
        str | None, typer.Argument(help="Exact name of a step, or none; nothing: how many items at each.")
    ] = None,
    status: Annotated[Words, typer.Option(help="Only items with this status; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    after: Annotated[
        str | None, typer.Option(help="Go on from here: what the page before said.", show_default=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """How many items have done which step last, or which items have done this one."""
    if step is None:
        _tell_counts(door.run(_counts()), json=json)
    else:
        _tell_view(door.run(_view(step, status or (), limit, after)), json=json)


@application.command(rich_help_panel="Site")
def cursors(
    forget: Annotated[
        str | None, typer.Option(help="Keep the position of this cursor no longer.", show_default=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """Who follows the change feed with a cursor, and how far each has come."""
    rows = door.run(_cursors(forget))
    if json:
        emit(rows)
        return
    table(
        ["cursor", "position", "moved", "to come#", ""],
        (
            [row["name"], row["seq"], f"{duration(row['seconds'])} ago", _some(row["pending"]), _lost(row)]
            for row in rows
        ),
        empty="Nobody follows with a cursor.",
    )


async def _from_database(wish: Wish) -> None:
    from tidemill.feed import cursors as kept
    from tidemill.feed.reading import beginning, pages

    async with door.opened() as site:
        since = await beginning(site.database, wish.since, wish.cursor, "now" if wish.follow else "0")
        reading = pages(
            site.database, wish.which, since, docs=wish.docs, for_ever=wish.follow,
            lost=lambda error: say(f"{error.message} Waiting for it."),
        )  # fmt: skip
        async for page in reading:
            _print(page.results, json=wish.json)
            if wish.cursor is not None:
                async with site.database.begin() as session:
                    await kept.acknowledge(session, wish.cursor, page.last_seq)


async def _from_site(url: str, token: str, wish: Wish) -> None:
    """Over HTTP. The client's loop has a thread of its own, which a signal stops."""
    from tidemill.sdk.client import Client

    with Client(url, token) as client:
        if wish.follow:
            begin = wish.since or ("0" if wish.cursor else "now")
            following = client.changes(wish.cursor, since=begin, include_docs=wish.docs, **_filters(wish.which))
            try:
                await asyncio.to_thread(_loop, following, json=wish.json)
            finally:
                following.stop()
        else:
            await asyncio.to_thread(_pages, client, wish)


def _loop(following: Iterable[Row], *, json: bool) -> None:
    for change in following:
        _print([change], json=json)


def _pages(client: Client, wish: Wish) -> None:
    since, pending = wish.since, 1
    while pending:
        page = client.page(since=since, cursor=wish.cursor, include_docs=wish.docs, **_filters(wish.which))
        since, pending = page["last_seq"], page["pending"]
        _print(page["results"], json=wish.json)
        if wish.cursor is not None:
            client.acknowledge(wish.cursor, page["last_seq"])


def _filters(which: Filter) -> dict[str, Any]:
    """A filter as the client's methods take it."""
    return {
        "kind": which.kinds,
        "run": which.run,
        "item": which.items,
        "project": which.projects,
        "status": which.statuses,
        "last_step": which.last_steps,
        "fields": dict(which.fields),
    }


def _print(results: Iterable[Row], *, json: bool) -> None:
    for result in results:
        if json:
            emit_line(result)
        else:
            _tell_change(result)
    out().file.flush()


def _tell_change(result: Row) -> None:
    at = result["at"] if isinstance(result["at"], dt.datetime) else dt.datetime.fromisoformat(result["at"])
    what = result["item"] or result["project"] or (f"run {result['run']}" if result["run"] else "")
    (change,) = result["changes"]
    where = f" at {escape(change['name'])}" if change["name"] else ""
    run = f" (run {result['run']})" if result["run"] and what == result["item"] else ""
    said = cell(change["state"] or "changed")
    out().print(f"{at.astimezone():%Y-%m-%d %H:%M:%S}  {result['kind']:<7} {escape(what)}  {said}{where}{run}")


def _tell_counts(found: Counts, *, json: bool) -> None:
    if json:
        emit({"rows": found.rows, "estimate": found.estimate})
        return
    rows = [[row["key"] or "nothing done", f"{row['value']:,}"] for row in found.rows]
    table(["last step", "items#"], rows, empty="There are no items.")
    if found.estimate:
        say("An estimate: many items are in several runs, or had steps skipped or done elsewhere.")


def _tell_view(found: View, *, json: bool) -> None:
    if json:
        emit({"rows": found.rows, "next": found.next})
        return
    rows = ([row["id"], row["status"], row["finished_at"]] for row in found.rows)
    table(["item", "status", "finished"], rows, empty="No item is there.")
    if found.next:
        say(f"There may be more: --after {found.next}")


async def _counts() -> Counts:
    from tidemill.feed import changes as feed
    from tidemill.feed import views

    async with door.opened() as site, site.database.begin() as session:
        await feed.hold_snapshot(session)
        return await views.counts(session)


async def _view(step: str, statuses: list[str] | tuple[()], limit: int, after: str | None) -> View:
    from tidemill.feed import views
    from tidemill.feed.filters import NOTHING_DONE

    async with door.opened() as site, site.database.begin() as session:
        key = None if step == NOTHING_DONE else step
        return await views.items(session, key, statuses=statuses, limit=limit, after=after)


async def _cursors(forget: str | None) -> list[Row]:
    from tidemill.feed import cursors as kept

    async with door.opened() as site, site.database.begin() as session:
        if forget is not None:
            await kept.forget(session, forget)
        return await kept.listing(session)


def _some(pending: int) -> str:
    return f"{pending:,}" if pending < 10_000 else "10,000 or more"


def _lost(row: Row) -> str:
    return "stands before what the feed has kept" if row["lost"] else ""


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise InvalidInput(f"--field {text!r} is not KEY=VALUE.")
    return key, value


def _token(file: Path | None) -> str:
    """The token, from a file or the environment: the command line is there for others to see. Raises InvalidInput."""
    try:
        said = file.read_text(encoding="utf-8").strip() if file else (door.settings().token or "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The token cannot be read from {file}: {error}.") from error
    if not said:
        raise InvalidInput("There is no token.", hint="Give --token-file FILE, or set TIDEMILL_TOKEN.")
    return said
