"""Downloads: from a button to a link that is good for some days, or to the line that fetches it in a terminal."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.accounts.people import Person
from tidemill.errors import KeyRefused
from tidemill.publishing import downloads
from tidemill.publishing.links import Link
from tidemill.web.pages.portal_door import page, to_terms, visitor_of
from tidemill.web.rendering import OpenSite, site_of

router = APIRouter()


class Linker(Protocol):
    """Makes a link to one file, and counts it."""

    def __call__(
        self, session: AsyncSession, site: OpenSite, number: int, holder: Person | None, /, *, base: str, counted: bool
    ) -> Awaitable[Link]: ...


@router.get("/computed-files/{number}/download")
async def download(request: Request, number: int) -> Response:
    """Begin the download of a computed file. Where another site's page sent the browser here, a person is asked first:
    what is downloaded is counted."""
    return await _begin(request, number, downloads.link)


@router.get("/files/{number}/download")
async def download_original(request: Request, number: int) -> Response:
    """Likewise of an original file, where the site offers them."""
    return await _begin(request, number, downloads.original_link)


@router.post("/computed-files/{number}/curl")
async def curl(request: Request, number: int) -> Response:
    """The line for a terminal, with a link that was made for it."""
    if (asked := to_terms(request, request.headers.get("referer", ""))) is not None:
        return asked
    link = await _link(request, number, downloads.link)
    return page(request, "portal_curl.html", link=link)


async def _begin(request: Request, number: int, linker: Linker) -> Response:
    if request.headers.get("sec-purpose", "").startswith("prefetch"):
        return Response(status_code=204)
    if (asked := to_terms(request, request.url.path)) is not None:
        return asked
    if request.headers.get("sec-fetch-site") == "cross-site":
        return page(request, "portal_download.html", again=request.url.path)
    link = await _link(request, number, linker)
    return RedirectResponse(link.url, status_code=303, headers={"referrer-policy": "no-referrer"})


async def _link(request: Request, number: int, linker: Linker) -> Link:
    """Raises NotFound, Gone, StorageAway in words; KeyRefused where the key has ended meanwhile."""
    person = visitor_of(request).person
    if person is None and not visitor_of(request).operates:
        raise KeyRefused
    site, base, counted = site_of(request), str(request.base_url), downloads.HEAD_ALONE not in request.scope
    async with site.database.begin() as session:
        return await linker(session, site, number, person, base=base, counted=counted)
