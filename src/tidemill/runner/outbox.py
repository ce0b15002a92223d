"""Finished results on their way to a site over HTTP: first to disk, then what is large, then the result itself.

A result counts as finished when it is in the spool. What it refers to and is too large to come along is sent before it
is handed in, however long that takes; other results do not wait for it. It leaves the spool when the site has
acknowledged it. After a crash the next process hands in first what the last one left, in that one's name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from tidemill.db.database import Row
from tidemill.errors import AccessRefused, DatabaseRefused, NotFound, SiteUnavailable, StorageError
from tidemill.runner.handing import first_set
from tidemill.runner.processes import Process
from tidemill.runner.remote_client import SiteClient
from tidemill.runner.results import Result, refused
from tidemill.runner.sending import Sender
from tidemill.runner.spool import Key, Spool, needs, result_key

log = structlog.get_logger()
T = TypeVar("T")

MOST_IN_A_SET = 500
LARGEST_SET = 1024 * 1024
"""Bytes of leftover results that go in one request: what proxies let pass as they come."""

TRY_AGAIN = 2.0
"""Seconds between tries to write to a disk that is full, and to reach a site with something large."""

HOST = socket.gethostname()
Lost = (StorageError, DatabaseRefused, NotFound, OSError)
"""What is wrong with a result itself, and not with the way to the site."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the site made of results, and what was claimed."""

    moved: list[Row]
    claimed: list[Row]


