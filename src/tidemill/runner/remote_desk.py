"""The site's side of the worker protocol: does with the database what a worker behind a firewall asks for, and no more.

Such a worker is bound to its token. It is given tasks of the token's apps alone; a result is taken only of an attempt
that it was given; which app, step and input that was the site knows for itself, and does not take from the worker. What
it refers to, a document or a file, it must have delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import structlog

from tidemill.db.database import Database, Row, fetch, fetch_one
from tidemill.errors import AccessRefused, DatabaseUnavailable, NotFound
from tidemill.runner.entering import location
from tidemill.runner.exchange import Abilities, Exchange
from tidemill.runner.remote_notices import Bell
from tidemill.runner.remote_protocol import ELSEWHERE, LARGEST_ANSWER, VERBS, check_sha256
from tidemill.runner.remote_results import Handed, Judge, Judged
from tidemill.runner.remote_uploads import Uploads
from tidemill.runner.results import LOG_LIMIT
from tidemill.storage.documents import DocumentStore
from tidemill.storage.reading import Reading, read_from

log = structlog.get_logger()

MOST_CONNECTIONS = 8
"""Database connections that all remote workers of a process share."""

SHORTEST_LEASE = 1.0
WAKING = frozenset({"tasks.submit", "tasks.adopt", "tasks.release"})
"""What others should hear of at once."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A worker that asks. `token` and `apps` are its token's; the rest it says itself."""

    token: int
    apps: tuple[str, ...] | None
    worker: int = 0
    kinds: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    lease: float = 30.0
    turn: int = 0

    @property
    def abilities(self) -> Abilities:
        return Abilities(self.kinds, self.functions, self.apps)


@dataclass(slots=True)
class Answer:
    """What became of results, and the tasks that were claimed."""

    moved: list[Row] = field(default_factory=list)
    known: list[Row] = field(default_factory=list)
    """Results that had been handed in before, as after a lost answer: `task`, `fence`."""
    refused: list[Row] = field(default_factory=list)
    """Results that this worker may not hand in, or that refer to what was not delivered: with `why` and `missing`."""
    claimed: list[Row] = field(default_factory=list)


