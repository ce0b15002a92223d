"""`tidemill items add`, `set`, `status`, `delete`: records written from the command line."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from tidemill.cli import door
from tidemill.cli.exits import Exit
from tidemill.cli.items import SHOWN, group
from tidemill.cli.output import AsJson, Yes, complain, confirm, count, emit, emit_line, say, tell
from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.catalogue.edits import Answer
    from tidemill.catalogue.statuses import Standing, Which
    from tidemill.domain.fields import Fields

CHUNK = 2000
"""Rows that are one transaction: what was answered is kept, whatever comes after."""

Name = Annotated[str, typer.Argument(help="The item's name.")]
Reason = Annotated[str | None, typer.Option(help="Why it has this status.", show_default=False)]
Project = Annotated[
    list[str] | None,
    typer.Option("--project", help="Put them into this project, too; may be given again.", show_default=False),
]


@group.command()
def add(
    file: Annotated[str, typer.Argument(help="JSON lines, a JSON list, or CSV with a line of headings; - is stdin.")],
    project: Project = None,
    expect_new: Annotated[bool, typer.Option("--expect-new", help="Refuse items that exist already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and do nothing.")] = False,
    json: AsJson = False,
) -> None:
    """Create items, or change those that exist: each row is answered for itself, and a bad one spoils no other.

    A row has `name`, and where it likes `status`, `reason`, `metadata` (merged key by key), `projects`, `revision`
    (which it must have now) and `expect` (the status that it must have now). In CSV other headings are metadata keys.
    """
    refused = door.run(_add(file, project or [], expect_new=expect_new, dry_run=dry_run, json=json))
    if refused:
        raise typer.Exit(Exit.SOME_FAILED)


@group.command("set")
def set_(
    name: Name,
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE...]", help="Metadata: text or of the declared type; KEY:=JSON for others."),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="Take this key out; may be given again.", show_default=False)
    ] = None,
    status: Annotated[str | None, typer.Option(help="Give it this status.", show_default=False)] = None,
    reason: Reason = None,
    project: Annotated[
        list[str] | None,
        typer.Option("--project", help="Put it into this project; may be given again.", show_default=False),
    ] = None,
    revision: Annotated[
        int | None, typer.Option(min=1, help="Only if this is its revision now.", show_default=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """Edit an item's record: keys that are not named stay as they are."""
    row = {"name": name, "status": status, "reason": reason, "projects": project, "revision": revision}
    answer = door.run(_set(row, values or [], remove or []))
    if answer.error is not None:
        if answer.record is not None:
            emit(answer.record) if json else tell(_one_line(answer.record))
        raise answer.error
    emit(answer.told()) if json else say(f"{name}: {answer.outcome}, revision {answer.revision}.")


