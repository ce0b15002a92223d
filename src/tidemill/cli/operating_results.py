"""`tidemill affected`, `compare`, `go-back`: what a change affects, old beside new after a re-run, and back again."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.operating import PANEL
from tidemill.cli.output import AsJson, Yes, cell, count, duration, emit, say, table, tell
from tidemill.cli.runs import RunId
from tidemill.cli.steering import AtStep, Items, States, confirmed, filter_of

if TYPE_CHECKING:
    from tidemill.domain.json_diff import Comparison
    from tidemill.runner.affected import Affected, Asked
    from tidemill.runner.compare import ItemComparison, RunComparison
    from tidemill.runner.go_back import Preview

At = Annotated[
    str | None,
    typer.Option("--at", help="The re-run: when it put the old results aside, as `compare` tells [default: the last].",
                 show_default=False),
]  # fmt: skip


@application.command(rich_help_panel=PANEL)
def affected(
    app: Annotated[str | None, typer.Option(help="Results of this app.")] = None,
    version: Annotated[str | None, typer.Option(help="Of the app: those that this version made.")] = None,
    before: Annotated[
        str | None,
        typer.Option(help="Of the app: those that versions before this one made; `current`: any but the present."),
    ] = None,
    side_input: Annotated[
        str | None, typer.Option("--input", help="Results that used the side input of this name.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Of the input: those that used the file with this checksum.")
    ] = None,
    changed: Annotated[
        bool,
        typer.Option("--changed", help="Of the input: those that used another file than was used last (the default)."),
    ] = False,
    unlike: Annotated[
        Path | None,
        typer.Option(help="Of the input: those that used another file than this one.", exists=True, dir_okay=False),
    ] = None,
    every_run: Annotated[
        bool,
        typer.Option("--every-run", help="Results in older runs as well, not just in an item's newest of a pipeline."),
    ] = False,
    limit: Annotated[int, typer.Option(help="List at most so many results.", min=0, max=100_000)] = 50,
    again: Annotated[
        bool, typer.Option("--rerun", help="Do them again, each from its step on; shows first what it touches.")
    ] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """List the results that an app's new version, or a changed side input, affects; and do just those again."""
    asked = _asked(app, version, before, side_input, sha256, changed, unlike)
    found, rows, moved = door.run(_affected(asked, every_run, limit, again=again, yes=yes, quiet=json))
    if json:
        made = [dataclasses.asdict(one) for one in found.made]
        return emit({"made": made, "results": found.results, "affected": rows} | ({"rerun": moved} if again else {}))
    if again:
        return tell(f"{count(moved, 'task')} will start again.")
    _made(found)
    tell(f"\nAffected: {count(found.results, 'result')} that stand{'s' if found.results == 1 else ''}.")
    if rows:
        table(
            ["item", "run#", "step", "version", "finished", "state"],
            ([row["item"], row["run"], row["step"], row["version"], row["finished_at"], row["state"]] for row in rows),
            empty="",
        )
    if (more := found.results - len(rows)) > 0:
        say(f"… and {more:,} more (see --limit)")
    return None


