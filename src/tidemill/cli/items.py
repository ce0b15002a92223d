"""`tidemill items`, `item`: the items, and what was done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, duration, emit, out, say, state, table, tell

if TYPE_CHECKING:
    from tidemill.catalogue.items import Page
    from tidemill.runner.look import ItemView

SHOWN = 10


class ItemsGroup(TyperGroup):
    """`tidemill items WORDS` is short for `tidemill items list WORDS`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, with the command that is left out."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


group = typer.Typer(cls=ItemsGroup, help="The items: search them, add them, edit their records.")
application.add_typer(group, name="items", rich_help_panel="Items")


@group.command("list")
def items(
    search: Annotated[
        str,
        typer.Argument(
            help="Words of the name, PREFIX*, from:NAME, to:NAME, status:WORD, project:NAME, batch:NAME, key=value."
        ),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many at the beginning.")] = 0,
    json: AsJson = False,
) -> None:
    """Search the items; without words, list them. `tidemill items WORDS` does the same."""
    page = door.run(_items(search, limit, offset))
    if json:
        emit({"total": page.total, "items": page.rows})
        return
    table(
        ["item", "status", "projects", "files#", "bytes#"],
        ([r["name"], r["status"], ", ".join(r["projects"] or []), r["files"], f"{r['size']:,}"] for r in page.rows),
        empty="No item is found.",
    )
    if page.total > len(page.rows):
        say(f"{len(page.rows):,} of {page.total:,} items (see --limit and --offset).")


@application.command(rich_help_panel="Items")
def item(
    name: Annotated[str, typer.Argument(help="The item's name.")],
    log: Annotated[bool, typer.Option("--log", help="Print the log of each attempt, too.")] = False,
    json: AsJson = False,
) -> None:
    """Show an item: where it stands, what was done to it (its process), and every attempt."""
    view = door.run(_item(name))
    if json:
        emit(view)
        return
    _tell_item(view)
    if log:
        for row in view.attempts:
            if row["log"]:
                tell(f"\nLog of {row['step_name']} (attempt {row['task_id']}-{row['fence']}):\n{row['log']}")


def _tell_item(view: ItemView) -> None:
    reason = f": {view.item['status_reason']}" if view.item["status_reason"] else ""
    tell(f"{view.item['name']} ({view.item['status']}{reason}), revision {view.item['revision']}")
    for file in view.files:
        tell(f"  {file['source']}: {file['key']}, {file['size']:,} bytes")
    for task in view.tasks:
        where = "" if task["state"] == "done" else f" at {task['step_name']}"
        out().print(f"  run {task['run_id']}: {state(task['state'])}", end="")
        tell(f"{where} ({task['pipeline']}){': ' + task['reason'] if task['reason'] else ''}")
    tell("\nProcess:")
    table(
        ["step", "app", "version", "host", "finished", "took#", "output"],
        (
            [r["name"], "another system" if r["past"] else r["app"], r["version"], r["hostname"], r["finished_at"],
             _took(r), (r["output"] or "")[:12]]
            for r in view.process
        ),
        empty="Nothing was done to it yet.",
    )  # fmt: skip
    tell("\nAttempts:")
    table(
        ["attempt", "run#", "step", "outcome", "finished", "took#", "error"],
        (
            [
                f"{r['task_id']}-{r['fence']}",
                r["run_id"],
                r["step_name"],
                _outcome(r),
                r["finished_at"],
                _took(r),
                r["error"],
            ]
            for r in view.attempts
        ),
        empty="None.",
    )


def _outcome(row: dict[str, Any]) -> str:
    again = " (used again)" if row["origin_task_id"] is not None else ""
    return f"{row['outcome']}{again}{', superseded' if row['superseded_at'] else ''}"


def _took(row: dict[str, Any]) -> str:
    return duration((row["finished_at"] - row["started_at"]).total_seconds()) if row["started_at"] else ""


async def _items(search: str, limit: int, offset: int) -> Page:
    from tidemill.catalogue import items as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.search(session, search, limit=limit, offset=offset)


async def _item(name: str) -> ItemView:
    from tidemill.runner import look

    async with door.opened() as site, site.database.begin() as session:
        return await look.item(session, name)
