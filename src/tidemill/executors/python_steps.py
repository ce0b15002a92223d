"""Attempts of steps that `@step` has declared: side inputs, the call, the files, and what comes of it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tidemill.domain import record_document
from tidemill.errors import StorageError
from tidemill.executors.contract import Done, Failed, KeptFile, Outcome, Report, Skipped, Work
from tidemill.executors.python_child import in_child
from tidemill.executors.python_inputs import Found, InputMissing, SideInputs
from tidemill.executors.python_log import LogBook
from tidemill.executors.workbench import Files, Workbench
from tidemill.sdk.calling import Ending, acall, call
from tidemill.sdk.capture import captured
from tidemill.sdk.item import Item
from tidemill.sdk.step import DeclaredStep
from tidemill.sdk.task import Task


class DeclaredSteps:
    """Does their attempts on a workbench."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._side_inputs = SideInputs(bench.files)

    async def do(self, step: DeclaredStep, work: Work, report: Report) -> Outcome:
        """One attempt. What the step raises is its outcome; CancelledError comes through."""
        log, document = LogBook(report), orjson.loads(work.document)
        async with (
            self._bench.spot(work.key) as folder,
            aclosing(Porter(self._bench.files, folder, record_document.reaches(document))) as porter,
        ):
            item = Item(work.item, document, porter)
            attempt = _Attempt(step, work, item, folder, log, porter)
            inputs: dict[str, Found] = {}
            try:
                inputs = await self._side_inputs.find(step, attempt.item, folder)
                ending = await attempt.run({name: found.path for name, found in inputs.items()})
            except InputMissing as error:
                ending = Ending("raised", str(error), error.log)
            except _TooLate as error:
                return Failed(str(error), log.close(), timed_out=True, inputs=_kept(inputs), app_version=step.version)
            log.write(ending.log)
            if changed := [name for name, found in inputs.items() if found.changed()]:
                reason = f"The side input {', '.join(changed)} changed while the step was at work."
                ending = Ending("raised", reason, version=ending.version)
            return await self._outcome(attempt, ending, _kept(inputs))

    async def _outcome(self, attempt: _Attempt, ending: Ending, inputs: tuple[KeptFile, ...]) -> Outcome:
        """What an ending means, with the step's files safe before anything speaks of them."""
        files: tuple[KeptFile, ...] = ()
        if ending.kind == "done":
            try:
                files = tuple([await self._bench.files.keep(Path(path), name) for name, path in ending.files.items()])
            except StorageError as error:
                ending = Ending("raised", error.message, version=ending.version)
        log, version = attempt.log.close(), ending.version or attempt.step.version
        match ending.kind:
            case "done":
                return attempt.done(ending, files, Done(b"", log, version, files, inputs, ending.record))
            case "skip":
                return Skipped(ending.reason, log, version, inputs=inputs)
            case "bad":
                return Failed(ending.reason, log, retry=False, status="bad", inputs=inputs, app_version=version)
        again = ending.kind != "refused"
        return Failed(ending.reason, log, retry=again, after=ending.after, inputs=inputs, app_version=version)


