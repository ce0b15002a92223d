"""What a step is given of its attempt: parameters, a folder, side inputs, and where to say how it goes."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from tidemill.sdk.outcomes import Cancelled

WHOLE_LOG = "attempt.log"
"""The name under which a log that is too long for the record is kept with an attempt's files."""

_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")


class Listener(Protocol):
    """Hears what a step says while it is at work. Safe to call from any thread; never blocks for long."""

    def progress(self, fraction: float) -> None: ...

    def write(self, text: str) -> None: ...


class Task:
    """The attempt at hand. `key` names it (`<task>-<fence>`); `parameters` are the step's, from its pipeline."""

    def __init__(
        self,
        key: str,
        parameters: Mapping[str, Any],
        folder: Path,
        inputs: Mapping[str, Path],
        listener: Listener,
    ) -> None:
        self.key = key
        self.parameters: Mapping[str, Any] = MappingProxyType(dict(parameters))
        self.folder = folder
        """A folder of this attempt's own, gone with all that is in it when the attempt ends."""
        self.inputs = dict(inputs)
        """Local paths of the side inputs, by name."""
        self._listener = listener
        self._over = threading.Event()
        self.files: dict[str, Path] = {}
        """What is to be kept, by name."""
        self.record: dict[str, Any] = {}
        """What is to be merged into the item's metadata."""

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is over already (cancelled, past its deadline): whatever it returns is not wanted."""
        return self._over.is_set()

    def progress(self, fraction: float) -> None:
        """Say how far it is, from 0 to 1. Raises Cancelled if the attempt is over already."""
        self._check()
        if not isinstance(fraction, int | float) or not math.isfinite(fraction) or not -0.01 <= fraction <= 1.01:
            self._listener.write(f"task.progress takes a fraction from 0 to 1, not {fraction!r}: it was not shown.\n")
            return
        self._listener.progress(min(1.0, max(0.0, float(fraction))))

    def log(self, text: object) -> None:
        """Write a line into the attempt's log. Raises Cancelled if the attempt is over already."""
        self._check()
        self._listener.write(f"{text}\n")

    def input(self, name: str) -> Path:
        """The local path of a side input that the step declares. Raises LookupError."""
        if name not in self.inputs:
            known = ", ".join(map(repr, self.inputs)) or "none"
            raise LookupError(f"This step has no side input {name!r} for this item; it has: {known}.")
        return self.inputs[name]

    def output(self, name: str) -> Path:
        """A path to write a file to, which is kept under `name` if the step succeeds. Raises ValueError."""
        path = self.folder / "output" / _checked(name)
        path.parent.mkdir(exist_ok=True)
        return self._kept(name, path)

    def keep(self, path: str | Path, name: str | None = None) -> None:
        """Keep the file at `path`, under `name` or its own name, if the step succeeds. Raises ValueError."""
        found = Path(path).absolute()
        self._kept(_checked(found.name if name is None else name), found)

    def set(self, **metadata: Any) -> None:
        """Merge keys into the item's metadata, together with the result, if the step succeeds; None takes one out."""
        self.record |= metadata

    def stop(self) -> None:
        """The attempt is over: for those who run steps."""
        self._over.set()

    def _check(self) -> None:
        if self._over.is_set():
            raise Cancelled(f"Attempt {self.key} is over already.")

    def _kept(self, name: str, path: Path) -> Path:
        if self.files.setdefault(name, path) != path:
            raise ValueError(f"This step keeps two files named {name!r}: {self.files[name]} and {path}.")
        return path


def _checked(name: str) -> str:
    """A name under which a file can be kept. Raises ValueError."""
    fault = None
    if not isinstance(name, str) or not name.strip() or name in (".", ".."):
        fault = "is no file name"
    elif _FORBIDDEN.search(name):
        fault = "has a slash, a backslash or a control character in it"
    elif len(name.encode()) > 200:
        fault = "is longer than 200 bytes"
    elif name == WHOLE_LOG:
        fault = "is the name of the attempt's own log"
    if fault:
        raise ValueError(f"A file cannot be kept as {name!r}: that {fault}.")
    return name
