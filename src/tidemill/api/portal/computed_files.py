"""`/v1/computed-files`: what can be downloaded; and for the holder of a key, one at a time, where."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from tidemill.accounts import people
from tidemill.api.door import Json, Session, Site
from tidemill.api.portal import shapes
from tidemill.api.portal.access import Shown
from tidemill.api.portal.callers import base_of, key_of, takes
from tidemill.api.portal.pages import asked, paged
from tidemill.catalogue import browsing
from tidemill.domain.shop_window import Noun
from tidemill.publishing import downloads

router = APIRouter(tags=["computed-files"], include_in_schema=False)


@router.get("/computed-files")
async def listing(request: Request, session: Session, shown: Shown) -> Response:
    query = asked(request, shown, Noun.COMPUTED_FILE)
    found = await browsing.computed_files(session, shown, query)
    return Json(paged(request, query, found.total, (shapes.computed_file(shown, row) for row in found.rows)))


@router.get("/computed-files/{number}")
async def one(
    request: Request, session: Session, site: Site, shown: Shown, number: Annotated[int, Path(ge=1, lt=2**63)]
) -> Response:
    """One computed file; with a good `API-KEY` also `download_url` and `download_filename`, counted as a download."""
    row = await browsing.computed_file(session, shown, number)
    shape = shapes.computed_file(shown, row)
    key = key_of(request)
    if key is None:
        return Json(shape)
    person = await people.downloader(session, key)
    link = await downloads.link(session, site, number, person, base=base_of(request), counted=takes(request))
    return Json(shape | {"download_url": link.url, "download_filename": link.filename})
