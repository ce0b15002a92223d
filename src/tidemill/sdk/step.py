"""`@step`: declares that a function is a step, and how it wants to be run."""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from tidemill.errors import InvalidInput
from tidemill.sdk.item import Item

RUN_IN = ("thread", "process")

SideInput = str | Path | Callable[[Item], str | Path | None]
"""Where a side input lies: a path (relative to the step's file) or URL, perhaps with `{metadata.key}` in it, or a
function of the item that says it; None from the function: this item needs none."""

Function = TypeVar("Function", bound=Callable[..., Any])


class DeclaredStep:
    """A function that `@step` has declared. Called, it is the function itself, so that tests can call it."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        version: str | None = None,
        inputs: Mapping[str, SideInput] | None = None,
        run_in: str = "thread",
        concurrency: int | None = None,
        deadline: float | dt.timedelta | None = None,
        tries: int | None = None,
    ) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", ""))
        self.given_version = version
        self.inputs = dict(inputs or {})
        self.run_in = run_in
        self.concurrency = concurrency
        self.deadline = deadline.total_seconds() if isinstance(deadline, dt.timedelta) else deadline
        self.tries = tries
        self.loaded_from: Path | None = None
        """The file that was named when it was loaded (it may have imported the function from another)."""
        self.source = b""
        """That file's bytes, as they were when it was loaded."""
        self.version = version or ""
        """The version given, else `sha256:…` of the file's bytes; set by `sdk.loading`."""
        self.takes_task = _takes_task(function, self.name)
        self.is_async = inspect.iscoroutinefunction(function)
        self._check()

    @property
    def file(self) -> Path:
        """The file in which the function is written."""
        return Path(inspect.unwrap(self.function).__code__.co_filename)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self.function(*args, **named)

    def __repr__(self) -> str:
        return f"<step {self.name} {self.version} of {self.file}>"

    def _check(self) -> None:
        if not self.name.isidentifier():
            raise InvalidInput(
                f"A step cannot be named {self.name!r}: letters, digits and _ make a name, as in Python."
            )
        if self.run_in not in RUN_IN:
            raise InvalidInput(f"Step {self.name}: run_in is {self.run_in!r}; it must be 'thread' or 'process'.")
        for what, value in (("concurrency", self.concurrency), ("tries", self.tries)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InvalidInput(f"Step {self.name}: {what} is {value!r}; it must be a whole number from 1 on.")
        if self.deadline is not None and not (isinstance(self.deadline, int | float) and self.deadline > 0):
            raise InvalidInput(f"Step {self.name}: deadline is {self.deadline!r}; it must be seconds above 0.")
        for what, where in self.inputs.items():
            if not isinstance(where, str | Path) and not callable(where):
                raise InvalidInput(f"Step {self.name}: the side input {what!r} must be a path, a URL or a function.")


@overload
def step(function: Function, /) -> Function: ...


@overload
def step(
    *,
    name: str | None = None,
    version: str | None = None,
    inputs: Mapping[str, SideInput] | None = None,
    run_in: str = "thread",
    concurrency: int | None = None,
    deadline: float | dt.timedelta | None = None,
    tries: int | None = None,
) -> Callable[[Function], Function]: ...


def step(function: Any = None, /, **options: Any) -> Any:
    """Declare a step: `@step`, or `@step(name=…, version=…, inputs={…}, run_in="process", …)`.

    The function takes `(item)` or `(item, task)` and returns a dict or None; it may be `async`. `inputs`: its side
    inputs by name. `run_in`: `thread`, or `process` for one that may crash, hang or use up memory. `concurrency`,
    `deadline` (seconds) and `tries` are what its app gets when it is first registered. Raises InvalidInput.
    """
    if function is None:
        return lambda function: DeclaredStep(function, **options)
    return DeclaredStep(function, **options)


def source_version(source: bytes) -> str:
    """The version of a step that names none: changed code is a new version."""
    return f"sha256:{hashlib.sha256(source).hexdigest()[:12]}"


def _takes_task(function: Any, name: str) -> bool:
    """Whether a function takes the task beside the item. Raises InvalidInput where it takes anything else."""
    if not callable(function):
        raise InvalidInput(f"@step stands before {function!r}, which is no function.")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(function).parameters.values())
    needed = [one for one in parameters if one.default is one.empty and one.kind not in (one.VAR_KEYWORD,)]
    if any(one.kind not in kinds for one in needed) or not 1 <= len(needed) <= 2:
        taken = ", ".join(str(one) for one in parameters) or "nothing"
        raise InvalidInput(f"Step {name} takes ({taken}); a step takes (item) or (item, task).")
    return len(needed) == 2
