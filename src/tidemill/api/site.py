"""The site as a whole: its workers, its health."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text
from starlette.responses import Response

from tidemill.api.door import Json, Session
from tidemill.runner import look

router = APIRouter(tags=["site"])


@router.get("/workers", summary="The processes that claim tasks")
async def workers(session: Session) -> Response:
    return Json({"workers": await look.workers(session)})


@router.get("/health", summary="Whether the database answers; needs no key")
async def health(session: Session) -> Response:
    await session.execute(text("select 1"))
    return Json({"status": "ok"})
