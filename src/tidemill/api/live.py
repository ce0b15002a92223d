"""The WebSocket `/live`: a page says what it watches, and is told what changes there.

From the client: `{"watch": {"run": 3, "since": "<seq of its grid>"}}`, `{"watch": {"runs": true}}`, and `unwatch`. Who
shows a part of a run adds `"from"` and `"to"`, the positions of it (without `to`: to the end, as it grows).
To the client: `{"run", "seq", "cells": [[position, char], …]}`, `{"run", "seq", "overview"}`, `{"runs": […], "seq"}`,
`{"run", "reset": true}` (read the grid again, then watch again), `{"error": {…}}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from tidemill.api.problems import described
from tidemill.errors import TidemillError
from tidemill.feed.live import LiveFeed, Span, Watcher

MOST_WATCHED = 50
"""Runs that one socket may watch."""


class _Subject(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: int | None = Field(default=None, ge=1, lt=2**63)
    since: str | None = None
    first: int = Field(default=0, alias="from", ge=0, lt=2**31)
    last: int | None = Field(default=None, alias="to", ge=0, lt=2**31)
    runs: bool = False


class _Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    watch: _Subject | None = None
    unwatch: _Subject | None = None


def live_socket(feed: LiveFeed) -> Callable[[WebSocket], Awaitable[None]]:
    """The endpoint of the socket."""

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        watcher = feed.join()
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(_send(socket, watcher))
                await _hear(socket, feed, watcher)
                sending.cancel()
        finally:
            feed.leave(watcher)

    return live


async def _hear(socket: WebSocket, feed: LiveFeed, watcher: Watcher) -> None:
    """Do what the page asks until it is gone."""
    with suppress(WebSocketDisconnect):
        while True:
            asked = await socket.receive_text()
            try:
                wish = _Wish.model_validate_json(asked)
                _obey(feed, watcher, wish)
            except ValidationError as error:
                watcher.put(_error("InvalidInput", f"Not understood: {error.errors()[0]['msg']}"))
            except TidemillError as error:
                watcher.put(_error(type(error).__name__, error.message))


def _obey(feed: LiveFeed, watcher: Watcher, wish: _Wish) -> None:
    if wish.unwatch is not None:
        if wish.unwatch.run is not None:
            feed.unwatch(watcher, wish.unwatch.run)
        if wish.unwatch.runs:
            feed.watch_runs(watcher, False)
    if wish.watch is not None:
        if wish.watch.run is not None and len(watcher.runs) < MOST_WATCHED:
            span = Span(wish.watch.first, wish.watch.last)
            feed.watch(watcher, wish.watch.run, wish.watch.since or "", span)
        if wish.watch.runs:
            feed.watch_runs(watcher)


async def _send(socket: WebSocket, watcher: Watcher) -> None:
    """Hand on what the watcher is told, as fast as the page takes it."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.send_text(await watcher.next())


def _error(kind: str, message: str) -> str:
    return orjson.dumps(described(kind, message)).decode()
