"""Commands as steps: a program on the worker's machine, given the item's record and files as a list of arguments.

Never through a shell. The command reads its input document at `{input}` and writes what it found out to `{output}`,
both JSON; `command_process` runs it and `command_output` judges how it ended. At most as many commands run at once in
a worker as its machine has processors.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from tidemill.domain import record_document
from tidemill.domain.item_files import ItemFile, files_now, matching
from tidemill.errors import InvalidInput, StorageError
from tidemill.executors.command_line import Values, arguments, environment
from tidemill.executors.command_log import Listener
from tidemill.executors.command_options import CommandOptions
from tidemill.executors.command_output import done, kept_paths, read_output, verdict
from tidemill.executors.command_process import Order, run
from tidemill.executors.contract import (
    Done,
    Failed,
    KeptFile,
    Outcome,
    Progress,
    Report,
    Submitted,
    Unavailable,
    Work,
)
from tidemill.executors.templates import Placeholder, path_text, quoted_list
from tidemill.executors.workbench import Workbench

MOST_HELD_BACK = 16 * 1024 * 1024
"""Bytes of JSON on standard output; more is a log."""


def processors() -> int:
    """How many of this machine's processors we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class SideInputMissing(Exception):
    """A side input that is the same for all items is not there: no item's fault."""


