"""`/v1/computed-files`: what can be downloaded; and for the holder of a key, one at a time, where."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from tidemill.accounts import people
from tidemill.api.door import Json, Session, Site
from tidemill.api.portal import shapes
from tidemill.api.portal.access import Shown
from tidemill.api.portal.callers import base_of, key_of, takes
from tidemill.api.portal.numbers import Number
from tidemill.api.portal.pages import asked, page_address, paged
from tidemill.catalogue import browsing
from tidemill.domain.shop_window import Noun
from tidemill.publishing import downloads
from tidemill.publishing.members import MOST_ROWS, members

router = APIRouter(tags=["computed-files"], include_in_schema=False)


@router.get("/computed-files")
async def listing(request: Request, session: Session, shown: Shown) -> Response:
    query = asked(request, shown, Noun.COMPUTED_FILE)
    found = await browsing.computed_files(session, shown, query)
    return Json(paged(request, query, found.total, (shapes.computed_file(shown, row) for row in found.rows)))


@router.get("/computed-files/{number}")
async def one(request: Request, session: Session, site: Site, shown: Shown, number: Number) -> Response:
    """One computed file; with a good `API-KEY` also `download_url` and `download_filename`, counted as a download."""
    row = await browsing.computed_file(session, shown, number)
    shape = shapes.computed_file(shown, row)
    key = key_of(request)
    if key is None:
        return Json(shape)
    person = await people.downloader(session, key)
    link = await downloads.link(session, site, number, person, base=base_of(request), counted=takes(request))
    return Json(shape | {"download_url": link.url, "download_filename": link.filename})


@router.get("/computed-files/{number}/members")
async def contents(
    request: Request,
    session: Session,
    site: Site,
    shown: Shown,
    number: Number,
    search: Annotated[str, Query()] = "",
    limit: Annotated[int, Query(ge=1)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    """A page of the files in a computed file, for everybody who may read; those with `search` in their names. `known`
    is false where there is no list of them."""
    row, limit = await browsing.computed_file(session, shown, number), min(limit, MOST_ROWS)
    found = await members(session, site.documents, row["id"], search=search, limit=limit, offset=offset)
    after = page_address(request, limit, offset + limit) if offset + limit < found.total else None
    before = page_address(request, limit, max(0, offset - limit)) if offset else None
    rows = [{"name": one["name"], "size_in_bytes": one["size"], "sha256": one["sha256"]} for one in found.rows]
    return Json({"count": found.total, "next": after, "previous": before, "results": rows, "known": found.known})
