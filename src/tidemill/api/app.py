"""The API as an ASGI app, to be mounted at `/api`. Access is the guard's matter, which stands around the whole site."""

from __future__ import annotations

from fastapi import FastAPI

from tidemill import __version__
from tidemill.api import apps, batches, items, runs, site, tokens
from tidemill.api.door import OpenSite
from tidemill.api.problems import answer_errors
from tidemill.feed.live import LiveFeed


def make_api(open_site: OpenSite, feed: LiveFeed) -> FastAPI:
    """The API of a site. Its description is at `/openapi.json` below the mount."""
    app = FastAPI(
        title="Tidemill",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.site = open_site
    app.state.feed = feed
    for part in (runs, items, batches, apps, site, tokens):
        app.include_router(part.router)
    answer_errors(app)
    return app
