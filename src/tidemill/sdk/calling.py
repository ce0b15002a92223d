"""Calls a step's function and says how it ended: the same in a thread, in the event loop and in a child process."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tidemill.sdk.item import Item
from tidemill.sdk.outcomes import Bad, Cancelled, Retry, Skip
from tidemill.sdk.plain import NotPlain, plain
from tidemill.sdk.step import DeclaredStep
from tidemill.sdk.task import Task

_OURS = str(Path(__file__).parents[1])
_LONGEST_REASON = 500


@dataclass(slots=True)
class Ending:
    """How a call ended; all of it plain JSON, so that it can cross a pipe.

    `refused`: the function returned, but what it returned or kept cannot be taken; trying again is of no use.
    """

    kind: Literal["done", "skip", "retry", "bad", "raised", "refused"]
    reason: str = ""
    log: str = ""
    """What to add to the log: a traceback, notes."""
    output: Any = None
    after: float | None = None
    record: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Local paths of the files to keep, by name."""
    version: str = ""
    """The version that ran, where the caller cannot know it."""


def call(step: DeclaredStep, item: Item, task: Task) -> Ending:
    """Call a plain function; or an async one, in an event loop of its own. Raises nothing."""
    try:
        result = step.function(item, task) if step.takes_task else step.function(item)
        if inspect.isawaitable(result):
            result = asyncio.run(_awaited(result))
    except BaseException as error:  # noqa: BLE001 - also SystemExit: a step must not take its worker along
        return raised(error)
    return returned(step, task, result)


async def acall(step: DeclaredStep, item: Item, task: Task) -> Ending:
    """Await an async function in this event loop. Raises CancelledError where this task itself is cancelled."""
    try:
        result = await (step.function(item, task) if step.takes_task else step.function(item))
    except asyncio.CancelledError as error:
        this = asyncio.current_task()
        if this is not None and this.cancelling():
            raise
        return raised(error)
    except BaseException as error:  # noqa: BLE001 - as above
        return raised(error)
    return returned(step, task, result)


def returned(step: DeclaredStep, task: Task, result: Any) -> Ending:
    """What a function's result comes to."""
    notes: list[str] = []
    if result is not None and not isinstance(result, dict):
        return Ending("refused", f"{step.name} returned {type(result).__name__} where a dict or None should be.")
    try:
        output = plain(result, "result", notes)
        record = plain(task.record, "task.set", notes)
    except NotPlain as error:
        return Ending("refused", f"{step.name}: {error}.")
    except RecursionError:
        return Ending("refused", f"{step.name}: the result contains itself.")
    for name, path in task.files.items():
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "was not written"
            return Ending("refused", f"{step.name} keeps {name!r}, but {path.name} {what}.")
    log = "".join(f"{note}\n" for note in notes)
    return Ending("done", log=log, output=output, record=record, files=_named(task))


def raised(error: BaseException) -> Ending:
    """What an exception comes to; its traceback begins with the step's own frames."""
    reason = str(error).strip()
    match error:
        case Skip():
            return Ending("skip", reason or "the step does not apply")
        case Bad():
            return Ending("bad", reason or "the step found the item bad")
        case Retry():
            return Ending("retry", reason or "the step asks to be tried again", after=error.after)
        case Cancelled():
            return Ending("raised", reason)
    return Ending("raised", _last_line(error), log=trace(error))


def trace(error: BaseException, outside: Callable[[str], bool] = lambda file: file.startswith(_OURS)) -> str:
    """A traceback without our own frames at its beginning; `outside` says which files are no matter of the reader's."""
    errors, known = [error], set[int]()
    while errors:  # those that it came from, too
        one = errors.pop()
        known.add(id(one))
        frame = one.__traceback__
        while frame is not None and outside(frame.tb_frame.f_code.co_filename):
            frame = frame.tb_next
        one.__traceback__ = frame
        errors += [more for more in (one.__cause__, one.__context__) if more is not None and id(more) not in known]
    return "".join(traceback.format_exception(error))


def _last_line(error: BaseException) -> str:
    """`ValueError: no bars in it`: with the first line of what it says."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    said = str(error).strip()
    line = f"{name}: {said.splitlines()[0]}" if said else name
    return line if len(line) <= _LONGEST_REASON else line[:_LONGEST_REASON] + "…"


def _named(task: Task) -> dict[str, str]:
    return {name: str(path) for name, path in task.files.items()}


async def _awaited(result: Any) -> Any:
    return await result
