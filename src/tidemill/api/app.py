"""The API as an ASGI app, to be mounted at `/api`. Access is the guard's matter, which stands around the whole site."""

from __future__ import annotations

from fastapi import FastAPI

from tidemill import __version__
from tidemill.api import (
    apps,
    attempts,
    batches,
    changes,
    compare,
    computed_files,
    cursors,
    items,
    metadata,
    operating,
    runs,
    schedules,
    site,
    sources,
    tokens,
    views,
    watching,
    worker,
)
from tidemill.api.door import OpenSite
from tidemill.api.problems import answer_errors
from tidemill.feed.fanout import Fanout
from tidemill.feed.live import LiveFeed
from tidemill.runner.remote_desk import Desk


def make_api(open_site: OpenSite, feed: LiveFeed, desk: Desk) -> FastAPI:
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
    app.state.fanout = Fanout(open_site.database, feed)
    app.state.desk = desk
    for part in (
        operating,
        compare,
        runs,
        watching,
        schedules,
        sources,
        metadata,
        items,
        attempts,
        batches,
        computed_files,
        apps,
        site,
        changes,
        cursors,
        views,
        tokens,
        worker,
    ):
        # The routes as they are: including them would make each anew, with the first request of every process.
        app.router.routes.extend(part.router.routes)
    answer_errors(app)
    return app