@dataclass(slots=True)
class _Attempt:
    step: DeclaredStep
    work: Work
    item: Item
    folder: Path
    log: LogBook
    porter: Porter

    async def run(self, inputs: Mapping[str, Path]) -> Ending:
        """Call the function where it wants to be called, for as long as it may take. Raises _TooLate."""
        task = Task(self.work.key, self.work.parameters, self.folder, inputs, self.log)
        try:
            async with asyncio.timeout(self.work.app.deadline):
                return await self._called(task)
        except TimeoutError as error:
            raise _TooLate(f"{self.step.name} did not finish within {self.work.app.deadline:g} seconds.") from error
        finally:
            task.stop()

    async def _called(self, task: Task) -> Ending:
        if self.step.run_in == "process":
            return await in_child(self.step, self._job(task), self.porter, self.log)
        if self.step.is_async:
            with captured(self.log.write):
                return await acall(self.step, self.item, task)
        return await in_thread(partial(self._captured_call, task), self.work.key)

    def _captured_call(self, task: Task) -> Ending:
        with captured(self.log.write):
            return call(self.step, self.item, task)

    def _job(self, task: Task) -> dict[str, Any]:
        work = self.work
        return {
            "key": work.key,
            "item": work.item,
            "parameters": dict(work.parameters),
            "document": work.document.decode("utf-8"),
            "folder": str(self.folder),
            "inputs": {name: str(path) for name, path in task.inputs.items()},
        }

    def done(self, ending: Ending, files: tuple[KeptFile, ...], done: Done) -> Outcome:
        """The document: the record's with one entry more, or, in a chain that the record does not drive, the result."""
        told = record_document.read(self.work.document)
        if told is not None:
            entry = {
                "name": self.work.step or self.step.name,
                "app": self.work.app.name,
                "version": done.app_version,
                "output": ending.output or {},
                "files": [asdict(file) for file in files],
            }
            document = record_document.with_step(told, entry)
        else:
            document = self.work.document if ending.output is None else orjson.dumps(ending.output)
        if len(document) > self.work.app.max_answer:
            reason = f"{self.step.name} returned more than {self.work.app.max_answer:,} bytes; keep it as a file."
            return Failed(reason, done.log, retry=False, inputs=done.inputs, app_version=done.app_version)
        return Done(document, done.log, done.app_version, files, done.inputs, done.record)


class _TooLate(Exception):
    """The deadline has passed."""


class Porter:
    """Fetches an item's files for a step (see `sdk.item.Fetcher`), each once."""

    def __init__(self, files: Files, folder: Path, reaches: Mapping[str, Mapping[str, Any]]) -> None:
        self._files = files
        self._folder = folder
        self._reaches = reaches
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._coming: dict[str, asyncio.Task[Path]] = {}
        self._closed = False

    async def aclose(self) -> None:
        """The attempt is over: what is still coming is of no use to anybody."""
        self._closed = True
        for one in self._coming.values():
            one.cancel()
        await asyncio.gather(*self._coming.values(), return_exceptions=True)

    def fetch(self, url: str) -> Path:
        if threading.get_ident() == self._thread:
            raise OSError(f"{url} is not on this machine; in an async step, get it by `await file.fetch()`.")
        return asyncio.run_coroutine_threadsafe(self.fetching(url), self._loop).result()

    async def fetching(self, url: str) -> Path:
        if asyncio.get_running_loop() is not self._loop:
            return await asyncio.to_thread(self.fetch, url)
        if self._closed:
            raise OSError(f"{url} is not fetched any more: the attempt is over.")
        if url not in self._coming:
            self._coming[url] = asyncio.create_task(self._fetched(url))
        return await asyncio.shield(self._coming[url])

    async def _fetched(self, url: str) -> Path:
        own = self._folder / "files" / hashlib.sha256(url.encode()).hexdigest()[:16]
        await asyncio.to_thread(own.mkdir, parents=True, exist_ok=True)
        try:
            return await self._files.fetch(url, own, self._reaches.get(url))
        except StorageError as error:
            raise OSError(error.message) from error


async def in_thread(function: Callable[[], Ending], name: str) -> Ending:
    """Call a function in a thread of its own: one that hangs for ever holds up no other, nor the worker's end."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Ending] = loop.create_future()

    def tell(ending: Ending) -> None:
        if not ended.done():
            ended.set_result(ending)

    def run() -> None:
        ending = function()
        try:
            loop.call_soon_threadsafe(tell, ending)
        except RuntimeError:  # the worker has gone meanwhile
            return

    threading.Thread(target=run, name=f"attempt {name}", daemon=True).start()
    return await ended


def _kept(inputs: Mapping[str, Found]) -> tuple[KeptFile, ...]:
    return tuple(found.kept for found in inputs.values())
