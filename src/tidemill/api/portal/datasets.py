"""`/v1/datasets`: what the holder of a key gathers from several projects, asks for, watches and downloads."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from tidemill.accounts.people import Person
from tidemill.api.door import Json, OpenSite, Session, Site
from tidemill.api.portal.bodies import body_of
from tidemill.api.portal.callers import base_of, downloader_of, may_act, takes
from tidemill.api.portal.pages import page_address
from tidemill.errors import AccessRefused, NotFound
from tidemill.publishing import datasets, downloads
from tidemill.publishing.datasets import Dataset, Place, wish_of

router = APIRouter(tags=["datasets"])

_FIELDS = {
    "format": {"type": "string", "description": "One of the formats that packages have."},
    "email": {"type": "string", "format": "email"},
    "start": {"type": "boolean", "description": "true: build it now."},
    "data": {
        "type": "object",
        "description": '{project: {part: [names] or "MERGED", "includes_…": true}}',
        "additionalProperties": {"type": "object"},
    },
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "properties": _FIELDS}}},
    }
}


@router.post(
    "/datasets",
    status_code=201,
    summary="Gather a dataset, and build it with `start`",
    response_class=Response,
    openapi_extra=_BODY,
)
async def create(request: Request, session: Session, site: Site) -> Response:
    """Checked against the catalogue as it is now: every fault is named, under its field. `estimated_size_in_bytes` is
    the sum of the files in it."""
    person = await _owner(request, session)
    made = await datasets.create(session, _place(site), person, wish_of(await body_of(request)))
    return Json(_shape(made), 201)


@router.get("/datasets", summary="The datasets of this key", response_class=Response)
async def listing(
    request: Request,
    session: Session,
    limit: Annotated[int, Query(ge=1, le=2000)] = 10,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    found, total = await datasets.mine(session, await downloader_of(request, session), limit=limit, offset=offset)
    after = page_address(request, limit, offset + limit) if offset + limit < total else None
    before = page_address(request, limit, max(0, offset - limit)) if offset else None
    results = [_shape(one) for one in found]
    return Json({"count": total, "next": after, "previous": before, "results": results})


@router.get("/datasets/{number}", summary="A dataset as it stands", response_class=Response)
async def one(request: Request, session: Session, site: Site, number: Annotated[str, Path()]) -> Response:
    """Once it is built, with `download_url`; each time that it is given counts as a download."""
    person = await downloader_of(request, session)
    found = await datasets.get(session, person, _id(number))
    shape = _shape(found)
    if found.file is not None:
        base, counted = base_of(request), takes(request)
        link = await downloads.link(session, site, found.file["id"], person, base=base, counted=counted)
        shape |= {"download_url": link.url, "download_filename": link.filename}
    return Json(shape)


@router.put("/datasets/{number}", include_in_schema=False)
@router.patch(
    "/datasets/{number}",
    summary="Change a dataset that was not asked for yet, or start it",
    response_class=Response,
    openapi_extra=_BODY,
)
async def change(request: Request, session: Session, site: Site, number: Annotated[str, Path()]) -> Response:
    """One that failed or has expired can be started again; one that is being built stays as it is."""
    person = await _owner(request, session)
    wish = wish_of(await body_of(request))
    return Json(_shape(await datasets.change(session, _place(site), person, _id(number), wish)))


@router.delete("/datasets/{number}", status_code=204, summary="Forget a dataset", response_class=Response)
async def drop(request: Request, session: Session, number: Annotated[str, Path()]) -> Response:
    await datasets.drop(session, await _owner(request, session), _id(number))
    return Response(status_code=204)


async def _owner(request: Request, session: AsyncSession) -> Person | None:
    """Who changes datasets: a person; None: an operator. Raises KeyRefused, AccessRefused."""
    person = await downloader_of(request, session)
    if person is None and not may_act(request):
        raise AccessRefused("This token is a reader's: it may look at everything and change nothing.")
    return person


def _place(site: OpenSite) -> Place:
    return Place(site.documents, site.settings.packages_folder)


def _id(number: str) -> uuid.UUID:
    try:
        return uuid.UUID(number)
    except ValueError:
        raise NotFound("Not found.") from None


def _shape(found: Dataset) -> dict[str, Any]:
    """A dataset as JSON."""
    file = found.file
    return {
        "id": str(found.id),
        "format": found.format,
        "email": found.email,
        "data": found.data,
        "start": found.started_at is not None,
        "state": found.state,
        "estimated_size_in_bytes": found.size,
        "files": found.files,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "is_started": found.started_at is not None,
        "started_at": found.started_at,
        "is_processing": found.state == "processing",
        "progress": found.progress,
        "progress_note": found.note,
        "is_succeeded": found.state == "succeeded",
        "succeeded_at": found.succeeded_at,
        "is_failed": found.state == "failed",
        "failed_at": found.failed_at,
        "failed_reason": found.reason or None,
        "is_expired": found.state == "expired",
        "expires_at": found.expires_at,
        "computed_file": file and _file(found, file),
    }


def _file(found: Dataset, file: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": file["id"],
        "name": file["name"],
        "format": found.format or None,
        "size_in_bytes": file["size"],
        "sha256": file["sha256"],
        "files": file["files"],
        "created_at": file["created_at"],
    }
