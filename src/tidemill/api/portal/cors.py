"""Lets pages of other origins read the portal's API, as far as the site says (`portal.cors`). Plain ASGI.

Cookies never count there (no `Access-Control-Allow-Credentials`): what is not public needs a key in a header.
Fetch Living Standard, section 3.2 (CORS protocol).
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.catalogue import browsing
from tidemill.db.database import Database
from tidemill.errors import DatabaseUnavailable

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
HEADERS = "API-KEY, Authorization, Content-Type"
PREFLIGHT_AGE = "600"
"""Seconds that a browser may remember what it may do."""


class Cors:
    """Wraps the portal's API."""

    def __init__(self, app: ASGIApp, database: Database) -> None:
        self._app = app
        self._database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        allowed = await self._allowed(headers.get("origin"))
        sending = _with_headers(send, allowed)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            granted = {
                "access-control-allow-methods": METHODS,
                "access-control-allow-headers": HEADERS,
                "access-control-max-age": PREFLIGHT_AGE,
            }
            await Response(status_code=204, headers=granted if allowed else {})(scope, receive, sending)
            return
        await self._app(scope, receive, sending)

    async def _allowed(self, origin: str | None) -> str | None:
        """What `Access-Control-Allow-Origin` says to this origin; None: nothing."""
        if origin is None:
            return None
        try:
            async with self._database.begin() as session:
                names = (await browsing.window(session)).portal.get("cors") or []
        except DatabaseUnavailable:
            return None
        if "*" in names:
            return "*"
        return origin if origin.lower() in {name.rstrip("/").lower() for name in names} else None


def _with_headers(send: Send, allowed: str | None) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.add_vary_header("Origin")
            if allowed is not None:
                headers["access-control-allow-origin"] = allowed
                headers["access-control-expose-headers"] = "Retry-After"
        await send(message)

    return sending
