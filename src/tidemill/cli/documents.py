"""`tidemill document`: take the results away."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import count, say
from tidemill.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

_SHA256 = re.compile(r"[0-9a-f]{64}")


@application.command(rich_help_panel="Items")
def document(
    name: Annotated[
        str | None, typer.Argument(help="An item's name, or a document's SHA-256.", metavar="ITEM|SHA256")
    ] = None,
    run: Annotated[int | None, typer.Option(help="The run [default: the item's newest].", show_default=False)] = None,
    step: Annotated[
        str | None,
        typer.Option(help="What this step put out (its name, or its number from 1), not the final document."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, not to stdout.")] = None,
    archive: Annotated[
        Path | None, typer.Option("--zip", help="Write all final documents of a run to this zip; - is stdout.")
    ] = None,
    every_step: Annotated[
        bool, typer.Option("--every-step", help="With --zip: what every step put out, not only the final documents.")
    ] = False,
    texts: Annotated[
        bool, typer.Option("--texts", help="With --zip: the texts in the documents as files, too.")
    ] = False,
) -> None:
    """Print the final document (MMIF) of an item, or pack those of a whole run into a zip."""
    if archive is None and (every_step or texts):
        raise typer.BadParameter("--every-step and --texts go with --zip")
    if archive is not None:
        if name is not None or run is None or step is not None or output is not None:
            raise typer.BadParameter("a whole run goes into a zip: tidemill document --run RUN --zip FILE")
        door.run(_zip(run, archive, every_step, texts))
        return
    if name is None:
        raise typer.BadParameter("name an item or a document, or --run RUN --zip FILE")
    body = door.run(_document(name, run, step))
    if output is None:
        sys.stdout.buffer.write(body + (b"\n" if sys.stdout.isatty() else b""))
    else:
        _write(output, body)


def _write(path: Path, body: bytes) -> None:
    try:
        path.write_bytes(body)
    except OSError as error:
        raise InvalidInput(f"The document cannot be written to {path}: {error.strerror}.") from error


async def _document(name: str, run: int | None, step: str | None) -> bytes:
    from tidemill.runner import look

    async with door.opened() as site, site.database.begin() as session:
        sha256 = name if _SHA256.fullmatch(name) else await _of_item(session, name, run, step)
        return await look.document(session, site.documents, sha256)


async def _of_item(session: AsyncSession, name: str, run: int | None, step: str | None) -> str:
    """The SHA-256 of an item's final document, or of what one step put out."""
    from tidemill.runner import look

    view = await look.item(session, name)
    tasks = [task for task in view.tasks if run is None or task["run_id"] == run]
    if not tasks:
        raise NotFound(f"{name} is not in run {run}." if run is not None else f"{name} is in no run yet.")
    task = next((task for task in tasks if task["state"] == "done"), tasks[0]) if run is None else tasks[0]
    if step is not None:
        return await _of_step(session, view.process, task, step, name)
    if task["state"] != "done":
        raise Conflict(
            f"{name} has no final document in run {task['run_id']}: it is {task['state']} at {task['step_name']}.",
            hint="With --step you get what an earlier step put out.",
        )
    return str(task["document"])


async def _of_step(
    session: AsyncSession, process: list[dict[str, Any]], task: dict[str, Any], step: str, name: str
) -> str:
    from tidemill.cli.steering import step_name

    wanted = await step_name(session, task["run_id"], step)
    found = [row["output"] for row in process if row["task_id"] == task["id"] and row["name"] == wanted]
    if not found:
        raise Conflict(f"{name} has not come through {wanted} in run {task['run_id']}: it is {task['state']} "
                       f"at {task['step_name']}.")  # fmt: skip
    return str(found[-1])


async def _zip(run: int, archive: Path, every_step: bool, texts: bool) -> None:
    from tidemill.publishing.documents_zip import Choice, documents_zip
    from tidemill.runner import runs

    async with door.opened() as site:
        async with site.database.begin() as session:
            await runs.get(session, run)
        pieces = documents_zip(site.database, site.documents, run, Choice(every_step=every_step, texts=texts))
        if archive == Path("-"):
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
        else:
            await _zip_to(archive, pieces)


async def _zip_to(archive: Path, pieces: AsyncIterator[bytes]) -> None:
    """Write the whole zip, or leave what was there."""
    unfinished = archive.with_name(f"{archive.name}.part")
    try:
        with unfinished.open("wb") as file:
            async for piece in pieces:
                file.write(piece)
        unfinished.replace(archive)
    except OSError as error:
        raise InvalidInput(f"The zip cannot be written to {archive}: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    with zipfile.ZipFile(archive) as written:
        manifest = json.loads(written.read("manifest.json"))
    missing = f", {manifest['missing']:,} missing (its manifest.json says why)" if manifest["missing"] else ""
    say(f"{count(manifest['packed'], 'document')} in {archive}{missing}.")
