"""The web app: pages, static files, and beside them the API and the live socket, all behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import structlog
from fastapi import FastAPI, Request, WebSocket
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tidemill.accounts.keyring import Keyring
from tidemill.db.database import Database
from tidemill.errors import TidemillError
from tidemill.feed.live import LiveFeed
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore
from tidemill.web import downloads, pages
from tidemill.web.guard import Guard
from tidemill.web.head import HeadAsGet
from tidemill.web.origins import Hosts
from tidemill.web.pages import portal_door
from tidemill.web.rendering import problem
from tidemill.web.static_files import PageFiles
from tidemill.web.words import is_public

log = structlog.get_logger()


class OpenSite(Protocol):
    """What the web app needs of a site that is open."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> Database: ...
    @property
    def documents(self) -> DocumentStore: ...


def make_app(
    site: OpenSite,
    feed: LiveFeed,
    *,
    api: ASGIApp,
    portal_api: ASGIApp,
    live: Callable[[WebSocket], Awaitable[None]],
    status_of: Callable[[TidemillError], int],
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> ASGIApp:
    """The whole site as one ASGI app. `api` is mounted at `/api`, `portal_api` at `/v1`, `live` answers the WebSocket
    at `/live`, `status_of` says which HTTP status an error is. The feed's reader, and what is to run `beside` it, work
    as long as the app does (ASGI lifespan).
    """

    app = FastAPI(lifespan=_lifespan(feed, beside), docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.state.status_of = status_of
    app.include_router(downloads.router)
    app.include_router(pages.router)
    app.add_api_websocket_route("/live", live)
    app.mount("/static", PageFiles())
    app.mount("/api", api)
    app.routes.append(Route("/v1", Top(portal_api), include_in_schema=False))
    app.mount("/v1", portal_api)
    app.add_exception_handler(TidemillError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    settings = site.settings
    return Guard(
        HeadAsGet(app),
        key=settings.web_key(),
        hosts=Hosts(settings.host, settings.hosts),
        keyring=Keyring(site.database),
        behind_proxy=settings.behind_proxy,
        public=lambda: is_public(site.database),
    )


def _lifespan(
    feed: LiveFeed, beside: Sequence[Callable[[], Coroutine[Any, Any, None]]]
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    """What works as long as the app does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        jobs = [asyncio.create_task(run()) for run in (feed.run, *beside)]
        for job in jobs:
            job.add_done_callback(_say_if_dead)
        try:
            yield {"closing": feed.closing}
        finally:
            for job in jobs:
                job.remove_done_callback(_say_if_dead)
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    return lifespan


def _say_if_dead(job: asyncio.Task[None]) -> None:
    """What runs beside the app is to live as long as it does."""
    if not job.cancelled():
        log.error("a job of the site has ended before its time", job=str(job.get_coro()), exc_info=job.exception())


class Top:
    """An app mounted at `/v1`, asked for as `/v1` without the slash, where a mount would redirect."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        top = scope.get("root_path", "") + scope["path"]
        await self.app({**scope, "root_path": top, "path": top}, receive, send)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, TidemillError)
    return _problem(request, error, request.app.state.status_of(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = "There is no such page." if error.status_code == 404 else str(error.detail)
    return _problem(request, TidemillError(said), error.status_code)


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("a page failed", path=request.url.path, exc_info=error)
    said = TidemillError("Something went wrong here. The site's log has the details.")
    return _problem(request, said, 500)


def _problem(request: Request, error: TidemillError, status: int) -> Response:
    if portal_door.on_portal(request):
        return portal_door.problem(request, error, status)
    return problem(request, error, status)