class CommandExecutor:
    """The engine of kind `command`. `at_once`: commands that run at the same time; one per processor unless told."""

    def __init__(self, bench: Workbench, at_once: int | None = None) -> None:
        self._bench = bench
        self.at_once: int | None = at_once or processors()
        self._turns = asyncio.Semaphore(self.at_once)
        self._checksums: dict[tuple[str, int, int, int], str] = {}

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        """Run the command to its end; see `Executor`. Cancelled, it is stopped with all that it started."""
        try:
            options = CommandOptions.of(work.app.options)
            async with self._turns, self._bench.at(work.key) as place:
                return await self._attempt(work, options, place, report)
        except InvalidInput as error:
            return Failed(error.message, retry=False)
        except StorageError as error:
            return Failed(error.message)
        except TimeoutError:
            return Failed("The item's files could not be fetched within the deadline.", timed_out=True)
        except SideInputMissing as error:
            return Unavailable(str(error))
        except OSError as error:
            return Unavailable(f"The command cannot be started on this machine: {error}.")

    async def poll(self, work: Work, handle: Mapping[str, Any]) -> Progress | None:
        """Nothing is ever submitted: all work is finished."""
        return None

    async def collect(self, work: Work, handle: Mapping[str, Any]) -> Outcome:
        """Nothing is ever submitted."""
        return Failed("Commands finish within their call; there is nothing to collect.")

    async def cancel(self, work: Work, handle: Mapping[str, Any]) -> None:
        """Nothing is ever submitted."""

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _attempt(self, work: Work, options: CommandOptions, place: Path, report: Report) -> Outcome:
        began = time.monotonic()
        async with asyncio.timeout(work.app.deadline):
            document = await asyncio.to_thread(_laid_out, work, place)
            inputs, paths = await self._side_inputs(options, document, place)
            marks = {name: _mark(path) for name, path in paths.items()}
            files = await self._files(options, document, place)
        values = Values(
            input=str(place / "input.json"),
            output=str(place / "output.json"),
            folder=str(place / "out"),
            item=work.item,
            inputs=paths,
            files=files,
            parameters=work.parameters,
            document=document,
        )
        order = Order(
            arguments=arguments(options, values),
            environment=environment(options, values, str(place / "tmp")),
            folder=Path(options.folder) if options.folder else place / "out",
            result=place / "ended.json",
            deadline=work.app.deadline - (time.monotonic() - began),
            memory=options.memory,
            cpu_time=options.cpu_time,
        )
        listener = Listener(report, min(work.app.max_answer, MOST_HELD_BACK))
        ending = await run(order, listener)
        if ending.code == 0 and not ending.timed_out:
            if changed := [one.name for one in inputs if _mark(paths[one.name]) != marks[one.name]]:
                reason = f"The side input {quoted_list(changed)} changed while the command was at work."
                return Failed(reason, listener.finish(used=False))
            return _with_inputs(await self._result(work, options, document, place, listener), inputs)
        log = listener.finish(used=False)
        outcome = verdict(work, options, order, ending, listener.last_line, log)
        assert outcome is not None
        return _with_inputs(outcome, inputs)

    async def _result(
        self, work: Work, options: CommandOptions, document: dict[str, Any], place: Path, listener: Listener
    ) -> Outcome:
        try:
            body, output, said = await asyncio.to_thread(read_output, work.app, place / "output.json", listener.stdout)
            log = listener.finish(used=said)
            kept = [
                await self._bench.files.keep(path, name)
                for path, name in await asyncio.to_thread(kept_paths, place / "out", options.files)
            ]
        except InvalidInput as error:
            return Failed(error.message, listener.finish(used=False), retry=False)
        return await asyncio.to_thread(done, work, document, body, output, kept, log)

    async def _side_inputs(
        self, options: CommandOptions, document: dict[str, Any], place: Path
    ) -> tuple[tuple[KeptFile, ...], dict[str, str]]:
        """The side inputs with their checksums, and where each can be read."""
        told, paths = [], {}
        for name, said in options.inputs.items():
            folder = place / "inputs" / name
            folder.mkdir(parents=True)
            where = path_text(said, document, {"item": str(document.get("item", ""))})
            url = where if "://" in where else Path(where).as_uri()
            try:
                path = await self._bench.files.fetch(url, folder)
                sha256 = await asyncio.to_thread(self._checksum, path)
            except (StorageError, OSError) as error:
                reason = f"The side input {name!r} cannot be read: {error}"
                raise SideInputMissing(reason) if where == said else StorageError(reason) from error
            told.append(KeptFile(name, path.stat().st_size, sha256, url))
            paths[name] = str(path)
        return tuple(told), paths

    def _checksum(self, path: Path) -> str:
        """SHA-256 of a file; read again only when it has changed. Blocking."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            key = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if key not in self._checksums:
                self._checksums[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._checksums[key]

    async def _files(
        self, options: CommandOptions, document: dict[str, Any], place: Path
    ) -> dict[Placeholder, Sequence[str]]:
        """Local paths for `{file}`, `{file:PATTERN}` and `{files}`, of which each file is fetched once."""
        paths: dict[str, str] = {}
        found: dict[Placeholder, Sequence[str]] = {}
        reaches = record_document.reaches(document)
        for wanted in options.wanted():
            if wanted.name not in ("file", "files") or wanted in found:
                continue
            chosen = chosen_files(document, wanted)
            for file in chosen:
                if file.url not in paths:
                    folder = place / "files" / str(len(paths))
                    folder.mkdir(parents=True)
                    path = await self._bench.files.fetch(file.url, folder, reaches.get(file.url))
                    if file.sha256 and path.is_relative_to(folder):
                        await asyncio.to_thread(_verified, path, file)
                    paths[file.url] = str(path.absolute())
            found[wanted] = [paths[file.url] for file in chosen]
        return found


def chosen_files(document: Mapping[str, Any], wanted: Placeholder) -> list[ItemFile]:
    """The files that a placeholder means: `{file}` the item's only one, `{files}` all its own, `{file:PATTERN}` those
    that fit, and those that earlier steps made as well. Raises InvalidInput where there is no such file.
    """
    files = files_now(document) if record_document.is_one(document) else []
    there = quoted_list([file.name for file in files])
    if wanted.argument is not None:
        chosen = matching(files, [wanted.argument])
        if not chosen:
            raise InvalidInput(f"The item has no file that fits {wanted.argument!r}; there are: {there}.")
        return chosen
    own = [file for file in files if file.own]
    if wanted.name == "files":
        return own
    if len(own) != 1:
        raise InvalidInput(
            f"The item has {len(own)} files, so {{file}} does not say which; there are: {there}. "
            "Write {file:PATTERN} for some of them, {files} for all."
        )
    return own


def _mark(path: str) -> tuple[int, int, int] | None:
    """What differs when a file was written again."""
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _verified(path: Path, file: ItemFile) -> None:
    """Raise StorageError where a copy has other bytes than an earlier step has recorded. Blocking."""
    with path.open("rb") as copy:
        if hashlib.file_digest(copy, "sha256").hexdigest() != file.sha256:
            raise StorageError(f"{file.url} has other bytes than are on record.")


def _laid_out(work: Work, place: Path) -> dict[str, Any]:
    """Make an attempt's folders and its input; the input document. Blocking."""
    for name in ("out", "tmp"):
        (place / name).mkdir()
    (place / "input.json").write_bytes(work.document)
    document: dict[str, Any] = orjson.loads(work.document)
    return document


def _with_inputs(outcome: Outcome, inputs: tuple[KeptFile, ...]) -> Outcome:
    if inputs and isinstance(outcome, Done | Failed):
        return replace(outcome, inputs=inputs)
    return outcome
