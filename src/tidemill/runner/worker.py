"""The worker: claims sets of tasks, does them at the same time, hands results in and claims again in one round trip."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tidemill.db.database import Row
from tidemill.errors import AccessRefused, DatabaseUnavailable
from tidemill.executors.contract import Executor
from tidemill.executors.workbench import Workbench
from tidemill.runner.attempts import Attempts, Held
from tidemill.runner.exchange import Abilities
from tidemill.runner.handing import Handing, Patience, first_set, say_all
from tidemill.runner.leases import Key, Leases
from tidemill.runner.link import Link
from tidemill.runner.processes import Process
from tidemill.runner.results import Result, broken
from tidemill.runner.specs import SpecCache
from tidemill.storage.documents import Documents

log = structlog.get_logger()

HINTS = frozenset({"", "cancel"})
"""Notices that are for workers; the others are for housekeepers, and a claim would only be in their way."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`slots`: attempts in hand at most; `lease` and `poll` in seconds."""

    slots: int = 256
    lease: float = 30.0
    poll: float = 1.0


class Worker:
    """Works until told to stop. `stop()` lets work in hand finish; `abandon()` gives the leases back.

    The executors are the worker's own from here on: it closes them when it leaves.
    """

    def __init__(
        self,
        link: Link,
        executors: Mapping[str, Executor],
        documents: Documents,
        *,
        pace: Pace | None = None,
        functions: tuple[str, ...] = (),
        bench: Workbench | None = None,
        apps: Sequence[str] | None = None,
    ) -> None:
        """`apps`: the only ones that it works for; None: all."""
        self._link = link
        self._outbox = link.outbox
        self._executors = executors
        self._pace = pace or Pace()
        kinds = [kind for kind in executors if kind != "python" or functions]
        abilities = Abilities(kinds, functions, apps)
        self._exchange = link.exchange(self._pace.lease, abilities)
        self._side = link.exchange(self._pace.lease, abilities)
        self._specs = SpecCache(self._side)
        self._attempts = Attempts(executors, documents, self._specs, self._note_submitted, bench)
        self._held: dict[Key, Held] = {}
        self._finished: list[Result] = []
        self._wake = asyncio.Event()
        self._look = True
        self._stopping = False
        self._abandoned = False
        self._unsure = False
        self._closing = False
        self._refused: AccessRefused | None = None
        self._patience = Patience(link, self._pace.poll)
        self._handing = Handing(self._exchange)
        self._leases = Leases(self, link, self._side, self._held, self._pace.lease)
        self.steps_finished = 0

    @property
    def in_hand(self) -> int:
        return len(self._held)

    @property
    def room(self) -> int:
        """Attempts that it may take on now; 0 while it stops."""
        return 0 if self._stopping else max(self._pace.slots - len(self._held), 0)

    def freed(self) -> None:
        """There may be room to claim again."""
        self._look = True

    def stop(self) -> None:
        """Claim nothing more; `run` returns when the work in hand is finished and handed in."""
        self._stopping = True
        self._wake.set()
        self._patience.stop.set()

    def abandon(self) -> None:
        """Give back what is in hand and stop at once."""
        self._stopping = self._abandoned = True
        self._wake.set()
        self._patience.stop.set()

    async def run(self) -> None:
        """Recover, then work until stopped. A site out of reach is waited for; work in hand goes on meanwhile.

        Raises AccessRefused where the site lets this worker in no longer: once the work in hand is finished and safe.
        """
        await self._register()
        duties = [self._listen, self._leases.beat, self._leases.tell]
        if self._outbox is not None:
            self._outbox.begin(self._handable)
            duties.append(self._outbox.run)
        helpers = [asyncio.create_task(self._steady(helper)) for helper in duties]
        try:
            await self._recover()
            # Not before: what is adopted puts out results, and the spool is still being read.
            helpers.append(asyncio.create_task(self._steady(self._leases.reconcile)))
            while not self._over():
                await self._turn()
        finally:
            await self._leave(helpers)
        if self._refused is not None:
            raise self._refused

    def _over(self) -> bool:
        if self._refused is not None and not self._abandoned:  # nobody takes it now, but it can be kept
            return all(held.job is None or held.job.done() for held in self._held.values())
        return self._abandoned or (self._stopping and not self._held and not self._finished)

    def _refuse(self, error: AccessRefused) -> None:
        """The site lets this worker in no longer: finish what is in hand, keep it, and leave."""
        if self._refused is None:
            log.error("the site refuses this worker; work in hand is finished and kept", why=error.message)
            self._refused = error
        self.stop()

    async def _steady(self, helper: Callable[[], Awaitable[None]]) -> None:
        """Begin a helper again when it fails: without its heartbeat a worker would lose all that it has in hand."""
        while True:
            try:
                await helper()
            except AccessRefused as error:
                self._refuse(error)
                return
            except Exception:  # whatever it was is in the log, and the worker lives on
                log.exception("a helper of the worker failed", helper=helper.__name__)
            await asyncio.sleep(self._pace.poll)

    async def _turn(self) -> None:
        """One exchange if there is something to hand in or perhaps to claim; else sleep until woken."""
        room = 0 if self._outbox and self._outbox.stuck else self.room
        if self._refused or (not self._finished and not (room > 0 and self._look)):
            self._wake.clear()
            if not self._finished or self._refused:
                await self._sleep(self._pace.poll)
            return
        results = self._take_results()
        self._look = False
        self._wake.clear()
        try:
            claimed = await self._hand_in(results, room)
        except DatabaseUnavailable as error:
            self._finished[:0] = results
            self._look = self._unsure = True
            await self._patience.bear(error)
            return
        except AccessRefused as error:
            self._finished[:0] = results
            self._refuse(error)
            return
        self._patience.reached()
        if claimed or results:
            self._look = True
        for task in claimed:
            self.start(task)
        with suppress(DatabaseUnavailable):
            await self._close_runs()
        await asyncio.sleep(0)

    async def _recover(self) -> None:
        """Before anything is claimed, hand in what an earlier process could not."""
        while not self._stopping:
            try:
                await self._link.recover()
                return
            except DatabaseUnavailable as error:
                await self._patience.bear(error)
            except AccessRefused as error:
                self._refuse(error)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            self._look = True

    def _take_results(self) -> list[Result]:
        count = first_set(self._finished, self._link.largest_exchange)
        results, self._finished = self._finished[:count], self._finished[count:]
        return results

    async def _hand_in(self, results: list[Result], room: int) -> list[Row]:
        if self._unsure:
            known = [{"task": task, "fence": fence} for task, fence in self._held]
            await self._exchange.disown(known)
            self._unsure = False
        moved, claimed = await self._handing.hand_in(results, room, self._rooms())
        self._after(results, moved)
        self._closing |= any(row["state"] in ("done", "failed") for row in moved)
        if claimed:
            # The results are in and the tasks are ours by now, whatever is cut: each attempt asks again.
            with suppress(DatabaseUnavailable, AccessRefused):
                await self._specs.prepare(claimed)
        return claimed

    async def _close_runs(self) -> None:
        """Close the runs that the results handed in may have finished; until that has gone through once."""
        if self._closing:
            await self._exchange.close_runs()
            self._closing = False

    def _rooms(self) -> dict[str, int]:
        """What the engines that do only so many attempts at once have room for."""
        held = Counter(one.task.get("kind") for one in self._held.values())
        return {
            kind: max(engine.at_once - held[kind], 0)
            for kind, engine in self._executors.items()
            if engine.at_once is not None
        }

    def _after(self, results: list[Result], moved: list[Row]) -> None:
        for result in results:
            self._held.pop((result.row["task"], result.row["fence"]), None)
        if self._outbox is not None:
            self._outbox.acknowledge(results)
        self.steps_finished += len(moved)
        if len(moved) < len(results):
            applied = {(row["id"], row["fence"]) for row in moved}
            late = [r.row["task"] for r in results if (r.row["task"], r.row["fence"]) not in applied]
            log.warning("results came late and were kept, not applied", tasks=late[:20], count=len(late))

    def start(self, task: Row) -> None:
        """Take on a claimed task."""
        held = Held(task, handle=task.get("handle"))
        self._held[held.key] = held
        held.job = asyncio.create_task(self._do(held))

    async def _do(self, held: Held) -> None:
        try:
            result = await self._attempts.do(held)
        except asyncio.CancelledError:
            return
        except (DatabaseUnavailable, AccessRefused) as error:
            self._held.pop(held.key, None)
            self._unsure = True
            if isinstance(error, AccessRefused):
                self._refuse(error)
            return
        except Exception as error:  # an attempt that breaks must end all the same, or it would be held for ever
            log.exception("attempt broke", task=held.task["id"])
            result = broken(held.task, error)
        if self._outbox is not None:
            self._outbox.put(result)
        else:
            self._handable(result)

    def _handable(self, result: Result) -> None:
        """This result can be handed in."""
        self._finished.append(result)
        self._wake.set()

    async def _note_submitted(self, held: Held) -> None:
        """Write the handle down; until the database is back there is nothing else to do with it."""
        row = {"task": held.task["id"], "fence": held.task["fence"], "handle": held.handle}
        while True:
            try:
                await self._side.ask("tasks.submit", tasks=[row], notify=True)
                return
            except DatabaseUnavailable:
                await asyncio.sleep(0.5)

    async def _register(self) -> None:
        while not self._stopping:
            try:
                worker = await self._exchange.register(socket.gethostname(), Process.this(), self._pace.slots)
                self._side.worker = worker
                return
            except DatabaseUnavailable as error:
                await self._patience.bear(error)

    async def _listen(self) -> None:
        """Wake at NOTIFY. A hint only: the poll beneath finds all that a lost connection missed."""
        failures = 0
        while True:
            with suppress(DatabaseUnavailable):
                async for notice in self._link.notices():
                    failures = 0
                    if notice not in HINTS:
                        continue
                    self._look = True
                    self._wake.set()
                    if notice == "cancel":
                        await self._leases.renew()
            await asyncio.sleep(max(self._pace.poll, self._link.pause(failures)))
            failures += 1

    async def _leave(self, helpers: list[asyncio.Task[None]]) -> None:
        """Hand in what is finished, give back the rest, say goodbye."""
        held = list(self._held.values())
        for one in held:
            if one.job is not None:
                one.job.cancel()
        await asyncio.gather(*(one.job for one in held if one.job is not None), return_exceptions=True)
        if self._outbox is not None:
            await self._outbox.written()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        await self._leases.close()
        words = (self._hand_in_last, self._close_runs, self._leases.release, lambda: self._side.ask("workers.retire"))
        await say_all(words, self._link)
        for executor in self._executors.values():
            await executor.close()
        if self._outbox is not None:
            await self._outbox.close()
        await self._exchange.close()
        await self._side.close()

    async def _hand_in_last(self) -> None:
        """What is finished; and what was perhaps claimed for us, of which we never heard, goes back."""
        if self._finished or self._unsure:
            results, self._finished = self._finished, []
            try:
                await self._hand_in(results, 0)
            except DatabaseUnavailable:
                self._finished[:0] = results
                raise