@application.command(rich_help_panel=PANEL)
def compare(
    item: Annotated[
        str | None, typer.Argument(help="The item's name; none: a whole run, with --run.", show_default=False)
    ] = None,
    run: Annotated[
        int | None, typer.Option(help="The run; of an item the newest that was re-run, if none is named.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="Only the step of this name.")] = None,
    at: At = None,
    json: AsJson = False,
) -> None:
    """Set old results beside new ones after a re-run: of an item key by key, of a whole run in numbers."""
    if item is None:
        if run is None:
            raise typer.BadParameter("name an item, or a run with --run N")
        whole = door.run(_compare_run(run, step, at))
        return emit(dataclasses.asdict(whole)) if json else _whole(whole)
    one = door.run(_compare_item(item, run, step, at))
    return emit(dataclasses.asdict(one)) if json else _side_by_side(one)


@application.command("go-back", rich_help_panel=PANEL)
def go_back(
    run: RunId,
    items: Items = None,
    states: States = None,
    step: AtStep = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="To what was put aside at this time, as `compare` tells [default: what was put aside last].",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would touch.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Let the results from before a re-run stand again. Shows first what it will touch; done again, it is undone."""
    preview, moved = door.run(_go_back(run, (states, step, items, None), to, dry_run=dry_run, yes=yes))
    if json:
        return emit({"run": run, "preview": dataclasses.asdict(preview), "gone_back": moved})
    if not dry_run:
        tell(f"{count(moved, 'task')} of run {run} stand as before the re-run. To undo it: tidemill go-back {run}")
    return None


def _asked(
    app: str | None, version: str | None, before: str | None, name: str | None, sha256: str | None, changed: bool,
    unlike: Path | None,
) -> Asked:  # fmt: skip
    from tidemill.runner.affected import ByApp, ByInput

    if (app is None) == (name is None):
        raise typer.BadParameter("name an app with --app, or a side input with --input")
    if app is not None:
        if sha256 or changed or unlike:
            raise typer.BadParameter("--sha256, --changed and --unlike are about a side input")
        return ByApp(app, version, before)
    if version or before:
        raise typer.BadParameter("--version and --before are about an app")
    if sum(map(bool, (sha256, changed, unlike))) > 1:
        raise typer.BadParameter("give one of --sha256, --changed and --unlike")
    assert name is not None
    return ByInput(name, sha256, _checksum(unlike) if unlike else None)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made(found: Affected) -> None:
    table(
        ["made by", "results#", "first", "last", ""],
        ([one.name or "(unknown)", f"{one.results:,}", one.first_at, one.last_at,
          ", ".join(word for word, so in (("as now", one.current), ("asked for", one.asked)) if so)]
         for one in found.made),
        empty="There are no results.",
    )  # fmt: skip


def _whole(found: RunComparison) -> None:
    from tidemill.runner.compare import time_of

    tell(f"Run {found.run}, against what was put aside at {time_of(found.at)} (UTC):")
    table(
        ["step", "results#", "equal#", "differ#", "not yet#", "took", "takes"],
        ([one.step, one.results, one.equal, one.differ, one.missing, *map(duration, (one.old_seconds, one.new_seconds))]
         for one in found.steps),
        empty="Nothing of it had a result.",
    )  # fmt: skip
    for one in found.steps:
        if not one.differ:
            continue
        unread = f", {one.unreadable:,} could not be read" if one.unreadable else ""
        tell(f"\n{one.step}: of {one.differ:,} that differ {one.looked_at:,} were looked into; "
             f"{one.only_times:,} differ in time stamps alone{unread}.")  # fmt: skip
        for key, number in list(one.keys.items())[:10]:
            tell(f"  {key} differs in {number:,}")
        for key, share in list(one.largest.items())[:10]:
            tell(f"  {key} changes by up to {share:.3%}")
        if one.items:
            say(f"  Look at one: tidemill compare {one.items[0]} --run {found.run}")
    _generations(found.generations, found.run)


def _side_by_side(found: ItemComparison) -> None:
    from tidemill.runner.compare import time_of

    tell(f"{found.item} in run {found.run}, against what was put aside at {time_of(found.at)} (UTC):")
    for one in found.steps:
        tell("")
        verdict = {True: "equal", False: "differs", None: "only " + ("the old" if one.old else "the new") + " one"}
        tell(f"{one.step}: {verdict[one.equal]}")
        for word, side in (("old", one.old), ("new", one.new)):
            if side:
                made = f"{side['app']} {side['app_said'] or side['version'] or ''}, {cell(side['finished_at'])}"
                tell(f"  {word}: {made}, {duration(side['seconds'])}, {side['output'][:12]}{_files(side)}")
        if one.problem:
            tell(f"  {one.problem}")
        if one.comparison:
            _differences(one.comparison)
    _generations(found.generations, found.run)


def _differences(found: Comparison) -> None:
    if not found.count:
        return
    table(
        ["  key", "old", "new", "by"],
        ([f"  {one.path}", _short(one.old), _short(one.new), "" if one.relative is None else f"{one.relative:.3%}"]
         for one in found.differences[:60]),
        empty="",
    )  # fmt: skip
    if (more := found.count - min(60, len(found.differences))) > 0:
        say(f"  … and {more:,} more differences")


def _files(side: dict[str, Any]) -> str:
    files = side["files"] or []
    return (
        f", {count(len(files), 'file')}: " + ", ".join(f"{f['name']} {str(f.get('sha256'))[:12]}" for f in files)
        if files
        else ""
    )


def _short(value: Any) -> str:
    import orjson

    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= 60 else text[:59] + "…"


def _generations(generations: list[dict[str, Any]], run: int) -> None:
    from tidemill.runner.compare import time_of

    if len(generations) > 1:
        say(
            "\nPut aside: "
            + ", ".join(time_of(one["at"]) for one in generations[:10])
            + " (--at compares with another)"
        )
    say(f"To keep what is new, do nothing. To go back: tidemill go-back {run}")


def show(preview: Preview, run: int) -> None:
    """What going back would touch, and what it would leave alone."""
    states = ", ".join(f"{number:,} {state}" for state, number in preview.states.items())
    say(
        f"Run {run}: {count(preview.tasks, 'task')} would stand as before the re-run"
        f"{f' ({states})' if states else ''}; {count(preview.back, 'old result')} would stand again, "
        f"{count(preview.aside, 'new one')} be put aside. The records keep what steps have written in them."
    )
    for number, why in (
        (preview.busy, "being worked on"),
        (preview.nothing, "of which nothing was put aside then"),
        (preview.unfit, "whose old results no longer fit what stands before them (go back step by step)"),
    ):
        if number:
            say(f"Left alone: {count(number, 'task')} {why}.")


async def _affected(
    asked: Asked, every_run: bool, limit: int, *, again: bool, yes: bool, quiet: bool
) -> tuple[Affected, list[dict[str, Any]], int]:
    from tidemill.cli import steering
    from tidemill.errors import Conflict
    from tidemill.runner import affected as service
    from tidemill.runner import redo

    async with door.opened() as site:
        async with site.database.begin() as session:
            found = await service.find(session, asked, every_run=every_run)
            rows = await service.listing(session, found.places, limit=limit) if limit else []
            preview = await redo.preview(session, found.places)
        if not again:
            return found, rows, 0
        if not quiet:
            _made(found)
        steering.show(preview, "their steps")
        if not preview.tasks:
            raise Conflict("There is nothing to do again: nothing was changed.")
        await confirmed(yes)
        async with site.database.begin() as session:
            return found, rows, await service.rerun(session, asked, every_run=every_run)


async def _compare_item(item: str, run: int | None, step: str | None, at: str | None) -> ItemComparison:
    from tidemill.runner import compare as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.item(session, site.documents, item, run=run, step=step, at=at)


async def _compare_run(run: int, step: str | None, at: str | None) -> RunComparison:
    from tidemill.runner import compare as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.whole_run(session, site.documents, run, step=step, at=at)


async def _go_back(
    run: int,
    narrowed: tuple[list[str] | None, str | None, list[str] | None, str | None],
    to: str | None,
    *,
    dry_run: bool,
    yes: bool,
) -> tuple[Preview, int]:
    from tidemill.errors import Conflict
    from tidemill.runner import go_back as service

    async with door.opened() as site:
        async with site.database.begin() as session:
            which = await filter_of(session, run, *narrowed)
            preview = await service.preview(session, run, which, to=to)
        show(preview, run)
        if dry_run:
            return preview, 0
        if not preview.tasks:
            raise Conflict(f"Nothing of run {run} can go back: nothing was changed.")
        await confirmed(yes, "Go back?")
        async with site.database.begin() as session:
            return preview, await service.go_back(session, run, which, to=to)
