"""Packages as steps: the plan that comes in is built by what the program was given to build with.

Engines know nothing of object stores, so `main.py` hands in the builder. A plan needs no database and no files of this
machine; any other engine can do the same by `tidemill build-package`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tidemill.errors import Conflict, InvalidInput, StorageError, StorageRefused
from tidemill.executors.amounts import span
from tidemill.executors.contract import Done, Failed, Outcome, Progress, Report, Submitted, Work

AT_ONCE = 4
"""Packages that a worker builds at a time: each has some 100 MB in memory, and two keep a link busy."""

Builder = Callable[[bytes, Report], Awaitable[bytes]]
"""From a plan to the document of the package that was built; see `publishing.build`, also for what it raises."""


class PackageExecutor:
    """The engine of kind `package`."""

    def __init__(self, builder: Builder, at_once: int = AT_ONCE) -> None:
        self._builder = builder
        self.at_once: int | None = at_once
        self._turns = asyncio.Semaphore(at_once)

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        """Build the package; see `Executor`. Cut or cancelled, it leaves nothing, and the next try begins anew."""
        told = _Told(report)
        try:
            async with self._turns, asyncio.timeout(work.app.deadline):
                return Done(await self._builder(work.document, told))
        except TimeoutError:
            so_far = f" {told.message} was packed." if told.message else ""
            reason = f"The package was not finished within its deadline of {span(work.app.deadline)}.{so_far}"
            return Failed(reason, timed_out=True)
        except (Conflict, InvalidInput, StorageRefused) as error:
            return Failed(_words(error), retry=False)
        except StorageError as error:
            return Failed(_words(error))

    async def poll(self, work: Work, handle: Mapping[str, Any]) -> Progress | None:
        """Nothing is ever submitted: all work is finished."""
        return None

    async def collect(self, work: Work, handle: Mapping[str, Any]) -> Outcome:
        """Nothing is ever submitted."""
        return Failed("Packages are finished within their call; there is nothing to collect.")

    async def cancel(self, work: Work, handle: Mapping[str, Any]) -> None:
        """Nothing is ever submitted."""

    async def close(self) -> None:
        """Nothing is kept open."""


class _Told:
    """Passes progress on, and remembers the last of it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.message = ""

    def __call__(self, progress: Progress) -> None:
        self.message = progress.message
        self._report(progress)


def _words(error: StorageError | Conflict | InvalidInput) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message
