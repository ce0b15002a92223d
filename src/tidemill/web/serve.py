"""Serving an ASGI app with uvicorn from within a running event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from tidemill.errors import Conflict

GRACE = 5
"""Seconds that requests in hand get at a stop."""


class _Server(uvicorn.Server):
    """Leaves the signals to whoever runs the event loop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: ASGIApp, host: str, port: int) -> AsyncIterator[int]:
    """Serve `app` while the context lasts; gives the port that is bound (for port 0: a free one).

    At the end, requests in hand are finished within a few seconds, sockets are closed. Raises Conflict if the address
    cannot be bound.
    """
    listener = _bound(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        # Compressing for each of many sockets costs more than it saves on the way to a browser nearby.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise Conflict("The web server did not start.")
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        if (closing := server.lifespan.state.get("closing")) is not None:
            closing.set()  # what goes on for ever ends, so that nothing need be cut
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, since asyncio sends without delay only over what says that it is TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise Conflict(
            f"Port {port} of {host} cannot be used: {error.strerror}.",
            hint="Another site may be up there. Set TIDEMILL_PORT to another port, or to 0 for any free one.",
        ) from error
    return listener
