"""`tidemill log`, `try`: what a step says, in the site's attempts and in one that is only tried."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.output import AsJson, emit, say
from tidemill.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tidemill.executors.contract import Outcome, Progress
    from tidemill.sdk.step import DeclaredStep

_ATTEMPT = re.compile(r"([1-9]\d{0,17})-([1-9]\d{0,8})")


@application.command(rich_help_panel="Items")
def log(
    name: Annotated[str, typer.Argument(help="An item's name, or an attempt (TASK-FENCE).", metavar="ITEM|ATTEMPT")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and print what comes until it ends.")] = False,
) -> None:
    """Print the log of an attempt: of an item the one that is at work, else the one that ended last."""
    door.run(_log(name, follow))


@application.command("try", rich_help_panel="Items")
def try_step(
    step: Annotated[str, typer.Argument(help="A file of steps, and which: mysteps.py:name.", metavar="FILE[:NAME]")],
    name: Annotated[str, typer.Argument(help="The item's name.", metavar="ITEM")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="KEY=VALUE, as in a pipeline; may be repeated.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder for the files that it puts out.")] = None,
    json: AsJson = False,
) -> None:
    """Do a Python step here and now on one item, and record nothing: for those who write steps."""
    chosen = _chosen(step)
    outcome = door.run(_try(chosen, name, _parameters(parameter or []), keep))
    told = _told(outcome)
    if json:
        emit(told)
    else:
        _tell_outcome(told)
    raise typer.Exit(Exit.OK if told["outcome"] in ("done", "skipped") else Exit.SOME_FAILED)


async def _log(name: str, follow: bool) -> None:
    from tidemill.runner import attempt_views

    async with door.opened() as site:
        found = _ATTEMPT.fullmatch(name)
        async with site.database.begin() as session:
            if found is None:
                task, fence = await attempt_views.newest(session, name)
            else:
                task, fence = int(found[1]), int(found[2])
            part = await attempt_views.log(session, task, fence)
        if follow:
            say(f"{part.item}, {part.step}, attempt {task}-{fence}: {part.state}")
        if follow or part.whole is not None:
            async for piece in attempt_views.follow(site.database, site.files, task, fence):
                _write(piece)
        else:
            _write(part.text)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _chosen(wanted: str) -> DeclaredStep:
    """The step that `mysteps.py:name` means; the name may be left out where there is one only."""
    from tidemill.sdk.loading import load_steps

    path, _, name = wanted.rpartition(":") if not Path(wanted).is_file() else (wanted, "", "")
    steps = load_steps([Path(path or wanted)])
    if name in steps:
        return steps[name]
    if not name and len(steps) == 1:
        return next(iter(steps.values()))
    known = ", ".join(steps)
    if name:
        raise NotFound(f"{path} has no step {name!r}; it has: {known}.")
    raise InvalidInput(f"{wanted} has several steps: {known}.", hint=f"Say which: {wanted}:{next(iter(steps))}")


def _parameters(given: list[str]) -> dict[str, Any]:
    """`threshold=0.5` as JSON where it is JSON, else as text."""
    import orjson

    parameters: dict[str, Any] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{one!r} is not KEY=VALUE")
        try:
            parameters[key] = orjson.loads(value)
        except orjson.JSONDecodeError:
            parameters[key] = value
    return parameters


async def _try(step: DeclaredStep, name: str, parameters: Mapping[str, Any], keep: Path | None) -> Outcome:
    from tidemill.executors.contract import AppCall, Submitted, Work
    from tidemill.executors.python import PythonExecutor
    from tidemill.executors.workbench import Workbench
    from tidemill.runner.trying import input_for
    from tidemill.storage.files import FileStore

    async with door.opened() as site, site.database.begin() as session:
        document = await input_for(session, site.documents, name, step.name)
    with tempfile.TemporaryDirectory(prefix="tidemill-try-") as folder:
        bench = Workbench(Path(folder) / "work", FileStore((Path(folder) / "files").as_uri()))
        app = AppCall(step.name, "python", f"python:{step.name}", "json", deadline=step.deadline or 3600.0)
        work = Work("try-1", name, app, parameters, document, step.name)
        outcome = await PythonExecutor({step.name: step}, bench).submit(work, _show)
        assert not isinstance(outcome, Submitted)
        if keep is not None:
            await _keep(bench, outcome, keep)
    return outcome


async def _keep(bench: Any, outcome: Outcome, folder: Path) -> None:
    import shutil

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in getattr(outcome, "files", ()):
            shutil.copyfile(bench.files.local(file.url), folder / file.name)
    except OSError as error:
        raise InvalidInput(f"The files cannot be written to {folder}: {error.strerror}.") from error


def _show(progress: Progress) -> None:
    """What it says while it is at work, on stderr."""
    if progress.fraction is not None:
        say(f"progress {progress.fraction:.0%}")


def _told(outcome: Outcome) -> dict[str, Any]:
    from dataclasses import asdict

    import orjson

    from tidemill.domain import record_document
    from tidemill.executors.contract import Done

    told: dict[str, Any] = {"outcome": type(outcome).__name__.lower(), "reason": getattr(outcome, "reason", None)}
    told |= {"log": getattr(outcome, "log", ""), "output": None, "metadata": {}}
    if isinstance(outcome, Done):
        document = orjson.loads(outcome.document)
        is_record = record_document.read(outcome.document) is not None
        told["output"] = document["process"][-1]["output"] if is_record else document
        told["metadata"] = dict(outcome.record)
    for key in ("files", "inputs"):
        told[key] = [asdict(file) for file in getattr(outcome, key, ())]
    return told


def _tell_outcome(told: Mapping[str, Any]) -> None:
    if told["log"]:
        sys.stderr.write(told["log"] if told["log"].endswith("\n") else told["log"] + "\n")
    for key, word in (("inputs", "used"), ("files", "put out")):
        for file in told[key]:
            say(f"{word} {file['name']}: {file['size']:,} bytes, SHA-256 {file['sha256']}")
    if told["metadata"]:
        say(f"would set {', '.join(told['metadata'])} in the item's metadata")
    say(f"{told['outcome']}{': ' + told['reason'] if told['reason'] else ''}. Nothing was recorded.")
    if told["outcome"] == "done":
        emit(told["output"])