class Outbox:
    """One for a worker. `run` works until it is cancelled."""

    def __init__(self, client: SiteClient, spool: Spool) -> None:
        self.worker = 0
        self.stuck = ""
        """Why nothing more should be claimed; empty if there is room for what comes of it."""
        self.spool = spool
        self._client = client
        self._sender = Sender(client, spool)
        self._waiting: list[Result] = []
        self._under_way: dict[tuple[int, int], Result] = {}
        self._acknowledged: list[Key] = []
        self._left: list[tuple[int, list[Result]]] | None = None
        self._ready: Callable[[Result], None] = lambda _: None
        self._news, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._deliveries: set[asyncio.Task[None]] = set()

    def begin(self, ready: Callable[[Result], None]) -> None:
        """From here on `ready` is called with each result that can be handed in."""
        self._ready = ready

    def put(self, result: Result) -> None:
        """A result has been made; it is on its way from here on."""
        self._under_way[result_key(result)] = result
        self._waiting.append(result)
        self._idle.clear()
        self._news.set()

    def holds(self, key: tuple[int, int]) -> bool:
        """Whether the result of this attempt is on its way, and the task must not be given back."""
        return key in self._under_way

    def acknowledge(self, results: Sequence[Result]) -> None:
        """The site has these."""
        taken = [self._under_way.pop(result_key(one), one) for one in results]
        self._sender.forget(taken)
        self._acknowledged += [(self.worker, *result_key(one)) for one in results]
        self._news.set()

    async def written(self) -> None:
        """Wait until all results so far are on disk."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write what comes, in sets; let go of what was acknowledged. What is being delivered meanwhile goes on, also
        where this ends and begins again."""
        while True:
            await self._wait_for_news()
            await self._let_go()
            while self._waiting:
                await self._write_some()
            await self._look_for_room()
            if not self._waiting:
                self._idle.set()

    async def close(self) -> None:
        """Stop what is being delivered; let go of what was acknowledged last, and of the spool."""
        for delivery in self._deliveries:
            delivery.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        await self._let_go()
        self.spool.close()

    async def keep(self, write: Callable[[], T]) -> T:
        """Do what writes to the spool; on a full disk wait until there is room, since the work is done already."""
        while True:
            try:
                return await asyncio.to_thread(write)
            except FileNotFoundError as error:
                raise StorageError(f"There is no file {error.filename}.") from error
            except OSError as error:
                self._say_stuck(f"the spool cannot be written: {error.strerror}")
                await asyncio.sleep(TRY_AGAIN)

    async def hand_in(self, worker: int, results: Sequence[Result], said: Mapping[str, Any]) -> Reply:
        """Hand results in and claim. Raises what `Exchanging` raises; repeating it is harmless.

        What the site had already comes back as moved, `known`; what it refuses for good is set aside, and `refused`.
        """
        try:
            answer = await self._exchange(worker, results, said)
        except DatabaseRefused as error:
            if len(results) == 1:  # what becomes of it now is a failure: the result itself is kept for a person
                await self._set_aside(worker, results, {result_key(results[0]): error.message})
            raise
        reply = Reply(answer["moved"] + _rows(answer["known"], "known"), answer["claimed"])
        if answer["refused"]:
            lacking = {(one["task"], one["fence"]) for one in answer["refused"] if one["missing"]}
            again = [one for one in results if result_key(one) in lacking]
            for result in again:  # the site does not know of something sent before
                await self._sender.send(worker, result, anew=True)
            second = await self._exchange(worker, again, {**said, "n": 0}) if again else {"moved": [], "refused": []}
            final = [one for one in answer["refused"] if not one["missing"]] + second["refused"]
            reply.moved.extend(second["moved"] + _rows(final, "refused"))
            await self._set_aside(worker, results, {(one["task"], one["fence"]): one["why"] for one in final})
        return reply

    async def recover(self, said: Mapping[str, Any]) -> None:
        """Hand in what an earlier process left here, in its worker's name, and free what it had in hand.

        Raises SiteUnavailable; may be called again. What the site does not take from this token stays in the spool.
        """
        if self._left is None:
            self._left = await asyncio.to_thread(self.spool.leftovers)
        while self._left:
            worker, results = self._left[0]
            log.info("handing in what an earlier worker left", worker=worker, results=len(results))
            try:
                while results:
                    some = first_set(results, LARGEST_SET)
                    await self._recover_some(worker, results[:some], said)
                    del results[:some]
            except AccessRefused as error:
                log.error("results stay in the spool", worker=worker, why=error.message, hint=error.hint)
            del self._left[0]
        last = await asyncio.to_thread(self.spool.last_worker)
        if last is not None and (last[2] or not Process.named(last[1]).alive()):
            with suppress(AccessRefused):
                await self._client.post("/left", {**said, "worker": last[0]})
        await self.keep(lambda: self.spool.remember_worker(self.worker, Process.this().name))

    async def _recover_some(self, worker: int, results: list[Result], said: Mapping[str, Any]) -> None:
        try:
            for result in results:
                await self._sender.send(worker, result)
            reply = await self.hand_in(worker, results, {**said, "n": 0})
        except Lost as error:
            if len(results) > 1:  # one of them: the others are not its victims
                for result in results:
                    await self._recover_some(worker, [result], said)
                return
            await self._set_aside(worker, results, {result_key(results[0]): str(error)})
        else:
            if late := len(results) - len(reply.moved):
                log.warning("results came late and were kept, not applied", count=late)
        await asyncio.to_thread(self.spool.acknowledge, [(worker, *result_key(one)) for one in results])

    async def _exchange(self, worker: int, results: Sequence[Result], said: Mapping[str, Any]) -> dict[str, Any]:
        rows = [
            {name: value for name, value in one.row.items() if value is not None}
            | {"receipts": self._sender.receipts(one)}
            for one in results
        ]
        documents = [
            {"sha256": document["sha256"], "size": document["size"], "body": document["body"]}
            for one in results
            for document in one.documents
        ]
        body = {**said, "worker": worker, "hostname": HOST, "results": rows, "documents": documents}
        answer: dict[str, Any] = await self._client.post("/exchange", body)
        return answer

    async def _write_some(self) -> None:
        """Put a set of results on disk; on a full disk they go on all the same, since the site may be in reach."""
        some = self._waiting[:MOST_IN_A_SET]
        try:
            await asyncio.to_thread(self.spool.write, self.worker, some)
        except OSError as error:
            self._say_stuck(f"the spool cannot be written: {error.strerror}")
        del self._waiting[: len(some)]
        for result in some:
            if needs(result):
                delivery = asyncio.create_task(self._deliver(result))
                self._deliveries.add(delivery)
                delivery.add_done_callback(self._deliveries.discard)
            else:
                self._ready(result)

    async def _deliver(self, result: Result) -> None:
        """Send what a result refers to, until it is there; then the result can go."""
        while True:
            try:
                await self._sender.send(self.worker, result)
                break
            except (SiteUnavailable, AccessRefused):
                await asyncio.sleep(TRY_AGAIN)
            except Lost as error:
                await self._set_aside(self.worker, [result], {result_key(result): str(error)})
                result = refused(result, f"What it put out could not be delivered: {error}")
                break
        self._ready(result)

    async def _set_aside(self, worker: int, results: Sequence[Result], why: Mapping[tuple[int, int], str]) -> None:
        for result in results:
            reason = why.get(result_key(result))
            if reason is None:
                continue
            try:
                path = await asyncio.to_thread(self.spool.set_aside, worker, result, reason)
            except OSError as error:
                log.error("a result was not taken, and cannot be kept aside", why=reason, error=str(error))
            else:
                log.error("a result was not taken; it is kept aside", why=reason, kept=str(path))

    async def _wait_for_news(self) -> None:
        """Until there is something to do; a disk that was full is looked at every now and then."""
        if self.stuck:
            await asyncio.sleep(TRY_AGAIN)
        else:
            await self._news.wait()
        self._news.clear()

    async def _let_go(self) -> None:
        done = list(self._acknowledged)
        if done:
            try:
                await asyncio.to_thread(self.spool.acknowledge, done)
            except OSError as error:  # they lie there until it can be done, and what is new must not wait for that
                self._say_stuck(f"the spool cannot be tidied: {error.strerror}")
                return
            del self._acknowledged[: len(done)]  # afterwards: whoever is cancelled here leaves it to the next

    async def _look_for_room(self) -> None:
        why = await asyncio.to_thread(self.spool.full, probe=bool(self.stuck))
        if why:
            self._say_stuck(why)
        elif self.stuck:
            log.info("there is room in the spool again")
            self.stuck = ""

    def _say_stuck(self, why: str) -> None:
        if not self.stuck:
            log.error("nothing more is claimed until there is room", why=why)
        self.stuck = why
        self._news.set()  # so that it is looked at again


def _rows(keys: Sequence[Row], state: str) -> list[Row]:
    return [{"id": one["task"], "fence": one["fence"], "state": state} for one in keys]
