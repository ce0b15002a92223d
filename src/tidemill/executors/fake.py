"""An engine in memory whose behaviour is written down beforehand, for the tests of whatever uses engines.

It refuses what a real engine refuses: work that it does not know is lost, a key that it has already is not run
twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from tidemill.executors.contract import Done, Failed, Outcome, Progress, Report, Submitted, Work


@dataclass(frozen=True, slots=True)
class Act:
    """How one attempt goes.

    `submit` finishes at once, after `progress` was reported, where `submitted` is False; otherwise each poll hands
    out the next entry of `progress`, then the work is finished. `gate`, where given, holds `submit` back until it
    is set. `vanish` makes the engine forget the work once it was submitted.
    """

    outcome: Outcome | None = None
    """None: done, with the input document and one more key, `steps`, the names of the apps that had it."""
    progress: Sequence[float] = ()
    submitted: bool = False
    vanish: bool = False
    gate: asyncio.Event | None = None


@dataclass(slots=True)
class _Job:
    work: Work
    act: Act
    polls: int = 0
    cancelled: bool = False


@dataclass(slots=True)
class FakeExecutor:
    """The engine. `script[item]` is the acts of that item's attempts, the last of which repeats; `default` for others.

    What happened can be read off `submitted` (keys in order), `calls` (by item), `cancelled` and `running`.
    """

    at_once: ClassVar[int | None] = None

    script: Mapping[str, Sequence[Act]] = field(default_factory=dict)
    default: Act = field(default_factory=Act)
    submitted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    running: int = 0
    most_at_once: int = 0
    closed: bool = False
    _jobs: dict[str, _Job] = field(default_factory=dict)

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        """See `Executor`."""
        act = self._next(work)
        self.submitted.append(work.key)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            if act.gate is not None:
                await act.gate.wait()
            if act.submitted:
                if not act.vanish:
                    self._jobs.setdefault(work.key, _Job(work, act))
                return Submitted({"job": work.key}, poll_after=0.01)
            for fraction in act.progress:
                report(Progress(fraction))
            return act.outcome or _done(work)
        finally:
            self.running -= 1

    async def poll(self, work: Work, handle: Mapping[str, Any]) -> Progress | None:
        """See `Executor`."""
        job = self._jobs.get(str(handle["job"]))
        if job is None or job.cancelled or job.polls >= len(job.act.progress):
            return None
        job.polls += 1
        return Progress(job.act.progress[job.polls - 1], poll_after=0.01)

    async def collect(self, work: Work, handle: Mapping[str, Any]) -> Outcome:
        """See `Executor`."""
        job = self._jobs.get(str(handle["job"]))
        if job is None:
            return Failed(f"The engine knows nothing of {handle['job']}.")
        if job.cancelled:
            return Failed("The work was cancelled.")
        return job.act.outcome or _done(job.work)

    async def cancel(self, work: Work, handle: Mapping[str, Any]) -> None:
        """See `Executor`."""
        self.cancelled.append(str(handle["job"]))
        job = self._jobs.get(str(handle["job"]))
        if job is not None and job.polls < len(job.act.progress):
            job.cancelled = True

    async def close(self) -> None:
        """See `Executor`. What was submitted goes on: it runs elsewhere."""
        self.closed = True

    def _next(self, work: Work) -> Act:
        acts = self.script.get(work.item, ())
        number = self.calls[work.item]
        self.calls[work.item] += 1
        return acts[min(number, len(acts) - 1)] if acts else self.default


def _done(work: Work) -> Done:
    document = orjson.loads(work.document)
    document["steps"] = [*document.get("steps", []), work.app.name]
    return Done(orjson.dumps(document), app_version=work.app.version)
