"""What the runner asks of every engine, and what an engine may answer.

An engine does one attempt at one step of one item. `submit` either finishes within the call (a web service
that answers, a function) and returns an `Outcome`, or hands back `Submitted` with a handle that any worker on
any machine can `poll`, `collect` and `cancel` later, after a crash as well. `tests/contract/` holds every
engine to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class AppCall:
    """How an app is reached, and the limits that hold for one call of it."""

    name: str
    kind: str
    """The engine: `http`, `python`, …"""
    url: str
    protocol: str = "clams"
    """For `http`: `clams` (MMIF in and out) or `json` (any JSON object in and out)."""
    version: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    deadline: float = 3600.0
    """Seconds that one attempt may take, from the first byte sent to the last byte read."""
    max_answer: int = 256 * 1024 * 1024
    """Bytes; a longer answer is cut off and fails the attempt."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only this engine understands: a command with its environment and limits, the two ends of a transfer."""


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt: `key` (`<task>-<fence>`) names it everywhere, also inside the engine."""

    key: str
    item: str
    app: AppCall
    parameters: Mapping[str, Any]
    document: bytes
    """The input document (UTF-8 JSON)."""
    step: str = ""
    """The step's name in its pipeline."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a step put out, safe in the file store, or a side input that it used."""

    name: str
    size: int
    sha256: str
    url: str


@dataclass(frozen=True, slots=True)
class Done:
    """The step succeeded: the document that it put out (UTF-8 JSON) and what it had to say."""

    document: bytes
    log: str = ""
    app_version: str = ""
    """The version that the app itself reported in its answer, where it did."""
    files: tuple[KeptFile, ...] = ()
    """The files that it put out."""
    inputs: tuple[KeptFile, ...] = ()
    """The side inputs that it used."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Metadata to merge into the item's record, key by key, together with the result; null takes a key out."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The step does not apply to this item, which goes on to the next step with the document that it came with."""

    reason: str
    log: str = ""
    app_version: str = ""
    files: tuple[KeptFile, ...] = ()
    inputs: tuple[KeptFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """This item did not get through this step."""

    reason: str
    """One sentence in words for a person."""
    log: str = ""
    retry: bool = True
    """Whether the same call could go better next time (a reset connection: yes; a bad parameter: no)."""
    document: bytes | None = None
    """What the app answered, where that helps to understand (an MMIF with an error view)."""
    timed_out: bool = False
    """The deadline passed: counts against the item, and as a sign that the app may be down."""
    after: float | None = None
    """Seconds to wait before the next try, where the step itself knows; None: as its retry policy says."""
    status: str = ""
    """The status that the item gets together with this failure (`bad`), with the reason; empty: it stays as it is."""
    inputs: tuple[KeptFile, ...] = ()
    files: tuple[KeptFile, ...] = ()
    """What is worth keeping of a failed attempt; nothing of it goes to later steps."""
    app_version: str = ""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The app is down (refused, unreachable, 502/503): not the item's fault, and no try is used up."""

    reason: str


Outcome = Done | Skipped | Failed | Unavailable


@dataclass(frozen=True, slots=True)
class Submitted:
    """The engine has accepted the work and runs it elsewhere."""

    handle: Mapping[str, Any]
    """JSON that is enough for any worker to ask after the work (a status URL, a job id)."""
    poll_after: float = 1.0
    """Seconds to wait before the first poll."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The work is not finished; `fraction` (0 to 1) where the app reports one."""

    fraction: float | None = None
    message: str = ""
    poll_after: float = 1.0
    log: str = ""
    """Lines that came since the last report; people who look on see them within a second or two."""


Report = Callable[[Progress], None]
"""Called by an engine within `submit` whenever it learns how far the attempt is. Never blocks."""


class Executor(Protocol):
    """One engine. Safe for hundreds of attempts at once in one event loop."""

    @property
    def at_once(self) -> int | None:
        """Attempts that it does at the same time in one worker, which claims no more of them; None: as many as come."""
        ...

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        """Do the work, or hand it to the engine. Never raises for what an app does wrong: that is a `Failed`."""
        ...

    async def poll(self, work: Work, handle: Mapping[str, Any]) -> Progress | None:
        """Ask how far submitted work is; None once it is finished, well or badly, and can be collected."""
        ...

    async def collect(self, work: Work, handle: Mapping[str, Any]) -> Outcome:
        """Fetch the outcome of finished work. May be called again after a crash, with the same answer."""
        ...

    async def cancel(self, work: Work, handle: Mapping[str, Any]) -> None:
        """Ask the engine to stop; no error if it has stopped already or knows nothing of it."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
