"""Items, their attempts, and documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from tidemill.api.door import Json, Session, Site
from tidemill.runner import look, redo

router = APIRouter(tags=["items"])


@router.get("/items", summary="Items whose name contains some letters, in order of name")
async def listing(
    session: Session,
    search: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=look.MOST_ROWS)] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    return Json({"items": await look.items(session, search=search, limit=limit, offset=offset)})


@router.get("/items/{name:path}", summary="All that is known of an item: files, tasks, process, attempts")
async def item(session: Session, name: str) -> Response:
    return Json(await look.item(session, name))


@router.post("/attempts/{task}-{fence}/promote", summary="Apply a late result by a person's decision")
async def promote(
    session: Session, task: Annotated[int, Path(ge=1, lt=2**63)], fence: Annotated[int, Path(ge=1, lt=2**31)]
) -> Response:
    return Json({"task": task, "state": await redo.promote(session, task, fence)})


@router.get("/documents/{sha256}", summary="A document by its SHA-256")
async def document(session: Session, site: Site, request: Request, sha256: str) -> Response:
    headers = {"etag": f'"{sha256}"', "cache-control": "private, max-age=31536000, immutable"}
    body = await look.document(session, site.documents, sha256)
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
