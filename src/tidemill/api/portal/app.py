"""The portal's API as an ASGI app, to be mounted at `/v1`.

Its paths and shapes are those of the portals that researchers know (Django's REST framework), in the site's words. A
slash at the end of a path makes no difference. OPTIONS tells which methods there are, to anybody.
"""

from __future__ import annotations

from fastapi import Depends, FastAPI
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from tidemill import __version__
from tidemill.api.door import Json, OpenSite
from tidemill.api.portal import catalogue, computed_files, datasets, described, manifests, originals, tokens
from tidemill.api.portal.access import enter
from tidemill.api.portal.cors import Cors
from tidemill.api.portal.pages import ASKED
from tidemill.api.portal.problems import answer_errors

NO_LIST = "/tokens"
"""Where there are records, but nobody is shown a list of them."""


PARTS = (tokens, datasets, originals, computed_files, described, manifests, catalogue)
"""The last one's paths are the site's own words."""


def make_portal_api(open_site: OpenSite) -> ASGIApp:
    """The portal's API of a site."""
    app = FastAPI(
        title="Tidemill", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    app.state.site = open_site
    for part in PARTS:
        app.include_router(part.router, dependencies=[Depends(enter)])
    answer_errors(app)
    return Cors(SlashesAside(Options(app)), open_site.database)


class Options:
    """Answers OPTIONS as such portals do: with the methods of an address, and what it gives and takes."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.routes = app.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            await self.app(scope, receive, send)
            return
        methods = [method for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if self._has(scope, method)]
        allow = ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])
        told = {"name": scope["path"], "description": "", "renders": ["application/json"]}
        told["parses"] = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
        await Json(told, headers={"allow": allow})(scope, receive, send)

    def _has(self, scope: Scope, method: str) -> bool:
        """Whether some route answers this method."""
        if method == "GET" and scope["path"] == scope.get("root_path", "") + NO_LIST:
            return False
        return any(route.matches(dict(scope) | {"method": method})[0] is Match.FULL for route in self.routes)


class SlashesAside:
    """Takes slashes off the end of a path; the path as it was asked for stays in the scope, for links."""

    def __init__(self, app: Options) -> None:
        self.app = app
        self.routes = app.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            top = scope.get("root_path", "")
            scope = dict(scope) | {"path": path.rstrip("/") if path.rstrip("/") != top else f"{top}/", ASKED: path}
        await self.app(scope, receive, send)
