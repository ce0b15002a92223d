"""What all routers share: the site behind them, a session per request, JSON answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from tidemill.db.database import Database
from tidemill.domain.plain_json import dumped
from tidemill.executors.addresses import AddressPolicy
from tidemill.feed.live import LiveFeed
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore
from tidemill.storage.files import FileStore


class OpenSite(Protocol):
    """What the API needs of a site that is open."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> Database: ...
    @property
    def documents(self) -> DocumentStore: ...
    @property
    def files(self) -> FileStore: ...
    @property
    def addresses(self) -> AddressPolicy: ...


class Json(Response):
    """An answer of plain data, dataclasses and dates; times in RFC 3339 with `Z`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumped(content)


def site_of(request: Request) -> OpenSite:
    """The site that this API serves."""
    site: OpenSite = request.app.state.site
    return site


def feed_of(request: Request) -> LiveFeed:
    """The site's live feed."""
    feed: LiveFeed = request.app.state.feed
    return feed


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with site_of(request).database.begin() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session, scope="function")]
"""A transaction for the request: committed before the answer goes out, rolled back on any error."""

Site = Annotated[OpenSite, Depends(site_of)]
Feed = Annotated[LiveFeed, Depends(feed_of)]
