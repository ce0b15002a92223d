"""Making packages from the command line: working on a run of them while a person looks on."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidemill.cli import door
from tidemill.cli.output import count, say
from tidemill.cli.packing_faces import Face, face_for
from tidemill.errors import DatabaseUnavailable
from tidemill.publishing import package_runs
from tidemill.publishing.registering import Registrar
from tidemill.runner import look
from tidemill.runner import runs as steering
from tidemill.runner.housekeeping import close_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidemill.db.database import Row
    from tidemill.main import Site

LOOK_SECONDS = 0.5
REGISTER_SECONDS = 2.0
HOLDS_SECONDS = 2.0
"""Between two looks at what holds a run back."""


@dataclass(slots=True)
class Attended:
    """How runs of packages stand when nobody looks on any more."""

    packages: list[Row] = field(default_factory=list)
    """The columns of `package_runs.progress`."""
    unfinished: list[int] = field(default_factory=list)
    """Runs that are not over."""
    refused: dict[int, str] = field(default_factory=dict)
    """By task: why what was built is not published."""

    @property
    def left(self) -> bool:
        """Whether anything is not made yet, and may still be."""
        return any(row["state"] in ("waiting", "running", "submitted") for row in self.packages)

    def add(self, other: Attended | None) -> None:
        """What came of more of them."""
        if other is not None:
            self.packages = self.packages + other.packages
            self.unfinished = sorted({*self.unfinished, *other.unfinished})
            self.refused = self.refused | other.refused

    def failures(self) -> list[dict[str, Any]]:
        """The packages that were not made, with the reason."""
        failed = [
            {"name": row["name"], "task": row["task"], "reason": row["reason"] or row["state"]}
            for row in self.packages
            if row["state"] in ("failed", "cancelled")
        ]
        refused = [
            {
                "name": row["name"],
                "task": row["task"],
                "reason": f"built, and not published: {self.refused[row['task']]}",
            }
            for row in self.packages
            if row["task"] in self.refused
        ]
        return failed + refused


async def attend(site: Site, runs: Sequence[int], names: Sequence[str], slots: int, *, json: bool) -> Attended:
    """Work on runs of packages, so many at once, until these packages are made; a signal leaves what is not for others.

    What is finished is registered as it comes.
    """
    attending = _Attending(site, runs, frozenset(names), face_for(json=json))
    packers = await package_runs.packers(site.database)
    worker = site.packer(slots, packers)

    def signalled(number: int) -> None:
        attending.stopped.set()
        worker.abandon()

    with door.stop_signals(signalled):
        working = asyncio.create_task(worker.run())
        working.add_done_callback(lambda _: attending.stopped.set())
        try:
            await attending.look_on()
        finally:
            worker.stop()
            await working
    return await attending.leave()


@dataclass(slots=True)
class _Attending:
    site: Site
    runs: Sequence[int]
    names: frozenset[str]
    face: Face
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    registrar: Registrar = field(init=False)
    _ask_at: float = 0.0
    _told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.registrar = Registrar(self.site.documents)

    async def look_on(self) -> None:
        """Show how it goes until all is made, nothing moves any more, or somebody stops it."""
        registering = asyncio.create_task(self._register())
        try:
            with self.face:
                while not self.stopped.is_set():
                    begun = time.monotonic()
                    rows = await self._rows()
                    self.face.show(rows)
                    if not any(row["state"] in ("waiting", "running", "submitted") for row in rows):
                        return
                    if await self._nothing_moves():
                        return
                    took = time.monotonic() - begun
                    await self._pause(max(LOOK_SECONDS, 5 * took))  # a large run is not asked often
        finally:
            registering.cancel()
            await asyncio.gather(registering, return_exceptions=True)

    async def leave(self) -> Attended:
        """Register what is left, and say how all stands."""
        await self.registrar.register(self.site.database)
        rows = await self._rows()
        await close_runs(self.site.database)
        async with self.site.database.begin() as session:
            states = {run: (await steering.get(session, run))["state"] for run in self.runs}
        refused = {row["task"]: why for row in rows if (why := self.registrar.why(row["task"])) is not None}
        return Attended(rows, [run for run, state in states.items() if state == "active"], refused)

    async def _rows(self) -> list[Row]:
        """How the packages stand; waits while the database is away, as the workers do."""
        told = False
        while True:
            try:
                async with self.site.database.begin() as session:
                    found = [row for run in self.runs for row in await package_runs.progress(session, run)]
                return [row for row in found if row["name"] in self.names]
            except DatabaseUnavailable as error:
                if not told:
                    say(f"{error.message} Waiting for it.")
                    told = True
                await asyncio.sleep(LOOK_SECONDS)

    async def _nothing_moves(self) -> bool:
        """Whether somebody has paused all that is left, so there is nothing to wait for. Says what holds it back."""
        if time.monotonic() < self._ask_at:
            return False
        self._ask_at = time.monotonic() + HOLDS_SECONDS
        try:
            async with self.site.database.begin() as session:
                found = [await look.overview(session, run) for run in self.runs]
        except DatabaseUnavailable:
            return False
        left = [run for run in found if run.state == "active"]
        for run in left:
            for reason in (step.held_back for step in run.steps):
                if reason and reason not in self._told:
                    self._told.add(reason)
                    say(f"Run {run.id} waits: {reason}")
        return bool(left) and all(run.paused for run in left)

    async def _register(self) -> None:
        while True:
            with suppress(DatabaseUnavailable):
                await self.registrar.look(self.site.database)
            await asyncio.sleep(REGISTER_SECONDS)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopped.wait()


def in_short(attended: Attended) -> str:
    """`12 made, 1 failed, 3 left`."""
    numbers = {
        "made": sum(row["state"] == "done" and row["task"] not in attended.refused for row in attended.packages),
        "failed": len(attended.failures()),
    }
    numbers["left"] = len(attended.packages) - sum(numbers.values())
    return ", ".join(f"{number:,} {word}" for word, number in numbers.items() if number) or count(0, "package")
