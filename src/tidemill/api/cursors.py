"""Cursors: readers of the change feed whose position the site keeps."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.door import Json, Session
from tidemill.feed import cursors

router = APIRouter(prefix="/cursors", tags=["changes"])


class Acknowledge(BaseModel):
    """Everything up to `seq` has been dealt with."""

    model_config = ConfigDict(extra="forbid")

    seq: str = Field(max_length=60, description="A result's `seq` or a page's `last_seq`.")
    rewind: bool = Field(default=False, description="Go back, too.")


@router.get("", summary="Cursors, where they stand, and how much lies before each")
async def listing(session: Session) -> Response:
    return Json({"cursors": await cursors.listing(session)})


@router.get("/{name:path}", summary="One cursor")
async def cursor(session: Session, name: str) -> Response:
    return Json(await cursors.get(session, name))


@router.put("/{name:path}", summary="Move a cursor forward; with `rewind` also back")
async def acknowledge(session: Session, name: str, body: Acknowledge) -> Response:
    return Json(await cursors.acknowledge(session, name, body.seq, rewind=body.rewind))


@router.delete("/{name:path}", summary="Keep a cursor no longer")
async def forget(session: Session, name: str) -> Response:
    await cursors.forget(session, name)
    return Json({"cursor": name, "forgotten": True})
