"""HEAD is GET without the body (RFC 9110, 9.3.2), for every page and for the portal's API. Plain ASGI.

What answers by GET answers HEAD, too, and the server leaves the body out. Whoever counts what is taken can tell by
`HEAD_ALONE` in the scope that nothing is.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from tidemill.publishing.downloads import HEAD_ALONE
from tidemill.web.permits import below

OWN = ("/download", "/static", "/api")
"""What answers HEAD by itself; the API's feeds have no end that one could wait for."""


class HeadAsGet:
    """Wraps the web app."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.routes = app.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not any(below(scope["path"], top) for top in OWN):
            scope = dict(scope) | {"method": "GET", HEAD_ALONE: True}
        await self._app(scope, receive, send)
