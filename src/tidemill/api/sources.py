"""Sources, reading them, and what each sync did."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.door import Json, Session, Site
from tidemill.catalogue import sources
from tidemill.catalogue.sync import sync

router = APIRouter(tags=["sources"])


class PostSync(BaseModel):
    """How a source is to be read."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = Field(default=False, description="Only say what would happen.")
    allow_wipe: bool = Field(default=False, description="Let files go, however many are gone from the source.")
    wait: bool = Field(default=False, description="Wait while another sync of it is going on.")


@router.get("/sources", summary="Sources, when they were read, and what lies in the catalogue of them")
async def listing(session: Session) -> Response:
    return Json({"sources": await sources.listing(session)})


@router.get("/sources/{name}", summary="One source")
async def one(session: Session, name: str) -> Response:
    return Json(await sources.get(session, name))


@router.post("/sources/{name}/sync", summary="Make the catalogue true to a source; answers when that is done")
async def read(site: Site, name: str, body: PostSync | None = None) -> Response:
    wish = body or PostSync()
    report = await sync(site.database, name, dry_run=wish.dry_run, allow_wipe=wish.allow_wipe, wait=wish.wait)
    return Json(report.as_json(whole=True))


@router.get("/syncs", summary="The newest syncs: what each found and did")
async def syncs(
    session: Session,
    source: Annotated[str | None, Query(description="Only those of this source.")] = None,
    effective: Annotated[bool, Query(description="Only those that changed something, or failed.")] = False,
    before: Annotated[int | None, Query(ge=1, le=sources.LARGEST_ID, description="Only those before this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    if source is not None:
        await sources.get(session, source)
    found = await sources.syncs(session, source, limit=limit, before=before, effective=effective)
    return Json({"syncs": found})


@router.get("/syncs/{number}", summary="One sync")
async def one_sync(session: Session, number: int) -> Response:
    return Json(await sources.one_sync(session, number))
