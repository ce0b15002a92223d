"""A worker's conversation with the database: sets of tasks out, sets of results in, one round trip each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg

from tidemill.db.database import Database, Row, translated
from tidemill.db.queries import sql
from tidemill.domain.retries import CIRCUIT_THRESHOLD
from tidemill.errors import Conflict, DatabaseUnavailable
from tidemill.runner.processes import Process

WORK_CHANNEL = "tidemill_work"
CHANGE_CHANNEL = "tidemill_change"

_NOTIFY_CHANGE = b"select pg_notify('tidemill_change', '')"
_NOTIFY = b"select pg_notify('tidemill_work', %(work)s), pg_notify('tidemill_change', '')"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a worker can run: kinds of engine, the `python:` functions that it has, and the only apps that it may work
    for (None: all)."""

    kinds: Sequence[str]
    functions: Sequence[str] = ()
    apps: Sequence[str] | None = None


class Exchange:
    """One connection and one worker's identity. Each method is one transaction; after a cut the next reconnects."""

    def __init__(self, database: Database, *, lease: float, abilities: Abilities) -> None:
        self._database = database
        self._connection: psycopg.AsyncConnection[Row] | None = None
        self._session: Row = {"pid": None, "started": None}
        self._lock = asyncio.Lock()
        self._fixed: dict[str, Any] = {}
        self.become(0, lease, abilities)

    def become(self, worker: int, lease: float, abilities: Abilities, turn: int | None = None) -> None:
        """From here on, speak for this worker. `turn`: how often it had given back what it did not know of when it
        asked; what asks to claim after the next time was overtaken on the way. None: nothing can be overtaken."""
        self.worker = worker
        self._turn = turn
        self._fixed = {
            "threshold": CIRCUIT_THRESHOLD,
            "lease": lease,
            "kinds": list(abilities.kinds),
            "functions": list(abilities.functions),
            "apps": None if abilities.apps is None else list(abilities.apps),
        }

    async def register(self, hostname: str, process: Process, slots: int) -> int:
        """Make this worker known; its id is in every claim from now on."""
        rows = await self.ask(
            "workers.register",
            hostname=hostname,
            pid=process.pid,
            process=process.name,
            slots=slots,
            kinds=[*self._fixed["kinds"], *self._fixed["functions"]],
        )
        self.worker = rows[0]["id"]
        return self.worker

    async def finish_and_claim(
        self,
        results: Sequence[dict[str, Any]],
        documents: Sequence[dict[str, Any]],
        n: int,
        rooms: Mapping[str, int] | None = None,
    ) -> tuple[list[Row], list[Row]]:
        """Apply results and take up to `n` tasks in one commit: (tasks moved, tasks claimed).

        `rooms`: of the engines that are named here, at most so many. Raises Conflict for a claim that was overtaken.
        """
        params = self._fixed | {"worker": self.worker, "n": n, "rooms": _json(dict(rooms or {}))}
        moved: psycopg.AsyncCursor[Row] | None = None
        claimed: psycopg.AsyncCursor[Row] | None = None
        async with (
            self._lock,
            self._connected() as connection,
            connection.pipeline(),
            connection.transaction(),
        ):
            if n > 0:
                await self._take_turn(connection)
                # First, so that every worker takes the apps' rows in the same order.
                await connection.execute(_sql("tasks.lock_limited_apps"), params)
            if documents:
                await connection.execute(_sql("tasks.store"), {"documents": _json(documents)})
            if any(result.get("ran") for result in results):
                await connection.execute(_sql("tasks.versions"), {"results": _json(results)})
            if results:
                moved = await connection.execute(_sql("tasks.finish"), params | {"results": _json(results)})
            if n > 0:
                claimed = await connection.execute(_sql("tasks.claim"), params)
            if results:
                await connection.execute(_NOTIFY, {"work": ""})
            elif n > 0:  # what was just claimed shows on the pages at once
                await connection.execute(_NOTIFY_CHANGE)
        return (
            await moved.fetchall() if moved else [],
            await claimed.fetchall() if claimed else [],
        )

    async def disown(self, tasks: Sequence[Mapping[str, int]]) -> list[Row]:
        """Give back all but these `tasks` (`task`, `fence`): what this worker claimed and never heard of.

        What it asked for in earlier turns is not claimed any more. Raises Conflict where it has said so again since.
        """
        params = self._fixed | {"worker": self.worker, "turn": self._turn, "tasks": _json(tasks)}
        async with self._lock, self._connected() as connection, connection.transaction():
            await self._take_turn(connection)
            rows = await (await connection.execute(_sql("tasks.disown"), params)).fetchall()
            if self._turn is not None:  # last: others lock tasks, then workers
                await connection.execute(_sql("remote.begin_turn"), params)
            if rows:
                await connection.execute(_NOTIFY, {"work": ""})
            return rows

    async def _take_turn(self, connection: psycopg.AsyncConnection[Row]) -> None:
        """Wait for what this worker asked for before. Raises Conflict if it has begun another turn since."""
        if self._turn is None:
            return
        params = {"worker": self.worker, "turn": self._turn}
        await connection.execute(_sql("remote.wait_turn"), params)
        if await (await connection.execute(_sql("remote.overtaken"), params)).fetchone():
            raise Conflict(f"Worker {self.worker} has asked for something else since.")

    async def close_runs(self) -> list[int]:
        """Mark finished runs as done; their ids."""
        async with self._lock, self._connected() as connection, connection.transaction():
            held = await (await connection.execute(_sql("tasks.lock_open_runs"))).fetchall()
            if not held:
                return []
            closed = await connection.execute(_sql("tasks.close_runs"), {"runs": [row["id"] for row in held]})
            ids = [row["id"] for row in await closed.fetchall()]
            if ids:
                await connection.execute(_NOTIFY, {"work": ""})
            return ids

    async def ask(self, name: str, *, notify: bool = False, **params: Any) -> list[Row]:
        """Run one named statement with this worker's standing parameters; lists and dicts under `tasks` go as JSON."""
        if "tasks" in params:
            params["tasks"] = _json(params["tasks"])
        async with self._lock, self._connected() as connection, connection.transaction():
            cursor = await connection.execute(_sql(name), self._fixed | {"worker": self.worker} | params)
            rows = await cursor.fetchall() if cursor.description else []
            if notify and rows:
                await connection.execute(_NOTIFY, {"work": ""})
            return rows

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None

    def _connected(self) -> _Connected:
        return _Connected(self)

    async def _open(self) -> psycopg.AsyncConnection[Row]:
        if self._connection is None or self._connection.closed or self._connection.broken:
            connection = await self._database.connect()
            try:
                await self._end_forerunner(connection)
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
        return self._connection

    async def _end_forerunner(self, connection: psycopg.AsyncConnection[Row]) -> None:
        """The server may not know yet that the last connection was cut: it could still commit what nobody hears of,
        or sit on its locks. Once it is ended, what it did is plain to see."""
        with translated():
            found = await (await connection.execute(_sql("workers.session"), self._session)).fetchone()
        self._session = found or self._session


class _Connected:
    """Opens the connection where needed, and lets go of it after a cut so that the next call starts anew."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._translated = translated()

    async def __aenter__(self) -> psycopg.AsyncConnection[Row]:
        return await self._exchange._open()

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            return
        try:
            with translated():
                raise error
        except DatabaseUnavailable:
            await self._exchange.close()
            raise


def _sql(name: str) -> bytes:
    return sql(name).encode()


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
