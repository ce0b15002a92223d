"""Steps that are functions in the worker itself: `python:name` calls the function registered under `name`.

There are two sorts: steps that `@step` has declared (`python_steps.py`), and bare functions from the input document and
parameters to the output document, which need no workbench and no thread of their own.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.executors.contract import Done, Failed, Outcome, Progress, Report, Submitted, Work
from tidemill.executors.python_steps import DeclaredSteps
from tidemill.executors.workbench import Workbench
from tidemill.sdk.step import DeclaredStep

StepFunction = Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]
"""Takes the input document and the step's parameters, returns the output document. What it raises fails the item."""


@dataclass(frozen=True, slots=True)
class Step:
    """A function and how it is called."""

    function: StepFunction
    inline: bool = False
    """A plain function that is quick and never waits: called in the event loop, without a thread."""


class PythonExecutor:
    """The engine of kind `python`. Functions that are not `async` run in a thread, unless their `Step` is inline.

    A thread cannot be stopped: past its `deadline` its attempt fails in time, and what it still returns is dropped.
    `max_answer` holds for the output. Declared steps need a `bench`; ValueError says so.
    """

    def __init__(
        self, functions: Mapping[str, StepFunction | Step | DeclaredStep], bench: Workbench | None = None
    ) -> None:
        self._steps: dict[str, Step | DeclaredStep] = {
            name: step if isinstance(step, Step | DeclaredStep) else Step(step) for name, step in functions.items()
        }
        declared = [name for name, step in self._steps.items() if isinstance(step, DeclaredStep)]
        if declared and bench is None:
            raise ValueError(f"Declared steps need a workbench: {', '.join(declared)}.")
        self._declared = DeclaredSteps(bench) if bench else None

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        """Call the function; see `Executor`."""
        step = self._steps.get(work.app.url.removeprefix("python:"))
        if step is None:
            known = ", ".join(sorted(self._steps)) or "none"
            reason = f"There is no function for {work.app.url} in this worker; it has: {known}."
            return Failed(reason, retry=False)
        if isinstance(step, DeclaredStep):
            assert self._declared is not None
            return await self._declared.do(step, work, report)
        try:
            document = orjson.loads(work.document)
            if step.inline:
                result = step.function(document, work.parameters)
            else:
                async with asyncio.timeout(work.app.deadline) as limit:
                    result = await _called(step.function, document, work.parameters)
        except TimeoutError:
            if step.inline or not limit.expired():
                return _raised()
            return Failed(f"{work.app.url} did not finish within {work.app.deadline:g} seconds.", timed_out=True)
        except (Exception, SystemExit):  # noqa: BLE001 - other people's code: the whole error goes into the log
            return _raised()
        return _output(work, result)

    async def poll(self, work: Work, handle: Mapping[str, Any]) -> Progress | None:
        """Nothing is ever submitted: all work is finished."""
        return None

    async def collect(self, work: Work, handle: Mapping[str, Any]) -> Outcome:
        """Nothing is ever submitted."""
        return Failed("Functions in a worker finish within their call; there is nothing to collect.")

    async def cancel(self, work: Work, handle: Mapping[str, Any]) -> None:
        """Nothing is ever submitted."""

    async def close(self) -> None:
        """Nothing is kept open."""


async def _called(function: StepFunction, document: dict[str, Any], parameters: Mapping[str, Any]) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(document, parameters)
    result = await asyncio.to_thread(function, document, parameters)
    return await result if inspect.isawaitable(result) else result


def _raised() -> Failed:
    trace = traceback.format_exc()
    return Failed(trace.strip().rpartition("\n")[2], trace)


def _output(work: Work, result: Any) -> Outcome:
    if not isinstance(result, dict):
        reason = f"{work.app.url} returned {type(result).__name__} where a dict should be."
        return Failed(reason, retry=False)
    try:
        document = orjson.dumps(result)
    except TypeError as error:
        return Failed(f"{work.app.url} returned what is no JSON: {error}.", retry=False)
    if len(document) > work.app.max_answer:
        return Failed(f"{work.app.url} returned more than {work.app.max_answer} bytes.", retry=False)
    return Done(document, app_version=work.app.version)