@group.command("status")
def status_(
    status: Annotated[str, typer.Argument(help="The status to give.")],
    names: Annotated[list[str] | None, typer.Argument(help="The items' names, or see --search.")] = None,
    search: Annotated[
        str, typer.Option(help="All items that this search finds (see `tidemill items list`); * is all.")
    ] = "",
    project: Annotated[str, typer.Option(help="Only items of this project.")] = "",
    first: Annotated[str, typer.Option("--from", help="Only items whose name is not before this one.")] = "",
    last: Annotated[str, typer.Option("--to", help="Only items whose name is not after this one.")] = "",
    expect: Annotated[
        str | None, typer.Option(help="Only items that have this status now; others stay.", show_default=False)
    ] = None,
    reason: Annotated[str, typer.Option(help="Why they have it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Give many items a status. Shows first what would change, and asks."""
    from tidemill.catalogue.statuses import Which

    words = [search.strip(), *(f'{key}:"{word}"' for key, word in _filters(project, first, last))]
    which = Which(names or (), " ".join(filter(None, words)))
    standing, changed = door.run(_status(which, status, expect, reason, dry_run=dry_run, yes=yes, json=json))
    if json:
        emit({"status": status, "changing": standing.changing, "left": standing.left, "changed": changed})
    elif changed is not None:
        say(f"{count(changed, 'item')} changed.")


@group.command()
def delete(
    name: Name,
    revision: Annotated[
        int | None, typer.Option(min=1, help="Only if this is its revision now.", show_default=False)
    ] = None,
) -> None:
    """Delete an item to which nothing refers: no files, batches, runs or past."""
    door.run(_delete(name, revision))
    say(f"{name} was deleted.")


async def _add(file: str, more: list[str], *, expect_new: bool, dry_run: bool, json: bool) -> int:
    from tidemill.catalogue import edits
    from tidemill.domain import item_rows

    numbers = dict.fromkeys(edits.OUTCOMES, 0)
    with _lines(file) as lines:
        async with door.opened() as site:
            async with site.database.begin() as session:
                rows = await asyncio.to_thread(item_rows.rows, lines, await edits.declared(session))
            while chunk := await asyncio.to_thread(_chunk, rows, more, expect_new):
                async with site.database.begin() as session:
                    answers = await edits.apply(session, [row for _, row in chunk])
                    if dry_run:
                        await session.rollback()
                for (line, _), answer in zip(chunk, answers, strict=True):
                    _tell_answer(line, answer, json=json)
                for word, number in edits.counted(answers).items():
                    numbers[word] += number
    told = ", ".join(f"{number:,} {word}" for word, number in numbers.items())
    say(f"{'Would be: ' if dry_run else ''}{told}.")
    return numbers[edits.REFUSED]


def _chunk(rows: Iterator[tuple[int, Any]], projects: list[str], expect_new: bool) -> list[tuple[int, Any]]:
    return [(line, _with(row, projects, expect_new)) for line, row in itertools.islice(rows, CHUNK)]


def _with(row: Any, projects: list[str], expect_new: bool) -> Any:
    """A row with what was said for all of them."""
    if not isinstance(row, dict):
        return row
    if projects and isinstance(row.get("projects") or [], list):
        row = row | {"projects": [*(row.get("projects") or []), *projects]}
    return row | {"revision": 0} if expect_new else row


def _tell_answer(line: int, answer: Answer, *, json: bool) -> None:
    if json:
        emit_line({"line": line} | answer.told())
    elif answer.error is not None:
        complain(f"{answer.name or f'line {line}'}: {answer.error.message}")


@contextmanager
def _lines(file: str) -> Iterator[TextIO]:
    """The lines of a file or of stdin: UTF-8, or UTF-16 with its mark at the beginning. Raises InvalidInput."""
    try:
        if file == "-":
            yield _decoded(sys.stdin.buffer)
        else:
            with Path(file).open("rb") as opened:
                yield _decoded(opened)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file} is no UTF-8: byte {error.object[error.start]:#x} at a place where none can be.",
            hint=f"Convert it first: iconv -f WINDOWS-1252 -t UTF-8 {file}. Rows before it were taken.",
        ) from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from None


def _decoded(binary: Any) -> TextIO:
    import io

    stream = io.BufferedReader(binary) if not isinstance(binary, io.BufferedReader) else binary
    mark = stream.peek(2)[:2]
    encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return io.TextIOWrapper(stream, encoding=encoding, newline="")


async def _set(row: dict[str, Any], values: list[str], remove: list[str]) -> Answer:
    from tidemill.catalogue import edits

    async with door.opened() as site, site.database.begin() as session:
        fields = await edits.declared(session)
        metadata = dict(_pair(value, fields) for value in values) | dict.fromkeys(remove)
        return await edits.apply_one(session, row | {"metadata": metadata}, create=False)


def _pair(text: str, fields: Fields) -> tuple[str, Any]:
    """`key=value` or `key:=JSON`. Raises InvalidInput."""
    from tidemill.domain.fields import from_text
    from tidemill.domain.stored_json import read_json

    key, sign, value = text.partition("=")
    if not sign or not key.strip(":"):
        raise InvalidInput(f"{text!r} says no value: KEY=VALUE does, or KEY:=JSON.")
    if key.endswith(":"):
        return key[:-1], read_json(value)
    return key, from_text(key, value, fields)


def _filters(project: str, first: str, last: str) -> list[tuple[str, str]]:
    found = [(key, word) for key, word in (("project", project), ("from", first), ("to", last)) if word]
    if wrong := next((word for _, word in found if '"' in word), None):
        raise InvalidInput(f"{wrong!r} has a quote in it, which a search cannot have.")
    return found


async def _status(
    which: Which, status: str, expect: str | None, reason: str, *, dry_run: bool, yes: bool, json: bool
) -> tuple[Standing, int | None]:
    from tidemill.catalogue import statuses

    async with door.opened() as site:
        async with site.database.begin() as session:
            standing = await statuses.look(session, which, status, expect)
        if not json:
            _tell_standing(standing, status)
        if dry_run or not standing.items:
            return standing, None
        await confirm(f"Change {count(standing.items, 'item')}?", yes=yes)
        async with site.database.begin() as session:
            changed = await statuses.change(session, which, status, expected=expect, reason=reason)
    return standing, changed


def _tell_standing(standing: Standing, status: str) -> None:
    for row in standing.changing:
        tell(f"{row['status']} → {status}: {count(row['items'], 'item')}: {_some(row)}")
    for row in standing.left:
        tell(f"{row['status']}, left alone: {count(row['items'], 'item')}: {_some(row)}")
    if not standing.changing:
        say("Nothing to change.")


def _some(row: dict[str, Any]) -> str:
    more = f", … and {row['items'] - SHOWN:,} more" if row["items"] > SHOWN else ""
    return ", ".join(row["names"][:SHOWN]) + more


def _one_line(record: dict[str, Any]) -> str:
    from tidemill.domain.stored_json import written

    return f"now: revision {record['revision']}, {record['status']}, {written(record['metadata'])}"


async def _delete(name: str, revision: int | None) -> None:
    from tidemill.catalogue import items as service

    async with door.opened() as site, site.database.begin() as session:
        await service.delete(session, name, revision)
