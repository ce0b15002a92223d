"""Readers of the change feed over HTTP, and writers that make following hard, for tests."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.webserver import Web
from tidemill.db.database import Database

INSERT = "insert into change (kind, run_id, position, state) values (%(kind)s, 1, %(n)s, 'done')"
KINDS = ("task", "run", "app")


async def write(database: Database, writer: int, count: int, written: dict[int, str]) -> None:
    """Transactions that stay open for different times, so that they commit in another order than they began; a third of
    them is rolled back. What was committed is in `written`, by its number, with its kind."""
    chance = random.Random(writer)
    connection = await database.connect()
    async with connection:
        for turn in range(count):
            made = {writer * 100_000 + 3 * turn + n: chance.choice(KINDS) for n in range(chance.choice((1, 2, 3)))}
            undone = chance.random() < 0.3
            async with connection.transaction(force_rollback=undone):
                for number, kind in made.items():
                    await connection.execute(INSERT, {"n": number, "kind": kind})
                    await asyncio.sleep(chance.choice((0, 0, 0.001, 0.02)))
            if not undone:
                written |= made
            if chance.random() < 0.3:
                await connection.execute("select pg_notify('tidemill_change', '')")


@dataclass
class Stream:
    """An open stream: its results, in order of arrival, and its last position."""

    results: list[dict[str, Any]] = field(default_factory=list)
    last_seq: str = "0"
    heartbeats: int = 0
    ended: bool = False
    error: dict[str, Any] | None = None

    @property
    def numbers(self) -> list[int]:
        return [result["position"] for result in self.results]

    def take(self, said: dict[str, Any]) -> None:
        if "error" in said:
            self.error = said["error"]
        elif "seq" in said:
            self.results.append(said)
            self.last_seq = said["seq"]
        else:
            self.last_seq = said["last_seq"]
            self.heartbeats += said.get("heartbeat", False)
            self.ended = not said.get("heartbeat", False)


@asynccontextmanager
async def following(web: Web, path: str, stream: Stream | None = None) -> AsyncIterator[Stream]:
    """A `continuous` stream that is being read."""
    stream = stream or Stream()
    opened = asyncio.Event()

    async def read() -> None:
        async with web.client.stream("GET", path) as answer:
            if answer.status_code != 200:
                raise AssertionError((await answer.aread()).decode())
            opened.set()
            async for line in answer.aiter_lines():
                if line:
                    stream.take(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        waiting = asyncio.create_task(opened.wait())
        await asyncio.wait([reading, waiting], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            waiting.cancel()
            reading.result()
        yield stream
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def event_stream(client: httpx2.AsyncClient, path: str, **headers: str) -> AsyncIterator[tuple[str, str, Any]]:
    """The events of a `text/event-stream`: name, id and data, as a browser has them (HTML Living Standard, 9.2)."""
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name, place, data = "message", "", ""
        async for line in answer.aiter_lines():
            if not line:
                if data:
                    yield name, place, json.loads(data)
                name, data = "message", ""
            elif line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("id:"):
                place = line[3:].strip()
            elif line.startswith("data:"):
                data += line[5:].strip()


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str = "", seconds: float = 60) -> None:
    """Wait until something holds."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                held = condition()
                if held if isinstance(held, bool) else await held:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None
