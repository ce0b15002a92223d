"""`tidemill batch`: make batches, and see how far their items are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, count, emit, say, table, tell
from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.pipelines.batches import Comparison, Made, Source

batch = typer.Typer(help="Named sets of items: make them, list them.", no_args_is_help=True)
application.add_typer(batch, name="batch", rich_help_panel="Items")
NewName = Annotated[str, typer.Argument(help="Name of the new batch.")]
Meant = Annotated[str | None, typer.Option("--pipeline", "-p", help="The pipeline that it is meant for.")]
Description = Annotated[str | None, typer.Option(help="A sentence about it.")]


@batch.command()
def make(
    name: NewName,
    project: Annotated[str | None, typer.Option("--from-project", help="All items of this project.")] = None,
    ids: Annotated[
        str | None, typer.Option(help="A file with the items' names, between blanks, commas or new lines; - is stdin.")
    ] = None,
    search: Annotated[str | None, typer.Option(help="All items that this search finds (see `tidemill items`).")] = None,
    batches: Annotated[
        list[str] | None,
        typer.Option("--from-batch", help="The items of this batch; given again: all of them together."),
    ] = None,
    pipeline: Meant = None,
    description: Description = None,
    json: AsJson = False,
) -> None:
    """Make a batch from a project, from names, from a search, or from other batches."""
    source = _source(project, ids, search, batches)
    _tell_made(door.run(_make(name, source, description, pipeline)), json)


@batch.command()
def duplicate(
    original: Annotated[str, typer.Argument(help="The batch to copy.")],
    name: NewName,
    json: AsJson = False,
) -> None:
    """Make a batch with the same items in the same order, the same pipeline and description."""
    from tidemill.pipelines.batches import FromBatch

    _tell_made(door.run(_make(name, FromBatch(original), None, None)), json)


@batch.command()
def combine(
    name: NewName,
    batches: Annotated[list[str], typer.Argument(help="The batches to combine.", metavar="BATCH...")],
    pipeline: Meant = None,
    description: Description = None,
    json: AsJson = False,
) -> None:
    """Make a batch of all items of several batches, and say what differs between them."""
    from tidemill.pipelines.batches import FromBatches

    _tell_made(door.run(_make(name, FromBatches(batches), description, pipeline)), json)


@batch.command("list")
def listing(
    contains: Annotated[str, typer.Argument(help="Only batches whose name contains this.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
    json: AsJson = False,
) -> None:
    """List the batches, newest first, with how far their items are."""
    rows = door.run(_list(contains, limit))
    if json:
        emit(rows)
        return
    table(
        ["batch", "pipeline", "items#", "started#", "done#", "failed#", "last run#", "made"],
        (
            [
                r["name"],
                r["pipeline"],
                r["size"],
                r["started"],
                r["successful"],
                r["failed"],
                r["last_run"],
                r["created_at"],
            ]
            for r in rows
        ),
        empty="There are no batches. Make one: tidemill batch make NAME --from-project PROJECT",
    )


@batch.command()
def show(
    name: Annotated[str, typer.Argument(help="The batch's name.")],
    names: Annotated[bool, typer.Option("--items", help="Print the names of its items and nothing else.")] = False,
    json: AsJson = False,
) -> None:
    """Show a batch: how it was made, and how far its items are."""
    row = door.run(_show(name))
    if json:
        emit(row)
        return
    if names:
        for item in row["items"]:
            tell(item)
        return
    tell(f"{row['name']}: {count(row['size'], 'item')}" + (f", meant for {row['pipeline']}" if row["pipeline"] else ""))
    if row["description"]:
        tell(row["description"])
    tell(f"made {_origin(row['made_from'])} on {row['created_at'].astimezone():%Y-%m-%d %H:%M}")
    tell(
        f"{row['successful']:,} done, {row['failed']:,} failed, {row['started'] - row['completed']:,} on their way, "
        f"{row['not_started']:,} not started; {count(row['runs'], 'run')}"
        + (f", the last is run {row['last_run']}" if row["last_run"] else "")
    )


def _source(project: str | None, ids: str | None, search: str | None, batches: list[str] | None) -> Source:
    from tidemill.pipelines.batches import FromBatch, FromBatches, FromIds, FromProject, FromSearch

    if sum(given is not None for given in (project, ids, search, batches or None)) != 1:
        raise typer.BadParameter("say from what: one of --from-project, --ids, --search, --from-batch")
    if project is not None:
        return FromProject(project)
    if ids is not None:
        return FromIds(_read(ids))
    if search is not None:
        return FromSearch(search)
    assert batches
    return FromBatch(batches[0]) if len(batches) == 1 else FromBatches(batches)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The ids cannot be read from {file}: {error}") from error


def _origin(made_from: dict[str, Any]) -> str:
    if "duplicate_of" in made_from:
        return f"as a duplicate of {made_from['duplicate_of']}"
    if "batches" in made_from:
        return f"from the batches {', '.join(made_from['batches'])}"
    if "ids" in made_from:
        return f"from {count(made_from['ids'], 'id')}"
    return "from " + ", ".join(f"{key} {value}" for key, value in made_from.items()) if made_from else "by hand"


def _tell_made(made: Made, json: bool) -> None:
    if json:
        emit(made)
        return
    tell(f"Batch {made.name}: {count(made.size, 'item')}.")
    if made.comparison:
        _tell_differences(made.comparison)


def _tell_differences(comparison: Comparison) -> None:
    if comparison.same:
        say("The batches hold the same items.")
        return
    for part in comparison.parts:
        few = f": {', '.join(part.only_names)}" if part.only_names else ""
        more = ", …" if part.only_here > len(part.only_names) else ""
        say(f"  {part.name}: {count(part.size, 'item')}, {part.shared:,} also in another, "
            f"{part.only_here:,} only here{few}{more}")  # fmt: skip
    if len(comparison.pipelines) > 1:
        say(f"They are meant for different pipelines ({', '.join(comparison.pipelines)}): the new one for none.")


async def _make(name: str, source: Source, description: str | None, pipeline: str | None) -> Made:
    from tidemill.pipelines import batches as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.make(session, name, source, description=description, pipeline=pipeline)


async def _list(contains: str, limit: int) -> list[dict[str, Any]]:
    from tidemill.pipelines import batches as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.listing(session, contains=contains, limit=limit)


async def _show(name: str) -> dict[str, Any]:
    from tidemill.pipelines import batches as service

    async with door.opened() as site, site.database.begin() as session:
        row = await service.standing(session, name)
        items: list[str] = []
        after = -1
        while page := await service.items(session, name, after=after):
            items += [one["name"] for one in page]
            after = page[-1]["position"]
    return row | {"items": items}
