"""Attempts: what they have said, live or for good, and the files that they put out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from starlette.responses import FileResponse, Response, StreamingResponse

from tidemill.api.door import Json, Session, Site
from tidemill.errors import StorageError
from tidemill.runner import attempt_views

router = APIRouter(tags=["attempts"])

Task = Annotated[int, Path(ge=1, lt=2**63)]
Fence = Annotated[int, Path(ge=1, lt=2**31)]

_TEXT = "text/plain; charset=utf-8"


@router.get(
    "/attempts/{task}-{fence}/log",
    summary="What an attempt has said so far; with `follow`, as it comes",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
async def log(
    session: Session,
    site: Site,
    task: Task,
    fence: Fence,
    since: Annotated[int, Query(ge=0, description="`x-log-next` of the last answer: only what came after.")] = 0,
    follow: bool = False,
) -> Response:
    part = await attempt_views.log(session, task, fence, since)
    if follow:
        pieces = attempt_views.follow(site.database, site.files, task, fence)
        return StreamingResponse((piece.encode() async for piece in pieces), media_type=_TEXT)
    headers = {
        "x-log-start": str(part.start),
        "x-log-next": str(part.next),
        "x-log-live": "true" if part.live else "false",
        "x-log-state": part.state,
    }
    if part.progress is not None:
        headers["x-log-progress"] = f"{part.progress:.4f}"
    if part.whole is not None:
        pieces = attempt_views.whole_log(site.files, part.whole, since)
        return StreamingResponse((piece.encode() async for piece in pieces), media_type=_TEXT, headers=headers)
    return Response(part.text, media_type=_TEXT, headers=headers)


@router.get("/attempts/{task}-{fence}/files", summary="The files that an attempt put out, and its side inputs")
async def files(session: Session, task: Task, fence: Fence) -> Response:
    return Json(await attempt_views.files_of(session, task, fence))


@router.get(
    "/attempts/{task}-{fence}/files/{name}",
    summary="A file that an attempt put out; ranges of it where the file store is a folder",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def file(session: Session, site: Site, task: Task, fence: Fence, name: str) -> Response:
    kept = await attempt_views.file_of(session, task, fence, name)
    size = await site.files.size(kept["url"])
    if size != kept["size"]:
        raise StorageError(f"{name} has {size:,} bytes in the file store, but had {kept['size']:,} when it was kept.")
    headers = {
        "etag": f'"{kept["sha256"]}"',
        "cache-control": "private, max-age=31536000, immutable",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "x-content-type-options": "nosniff",
    }
    path = site.files.local(kept["url"])
    if path is not None:
        return FileResponse(path, media_type="application/octet-stream", headers=headers)
    pieces: AsyncIterator[bytes] = site.files.read(kept["url"])
    headers["content-length"] = str(size)
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)