class Desk:
    """One for a process that serves a site. `run` works until it is cancelled; without it workers hear no hints."""

    def __init__(
        self, database: Database, documents: DocumentStore, uploads: Uploads, *, longest_lease: float = 86400.0
    ) -> None:
        self.uploads = uploads
        self.bell = Bell(database)
        self._database = database
        self._documents = documents
        self._judge = Judge(documents, uploads)
        self._longest_lease = longest_lease
        self._idle: list[Exchange] = []
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self._owned: dict[int, int] = {}

    async def run(self) -> None:
        """Listen for hints; at the end let go of all connections."""
        try:
            await asyncio.to_thread(self.uploads.sweep)
        except OSError as error:  # they take room for longer, and workers are rung for all the same
            log.warning("parts of uploads could not be swept", error=str(error))
        try:
            await self.bell.run()
        finally:
            for exchange in self._idle:
                await exchange.close()
            self._idle.clear()

    async def register(self, caller: Caller, hostname: str, pid: int, slots: int) -> Row:
        """Make a worker known: its id, and the site's terms: the lease it gets, where documents and files go, and which
        of its functions are `unknown`, so that it will never be given anything for them."""
        params = {"hostname": hostname, "pid": pid, "slots": slots, "token": caller.token}
        params["kinds"] = [*caller.kinds, *caller.functions]
        async with self._database.begin() as session:
            row = await fetch_one(session, "remote.register", params)
            names = None if caller.apps is None else list(caller.apps)
            known = {"functions": list(caller.functions), "names": names}
            unknown = [one["url"] for one in await fetch(session, "remote.unknown_functions", known)]
        assert row is not None
        return {
            "worker": row["id"],
            "lease": self.lease(caller.lease),
            "inline_limit": self._documents.inline_limit,
            "files_url": self.uploads.files_url,
            "unknown": unknown,
        }

    def lease(self, asked: float) -> float:
        """Seconds that a worker gets which asks for so many."""
        return min(max(asked, SHORTEST_LEASE), max(self._longest_lease, SHORTEST_LEASE))

    async def exchange(
        self, caller: Caller, results: Sequence[Handed], documents: Sequence[Row], n: int, rooms: Mapping[str, int]
    ) -> Answer:
        """Apply results and claim up to `n` tasks, at most `rooms` of the engines named there.

        See `Answer` for what is not applied.
        """
        async with self._as(caller) as exchange:
            judged = Judged()
            if results:
                vouched = await exchange.ask(
                    "remote.vouched", results=orjson.dumps([r.asked() for r in results]).decode()
                )
                judged = await self._judge.judge(caller.token, results, documents, vouched)
            moved, claimed = await exchange.finish_and_claim(judged.rows, judged.documents, n, rooms)
            if any(row["state"] in ("done", "failed") for row in moved):
                with suppress(DatabaseUnavailable):  # the results are in: the answer must not get lost over this
                    await exchange.close_runs()
        return Answer(moved, judged.known, judged.refused, _trimmed(claimed))

    async def ask(self, caller: Caller, name: str, **params: Any) -> list[Row]:
        """One of the statements of `VERBS` whose reach is the worker's own tasks."""
        assert name in VERBS, name
        if name == "tasks.tell":
            params["most"] = LOG_LIMIT
        own = "remote.cancelled" if name == "tasks.cancelled" else name
        async with self._as(caller) as exchange:
            return _trimmed(await exchange.ask(own, notify=name in WAKING, **params))

    async def disown(self, caller: Caller, tasks: Sequence[Mapping[str, int]]) -> list[Row]:
        """All that the worker has in hand but these becomes due, and what it asked for before is not claimed any more.

        Raises Conflict where it has said so again since.
        """
        async with self._as(caller) as exchange:
            return await exchange.disown(tasks)

    async def specs(self, caller: Caller, ids: Sequence[int]) -> list[Row]:
        """What is known of some apps, of those that the token is good for."""
        async with self._as(caller) as exchange:
            return await exchange.ask("remote.specs", ids=list(ids))

    async def steps(self, caller: Caller, versions: Sequence[int]) -> list[Row]:
        """The steps of some pipeline versions, of the apps that the token is good for."""
        async with self._as(caller) as exchange:
            return await exchange.ask("remote.steps", versions=list(versions))

    async def records(self, caller: Caller, items: Sequence[int]) -> list[Row]:
        """The records of those of these items that the worker has in hand."""
        async with self._as(caller) as exchange:
            own = await exchange.ask("remote.own_items", items=list(items))
            return await exchange.ask("workers.records", items=[row["id"] for row in own])

    async def left(self, caller: Caller) -> None:
        """The worker is dead, says its successor: what it had in hand becomes due."""
        async with self._as(caller) as exchange:
            await exchange.ask("remote.left", notify=True)

    async def document(self, caller: Caller, sha256: str) -> bytes:
        """What a task starts from that the worker has in hand. Raises NotFound, StorageError."""
        async with self._as(caller) as exchange:
            rows = await exchange.ask("remote.input", sha256=bytes.fromhex(check_sha256(sha256)))
        if not rows:
            raise NotFound("This worker has nothing in hand that starts from such a document.")
        return await self._documents.read(sha256, rows[0]["body"], rows[0]["location"])

    async def file(self, caller: Caller, url: str, start: int, tag: str = "") -> Reading:
        """A file of an item that the worker has in hand, from `start` on; all of it if its tag is not `tag` by now.

        Raises NotFound, StorageError.
        """
        reach = await self._reach(caller, url)
        if reach is None:
            raise NotFound("No item that this worker has in hand has such a file.")
        return await read_from(url, start, reach, tag)

    async def _reach(self, caller: Caller, url: str) -> dict[str, Any] | None:
        """How the store of a file of an item in hand is reached; None if the worker may not have it."""
        async with self._as(caller) as exchange:
            put_out = orjson.dumps([{"url": url}]).decode()
            for row in await exchange.ask("remote.step_files", files=put_out):
                # Its place must be one of our own store: whoever handed it in may have been another kind of worker.
                if any(f["url"] == url for f in row["files"]) and url.startswith(self.uploads.files_url + "/"):
                    return {} if "/../" not in unquote(url) else None
            found = await exchange.ask("remote.source_files", path=unquote(urlsplit(url).path))
        return next((row["options"] for row in found if location(row["source"], row["key"]) == url), None)

    async def check_owner(self, caller: Caller) -> None:
        """Raises AccessRefused unless the worker is one of the token's."""
        if self._owned.get(caller.worker) == caller.token:
            return
        async with self._database.begin() as session:
            row = await fetch_one(session, "remote.owned", {"worker": caller.worker, "token": caller.token})
        if row is None:
            raise AccessRefused(f"Worker {caller.worker} was not registered with this token.")
        if len(self._owned) > 10_000:
            self._owned.clear()
        self._owned[caller.worker] = caller.token

    @asynccontextmanager
    async def _as(self, caller: Caller) -> AsyncIterator[Exchange]:
        """A connection that speaks for this worker; it is another's before and after."""
        await self.check_owner(caller)
        lease = self.lease(caller.lease)
        async with self._room:
            exchange = (
                self._idle.pop() if self._idle else Exchange(self._database, lease=lease, abilities=caller.abilities)
            )
            exchange.become(caller.worker, lease, caller.abilities, caller.turn)
            try:
                yield exchange
            except asyncio.CancelledError:  # in the midst of a statement: nobody can say what it is at
                await exchange.close()
                raise
            finally:
                self._idle.append(exchange)


def _trimmed(tasks: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Tasks as they go to a worker: large documents stay here until it asks, and nobody need know where they lie."""
    left = LARGEST_ANSWER
    rows = []
    for task in tasks:
        row = dict(task)
        if "body" in row:
            left -= len(row["body"] or "")
            if row["body"] is None or left < 0:
                row |= {"body": None, "location": ELSEWHERE}
        rows.append(row)
    return rows
