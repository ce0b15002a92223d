"""One attempt: what the claim said, the engine's answer, the result to hand in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from tidemill.db.database import Row
from tidemill.domain import record_document
from tidemill.domain.record_document import renewed
from tidemill.domain.retries import RetryPolicy
from tidemill.errors import AccessRefused, DatabaseUnavailable, StorageError
from tidemill.executors.contract import (
    AppCall,
    Done,
    Executor,
    Failed,
    Outcome,
    Progress,
    Submitted,
    Unavailable,
    Work,
)
from tidemill.executors.workbench import Workbench
from tidemill.runner.entering import record_files
from tidemill.runner.results import LOG_LIMIT, Result, clean, judged, reused
from tidemill.sdk.task import WHOLE_LOG
from tidemill.storage.documents import Documents, Stored

log = structlog.get_logger()

MOST_LOG = 64 * 1024 * 1024
"""Characters of a log that are kept as a file."""

LOST_CONTACT_POLLS = 20
"""Polls in a row that may fail before submitted work is given up as out of reach."""


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step with its app, as they stand now."""

    name: str
    app: AppCall
    parameters: Mapping[str, Any]
    policy: RetryPolicy


class Specs(Protocol):
    """Where an attempt learns about steps, apps and records."""

    async def step(self, task: Row) -> StepSpec: ...

    async def record(self, item_id: int) -> Row: ...


@dataclass(slots=True)
class Held:
    """A task in this worker's hand."""

    task: Row
    progress: float | None = None
    log: str = ""
    """Lines that have not been told yet."""
    said: int = 0
    """Characters of log that were heard so far."""
    news: bool = False
    """Whether there is progress or log that has not been told yet."""
    renewed: Stored | None = None
    """The input document that was made anew, because the record had been edited."""
    handle: Mapping[str, Any] | None = None
    work: Work | None = None
    executor: Executor | None = None
    job: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[int, int]:
        return self.task["id"], self.task["fence"]

    def hear(self, progress: Progress) -> None:
        """Take down what an engine reports."""
        if progress.fraction is not None and progress.fraction != self.progress:
            self.progress, self.news = progress.fraction, True
        if progress.log:
            self.log, self.news = (self.log + progress.log)[-LOG_LIMIT:], True
            self.said += len(progress.log)

    def take_news(self) -> dict[str, Any]:
        """What there is to tell, as `tasks.tell` takes it; from here on it counts as told."""
        task, fence = self.key
        news = {"task": task, "fence": fence, "progress": rounded(self.progress), "log": clean(self.log)}
        news["total"] = self.said
        self.log, self.news = "", False
        return news


def rounded(progress: float | None) -> float | None:
    """An app may report 1e-60, which the column cannot hold."""
    return None if progress is None else round(progress, 4)


Handed = Callable[[Held], Awaitable[None]]
"""Called once an engine has accepted the work: writes the handle down before anything else."""


class Attempts:
    """Does attempts with the engines at hand."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        documents: Documents,
        specs: Specs,
        handed: Handed,
        bench: Workbench | None = None,
    ) -> None:
        self._executors = executors
        self._documents = documents
        self._specs = specs
        self._handed = handed
        self._bench = bench

    async def do(self, held: Held) -> Result:
        """One attempt from input document to result. Raises DatabaseUnavailable, and nothing for what an app does."""
        task = held.task
        if task["earlier_output"] is not None:
            return reused(task)
        step = await self._specs.step(task)
        outcome: Outcome
        try:
            document = await self._input(held)
            key = f"{task['id']}-{task['fence']}"
            work = Work(key, task["item"], step.app, step.parameters, document, step.name)
            outcome = await self._run(held, work)
        except (DatabaseUnavailable, AccessRefused):  # the item is not to blame
            raise
        except StorageError as error:
            outcome = Failed(error.message)
        except Exception as error:  # an engine broke its promise not to raise: the attempt says so, the worker lives on
            log.exception("engine raised", task=task["id"], app=step.app.name)
            outcome = Failed(f"The {step.app.kind} engine broke: {type(error).__name__}: {error}")
        return await self._kept(held, step, outcome)

    async def _input(self, held: Held) -> bytes:
        """The input document; with the record as it is now, where people or steps have edited it since."""
        task = held.task
        document = await self._documents.read(task["input"], task["body"], task["location"])
        if not task["stale"]:
            return document
        record = await self._specs.record(task["item_id"])
        anew = renewed(document, record, record_files(record["files"]))
        held.task = task | {"revision": record["revision"]}
        if anew is None:
            return document
        held.renewed = await self._documents.keep(anew)
        held.task["input"] = held.renewed.sha256
        return anew

    async def _run(self, held: Held, work: Work) -> Outcome:
        executor = held.executor = self._executors[work.app.kind]
        held.work = work

        def report(progress: Progress) -> None:
            held.hear(progress)

        if held.task.get("handle") is None:
            answer = await executor.submit(work, report)
            if not isinstance(answer, Submitted):
                return answer
            held.handle = answer.handle
            await self._handed(held)
            await asyncio.sleep(answer.poll_after)
        else:
            held.handle = held.task["handle"]
        return await self._follow(held, work, executor)

    async def _follow(self, held: Held, work: Work, executor: Executor) -> Outcome:
        """Poll submitted work to its end, or to the app's deadline."""
        assert held.handle is not None
        ends = time.monotonic() + work.app.deadline - held.task.get("passed", 0.0)
        missed = 0
        while time.monotonic() < ends:
            try:
                progress = await executor.poll(work, held.handle)
            except (OSError, TimeoutError) as error:
                missed += 1
                if missed >= LOST_CONTACT_POLLS:
                    return Unavailable(f"{work.app.name} accepted the work and cannot be reached since: {error}")
                await asyncio.sleep(1)
                continue
            missed = 0
            if progress is None:
                return await executor.collect(work, held.handle)
            held.hear(progress)
            await asyncio.sleep(progress.poll_after)
        await executor.cancel(work, held.handle)
        return Failed(f"{work.app.name} did not finish within its deadline of {work.app.deadline:g} s", timed_out=True)

    async def _kept(self, held: Held, step: StepSpec, outcome: Outcome) -> Result:
        """Make the answer's document safe, and its whole log where that is long; then judge."""
        outcome = await self._with_whole_log(held, outcome)
        document = outcome.document if isinstance(outcome, Done | Failed) else None
        stored: Stored | None = None
        if document is not None:
            try:
                stored = await self._documents.keep(document)
            except (StorageError, UnicodeDecodeError) as error:
                if isinstance(outcome, Done):
                    outcome = Failed(f"The output could not be kept: {error}")
        task = held.task if step.app.kind in record_document.KINDS else held.task | {"revision": None}
        result = judged(task, step.policy, outcome, stored)
        if step.app.kind in record_document.KINDS and result.row.get("said") not in (None, "", step.app.version):
            result.row["ran"] = result.row["said"]
        if held.renewed is not None:
            result.documents.append(held.renewed.as_row())
        return result

    async def _with_whole_log(self, held: Held, outcome: Outcome) -> Outcome:
        """With a log that the row cannot hold as one of its files. The result does not fall with it."""
        if self._bench is None or isinstance(outcome, Unavailable) or len(outcome.log) <= LOG_LIMIT:
            return outcome
        key = f"{held.task['id']}-{held.task['fence']}"
        try:
            kept = await self._bench.keep_text(key, WHOLE_LOG, clean(outcome.log[-MOST_LOG:]))
        except (StorageError, OSError) as error:
            log.warning("a long log could not be kept", attempt=key, error=str(error))
            return outcome
        return replace(outcome, files=(*outcome.files, kept))
