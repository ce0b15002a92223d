"""`/v1/original-files`: files as they lie in their source, one by one, where the site offers them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from tidemill.api.door import Json, Session, Site
from tidemill.api.portal.access import Shown
from tidemill.api.portal.callers import base_of, downloader_of, takes
from tidemill.api.portal.numbers import Number
from tidemill.api.portal.pages import page_address
from tidemill.db.database import Row
from tidemill.domain.vocabulary import as_key
from tidemill.errors import InvalidFields
from tidemill.publishing import downloads

router = APIRouter(tags=["original-files"])


@router.get("/original-files", summary="The original files of an item or a project", response_class=Response)
async def listing(
    request: Request,
    session: Session,
    shown: Shown,
    limit: Annotated[int, Query(ge=1, le=2000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    """Of the item or the project that the address names in the site's words (`?sample=NAME`); none where the site does
    not offer them."""
    item, project = as_key(shown.words.item), as_key(shown.words.project)
    asked = {name: request.query_params.get(name) for name in (item, project)}
    if not any(asked.values()):
        raise InvalidFields({item: [f"Name {item} or {project}: whose files?"]})
    rows, total = await downloads.originals(
        session, item=asked[item] or None, project=asked[project] or None, limit=limit, offset=offset
    )
    after = page_address(request, limit, offset + limit) if offset + limit < total else None
    before = page_address(request, limit, max(0, offset - limit)) if offset else None
    results = [_shape(row) for row in rows]
    return Json({"count": total, "next": after, "previous": before, "results": results})


@router.get("/original-files/{number}", summary="A link to one original file", response_class=Response)
async def one(request: Request, session: Session, site: Site, number: Number) -> Response:
    """For the holder of a key alone; each time that it is given is on record as a download."""
    person = await downloader_of(request, session)
    base, counted = base_of(request), takes(request)
    link = await downloads.original_link(session, site, number, person, base=base, counted=counted)
    told = {"id": number, "size_in_bytes": link.size, "expires_at": link.expires_at}
    return Json(told | {"download_url": link.url, "download_filename": link.filename})


def _shape(row: Row) -> dict[str, Any]:
    names = ("id", "source", "key", "etag", "attributes", "changed_at")
    return {name: row[name] for name in names} | {"size_in_bytes": row["size"]}
