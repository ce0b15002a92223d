"""`tidemill build-package`: build one package from its plan, with neither a site nor a database."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import err
from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.executors.contract import Progress


@application.command("build-package", rich_help_panel="Publishing")
def build_package(
    plan: Annotated[Path, typer.Argument(help="The package's plan (JSON).", metavar="INPUT")],
    output: Annotated[Path, typer.Argument(help="Where to write what was built (JSON).", metavar="OUTPUT")],
) -> None:
    """Build a package from its plan: what a command app runs. Needs no site; credentials come from the environment.

    Progress goes to stderr, a line of JSON at a time, as steps that are commands report it.
    """
    door.run(_build(plan, output))


async def _build(plan: Path, output: Path) -> None:
    from tidemill.publishing.build import build

    try:
        document = await asyncio.to_thread(plan.read_bytes)
    except OSError as error:
        raise InvalidInput(f"The plan {plan} cannot be read: {error.strerror}.") from error
    if not await asyncio.to_thread(output.parent.is_dir):
        raise InvalidInput(f"There is no folder {output.parent} to write {output.name} to.")
    with _reporting() as report:
        built = await build(document, report)
    part = output.with_name(f".{output.name}.part")
    try:
        await asyncio.to_thread(part.write_bytes, built.document())
        await asyncio.to_thread(part.replace, output)
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {error.strerror}.") from error


@contextmanager
def _reporting() -> Iterator[Callable[[Progress], None]]:
    """Lines for a worker to read, or a bar where a person looks on."""
    if not sys.stderr.isatty():
        yield _say_line
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bar(*columns, console=err(), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda progress: bar.update(task, completed=progress.fraction or 0.0, description=progress.message)


def _say_line(progress: Progress) -> None:
    sys.stderr.write(json.dumps({"progress": round(progress.fraction or 0.0, 4), "message": progress.message}) + "\n")
    sys.stderr.flush()
