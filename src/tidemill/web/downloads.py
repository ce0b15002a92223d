"""`/download/…`: files of folders, for whoever has a link that this site signed. Ranges and conditions as in HTTP.

No key is needed: the link is one.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tidemill.domain.byte_ranges import heeds_range, http_date, precondition, spans
from tidemill.domain.places import for_visitors
from tidemill.errors import DatabaseUnavailable, TidemillError
from tidemill.publishing import downloads
from tidemill.publishing.downloads import Served
from tidemill.publishing.links import disposition, repr_digest
from tidemill.web.file_answer import FileAnswer
from tidemill.web.pages import portal_door
from tidemill.web.rendering import site_of
from tidemill.web.words import load_words

router = APIRouter(include_in_schema=False)


@router.api_route("/download/{file}/{seal}/{name}", methods=["GET", "HEAD"])
async def download(request: Request, file: str, seal: str, name: str) -> Response:
    """The file that a link leads to; words where it does not lead to one any more."""
    site = site_of(request)
    try:
        async with site.database.begin() as session:
            found = await downloads.served(session, site, file, seal, name)
    except TidemillError as error:
        return await _refused(request, error, request.app.state.status_of(error))
    return _Passed(answer(found, request))


def answer(found: Served, request: Request) -> ASGIApp:
    """What to send of a file to this request."""
    headers = {
        "etag": f'"{found.etag}"',
        "last-modified": http_date(found.modified),
        "accept-ranges": "bytes",
        "cache-control": "private, no-transform",
    }
    status = precondition(request.headers, request.method, found.etag, found.modified)
    if status != 200:
        return Response(None, status, headers)
    headers |= {"content-disposition": disposition(found.filename)} | (
        repr_digest(found.sha256) if found.sha256 else {}
    )
    wanted = None
    # A range of HEAD means nothing (RFC 9110, 14.2); curl asks so for the size of the whole.
    if request.method == "GET" and heeds_range(request.headers.get("if-range"), found.etag, found.modified):
        wanted = spans(request.headers.get("range"), found.size)
    if wanted == []:
        headers |= {"content-range": f"bytes */{found.size}"}
        return PlainTextResponse("The file ends before that.\n", 416, headers)
    return FileAnswer(found.path, found.size, headers, spans=wanted)


async def _refused(request: Request, error: TidemillError, status: int) -> Response:
    """Why there is no file: as a page of the portal where a browser asks, in words for all else."""
    headers = {"cache-control": "no-store"} | ({"retry-after": "10"} if status == 503 else {})
    if "text/html" in request.headers.get("accept", ""):
        if not isinstance(error, DatabaseUnavailable):  # then nobody can tell what the site is called, or who asks
            await load_words(request)
            await portal_door.know(request)
        page = portal_door.problem(request, error, status)
        page.headers.update(headers)
        return page
    told = for_visitors(error)
    said = told.message + (f"\n{told.hint}" if told.hint else "")
    return PlainTextResponse(f"{said}\n", status, headers)


class _Passed(Response):
    """Lets FastAPI send what is an ASGI answer of its own."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
