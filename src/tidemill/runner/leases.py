"""Keeping what a worker has in hand, and taking over what others lost: leases, news, cancellations, adoptions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from tidemill.db.database import Row
from tidemill.errors import DatabaseUnavailable
from tidemill.runner.attempts import Held, rounded
from tidemill.runner.link import Exchanging, Link
from tidemill.runner.processes import Process
from tidemill.runner.results import LOG_LIMIT

log = structlog.get_logger()

Key = tuple[int, int]
"""A task and the fence of a claim: one attempt."""

LONGEST_BEAT = 20.0
"""Seconds between renewals of leases at most, however long they are: so a person sees that the worker lives."""

TELL_EVERY = 1.0
"""Seconds between tellings of progress and logs."""


class Claimer(Protocol):
    """What leases need of their worker."""

    @property
    def room(self) -> int:
        """Attempts that it may take on now; 0 while it stops."""
        ...

    def start(self, task: Row) -> None:
        """Take on a claimed task."""
        ...

    def freed(self) -> None:
        """There may be room to claim again."""
        ...


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases of what is in `held`, each `seconds` long; `side`: an exchange that nothing else waits for."""

    worker: Claimer
    link: Link
    side: Exchanging
    held: dict[Key, Held]
    seconds: float
    _cancels: set[asyncio.Task[None]] = field(default_factory=set)

    async def beat(self) -> None:
        """Renew for ever."""
        while True:
            await asyncio.sleep(min(self.seconds / 3, LONGEST_BEAT))
            with suppress(DatabaseUnavailable):
                await self.renew()

    async def renew(self) -> None:
        """Push back the leases of what is in hand, and stop what was cancelled.

        Work whose lease was lost goes on: an app cannot be stopped, and its late result is kept for a person.
        """
        sent = dict(self.held)
        rows = [
            {"task": task, "fence": fence, "progress": rounded(held.progress)} for (task, fence), held in sent.items()
        ]
        kept = {(row["id"], row["fence"]) for row in await self.side.ask("tasks.renew", tasks=rows)}
        lost = [{"task": task, "fence": fence} for task, fence in sent.keys() - kept]
        if lost:
            for row in await self.side.ask("tasks.cancelled", tasks=lost):
                self._drop(sent[row["id"], row["fence"]])

    async def release(self) -> None:
        """Give back what is in hand, but for what is on its way."""
        outbox = self.link.outbox
        rows = [{"task": key[0], "fence": key[1]} for key in self.held if outbox is None or not outbox.holds(key)]
        if rows:
            await self.side.ask("tasks.release", tasks=rows, notify=True)

    async def tell(self) -> None:
        """Pass on what attempts report, progress and lines of log, while people may be looking on."""
        while True:
            await asyncio.sleep(TELL_EVERY)
            fresh = [held for held in self.held.values() if held.news]
            if not fresh:
                continue
            rows = [held.take_news() for held in fresh]
            with suppress(DatabaseUnavailable):
                await self.side.ask("tasks.tell", tasks=rows, most=LOG_LIMIT)

    async def close(self) -> None:
        """Wait no longer for engines that were asked to stop."""
        for one in self._cancels:
            one.cancel()
        await asyncio.gather(*self._cancels, return_exceptions=True)

    async def reconcile(self) -> None:
        """At the start and then twice a lease: lost tasks become due, orphans are adopted, finished runs closed.

        What was cut is tried again soon: on a link that is cut again and again all of it would seldom go through.
        """
        failures = 0
        while True:
            pause = min(self.seconds / 2, LONGEST_BEAT)
            try:
                await self._look_after()
                failures = 0
            except DatabaseUnavailable:
                pause = min(pause, self.link.pause(failures))
                failures += 1
            await asyncio.sleep(pause)

    async def _look_after(self) -> None:
        await self.renew()  # first: after a long silence of the database its own leases have run out, too
        if self.link.keeps_house:
            await self._bury_neighbours()
            await self.side.ask("tasks.expire", notify=True)
            await self.side.close_runs()
        await self._adopt()

    async def _adopt(self) -> None:
        if (room := self.worker.room) <= 0:
            return
        for task in await self.side.ask("tasks.adopt", n=room):
            if (task["id"], task["fence"]) not in self.held:
                self.worker.start(task)

    def _drop(self, held: Held) -> None:
        """Let go of it at once; its engine is asked meanwhile, since one that hangs must not hold up a renewal."""
        if held.job is None or held.job.done():
            return
        held.job.cancel()
        self.held.pop(held.key, None)
        self.worker.freed()
        cancel = asyncio.create_task(_cancel(held))
        self._cancels.add(cancel)
        cancel.add_done_callback(self._cancels.discard)

    async def _bury_neighbours(self) -> None:
        """A worker of this machine that was killed need not be waited for until its lease runs out."""
        rows = await self.side.ask("workers.neighbours", machine=Process.machine())
        if dead := [row["id"] for row in rows if not Process.named(row["process"]).alive()]:
            log.warning("workers of this machine are gone", workers=dead)
            await self.side.ask("workers.bury", workers=dead)


async def _cancel(held: Held) -> None:
    if held.handle is not None and held.executor is not None and held.work is not None:
        try:
            await held.executor.cancel(held.work, held.handle)
        except Exception:  # an engine broke its promise; the task is cancelled all the same
            log.exception("an engine failed to cancel", task=held.task["id"])
