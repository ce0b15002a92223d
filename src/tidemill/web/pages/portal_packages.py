"""What is in a package, before anybody downloads it: every file with its size and checksum."""

from __future__ import annotations

import math

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import browsing
from tidemill.db.database import Row
from tidemill.domain.keys import record_number
from tidemill.domain.shop_window import Window
from tidemill.errors import NotFound
from tidemill.publishing import datasets
from tidemill.publishing.members import members
from tidemill.web.pages import portal_records
from tidemill.web.pages.portal_door import page, visitor_of
from tidemill.web.portal_query import asked
from tidemill.web.rendering import site_of

router = APIRouter()
SHOWN = 100
"""Files on one page."""

_MINE = 200
"""Datasets of a person among which one is looked for."""


@router.get("/computed-files/{number}")
async def package(request: Request, number: str) -> HTMLResponse:
    """A package, with a page of the files in it."""
    if (file := record_number(number)) is None:
        raise NotFound("There is no such package.")
    wanted, site = asked(request.query_params.multi_items()), site_of(request)
    async with site.database.begin() as session:
        window = await browsing.window(session)
        row = await _shown(request, session, window, file)
        offset = (wanted.page - 1) * SHOWN
        found = await members(session, site.documents, row["id"], search=wanted.search, limit=SHOWN, offset=offset)
    return page(
        request,
        "portal_package.html",
        package=portal_records.packages(request, [row], window)[0],
        members=found,
        search=wanted.search,
        page=wanted.page,
        last=max(1, math.ceil(found.total / SHOWN)),
    )


async def _shown(request: Request, session: AsyncSession, window: Window, number: int) -> Row:
    """The package, as `browsing.computed_file` has it; a dataset for those alone whose it is. Raises NotFound."""
    try:
        return await browsing.computed_file(session, window, number)
    except NotFound:
        person = visitor_of(request).person
        found, _ = await datasets.mine(session, person, limit=_MINE) if person is not None else ([], 0)
        file = next((one.file for one in found if one.file is not None and one.file["id"] == number), None)
        if file is None:
            raise NotFound(
                "There is no such package.", hint="It may have been replaced by a newer one, or have expired."
            ) from None
        return file | {"package": "dataset", "attributes": {}, "items": None, "project": None,
                       "updated_at": file["created_at"]}  # fmt: skip
