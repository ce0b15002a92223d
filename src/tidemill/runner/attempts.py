"""One attempt: what the claim said, the engine's answer, the result to hand in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from tidemill.db.database import Row
from tidemill.domain.retries import RetryPolicy
from tidemill.errors import DatabaseUnavailable, StorageError
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
from tidemill.runner.results import Result, judged, reused
from tidemill.storage.documents import DocumentStore, Stored

log = structlog.get_logger()

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
    """Where an attempt learns about steps, apps and items."""

    async def step(self, task: Row) -> StepSpec: ...

    async def item(self, item_id: int) -> str: ...


@dataclass(slots=True)
class Held:
    """A task in this worker's hand."""

    task: Row
    progress: float | None = None
    handle: Mapping[str, Any] | None = None
    work: Work | None = None
    executor: Executor | None = None
    job: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[int, int]:
        return self.task["id"], self.task["fence"]


Handed = Callable[[Held], Awaitable[None]]
"""Called once an engine has accepted the work: writes the handle down before anything else."""


class Attempts:
    """Does attempts with the engines at hand."""

    def __init__(
        self, executors: Mapping[str, Executor], documents: DocumentStore, specs: Specs, handed: Handed
    ) -> None:
        self._executors = executors
        self._documents = documents
        self._specs = specs
        self._handed = handed

    async def do(self, held: Held) -> Result:
        """One attempt from input document to result. Raises DatabaseUnavailable, and nothing for what an app does."""
        task = held.task
        if task["earlier_output"] is not None:
            return reused(task)
        step = await self._specs.step(task)
        outcome: Outcome
        try:
            document = await self._documents.read(task["input"], task["body"], task["location"])
            work = Work(
                f"{task['id']}-{task['fence']}",
                await self._specs.item(task["item_id"]),
                step.app,
                step.parameters,
                document,
            )
            outcome = await self._run(held, work)
        except DatabaseUnavailable:  # the item is not to blame
            raise
        except StorageError as error:
            outcome = Failed(error.message)
        except Exception as error:  # an engine broke its promise not to raise: the attempt says so, the worker lives on
            log.exception("engine raised", task=task["id"], app=step.app.name)
            outcome = Failed(f"The {step.app.kind} engine broke: {type(error).__name__}: {error}")
        return await self._kept(task, step, outcome)

    async def _run(self, held: Held, work: Work) -> Outcome:
        executor = held.executor = self._executors[work.app.kind]
        held.work = work

        def report(progress: Progress) -> None:
            held.progress = progress.fraction

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
            if progress.fraction is not None:
                held.progress = progress.fraction
            await asyncio.sleep(progress.poll_after)
        await executor.cancel(work, held.handle)
        return Failed(f"{work.app.name} did not finish within its deadline of {work.app.deadline:g} s", timed_out=True)

    async def _kept(self, task: Row, step: StepSpec, outcome: Outcome) -> Result:
        """Make the answer's document safe, then judge."""
        document = outcome.document if isinstance(outcome, Done | Failed) else None
        stored: Stored | None = None
        if document is not None:
            try:
                stored = await self._documents.keep(document)
            except (StorageError, UnicodeDecodeError) as error:
                if isinstance(outcome, Done):
                    outcome = Failed(f"The output could not be kept: {error}")
        return judged(task, step.policy, outcome, stored)
