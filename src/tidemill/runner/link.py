"""How a worker reaches its site: over a database connection, or, behind a firewall, over HTTP (`runner/remote.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from tidemill.db.database import Database, Row, translated
from tidemill.runner.exchange import WORK_CHANNEL, Abilities, Exchange
from tidemill.runner.processes import Process
from tidemill.runner.results import Result


class Exchanging(Protocol):
    """A worker's conversation with its site; see `Exchange`, which holds it with the database itself.

    Every method may raise DatabaseUnavailable (the site cannot be reached: try again) and DatabaseRefused (a rule was
    broken: do not).
    """

    worker: int

    async def register(self, hostname: str, process: Process, slots: int) -> int: ...

    async def finish_and_claim(
        self,
        results: Sequence[dict[str, Any]],
        documents: Sequence[dict[str, Any]],
        n: int,
        rooms: Mapping[str, int] | None = None,
    ) -> tuple[list[Row], list[Row]]: ...

    async def disown(self, tasks: Sequence[Mapping[str, int]]) -> list[Row]: ...

    async def close_runs(self) -> list[int]: ...

    async def ask(self, name: str, *, notify: bool = False, **params: Any) -> list[Row]: ...

    async def close(self) -> None: ...


class Outbox(Protocol):
    """Where finished results lie safe on the way to a site that may be out of reach; see `runner/outbox.py`."""

    stuck: str
    """Why nothing more should be claimed; empty if there is room."""

    def begin(self, ready: Callable[[Result], None]) -> None: ...

    def put(self, result: Result) -> None: ...

    def holds(self, key: tuple[int, int]) -> bool: ...

    def acknowledge(self, results: Sequence[Result]) -> None: ...

    async def written(self) -> None: ...

    async def run(self) -> None: ...

    async def close(self) -> None: ...


class Link(Protocol):
    """A way to a site."""

    keeps_house: bool
    """Whether a worker on this link also frees what other workers lost (see `Worker`)."""

    largest_exchange: int
    """Bytes of results that go in one exchange; more wait for the next."""

    @property
    def outbox(self) -> Outbox | None:
        """Where finished results go first; None: the site is near, and they are handed in straight away."""
        ...

    def exchange(self, lease: float, abilities: Abilities) -> Exchanging:
        """A conversation of its own; a worker holds two, so that a heartbeat need not wait for a large hand-in."""
        ...

    def notices(self) -> AsyncIterator[str]:
        """The site's hints: "" is new work, "cancel" that something was cancelled. Ends, or raises DatabaseUnavailable,
        when the connection is lost; each call makes a new one."""
        ...

    def pause(self, failures: int) -> float:
        """Seconds to wait before the next try, after so many in a row that failed."""
        ...

    async def recover(self) -> None:
        """Hand in what an earlier process left behind. Raises DatabaseUnavailable; may be called again."""
        ...


class DatabaseLink:
    """Straight to the database."""

    keeps_house = True
    largest_exchange = 8 * 1024 * 1024
    outbox = None

    def __init__(self, database: Database) -> None:
        self._database = database

    def exchange(self, lease: float, abilities: Abilities) -> Exchange:
        return Exchange(self._database, lease=lease, abilities=abilities)

    def pause(self, failures: int) -> float:
        return 0.5

    async def recover(self) -> None:
        """Whatever was finished has been handed in."""

    async def notices(self) -> AsyncIterator[str]:
        connection = await self._database.connect()
        with translated():
            async with connection:
                await connection.execute(f"listen {WORK_CHANNEL}".encode())
                async for notice in connection.notifies():
                    yield notice.payload
