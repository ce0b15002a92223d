"""Computed files as operators see them: every package, how it stands, and which attempt made it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.door import Json, Session, Site
from tidemill.publishing import computed_files as service
from tidemill.publishing import members as contents
from tidemill.publishing import retiring

router = APIRouter(prefix="/computed-files", tags=["computed files"])


@router.get("", summary="Packages in order of name, with their computed files and how they stand")
async def listing(
    session: Session,
    project: Annotated[list[str] | None, Query(description="Only of these projects.")] = None,
    package: Annotated[str | None, Query(description="Only the package of this file name.")] = None,
    replaced: Annotated[bool, Query(description="Also files that were replaced.")] = False,
    left_over: Annotated[bool, Query(description="Only packages that nothing calls for any more.")] = False,
    limit: Annotated[int, Query(ge=1, le=service.MOST_ROWS)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    rows = await service.listing(
        session,
        projects=project,
        package=package,
        replaced=replaced,
        left_over=left_over,
        limit=limit,
        offset=offset,
    )
    return Json({"computed_files": rows, "totals": await service.totals(session)})


class Retire(BaseModel):
    """Which packages that are left over are to be retired; without names and projects all of them."""

    model_config = ConfigDict(extra="forbid")

    names: list[str] = Field(default_factory=list, max_length=10_000)
    projects: list[str] | None = None
    dry_run: bool = True


@router.post("/retire", summary="Take packages that nothing calls for any more out of the offer; first say which")
async def retire(session: Session, body: Retire) -> Response:
    if body.dry_run:
        would = await retiring.preview(session, projects=body.projects, names=body.names)
        return Json({"done": False, "packages": [asdict(one) for one in would]})
    did = await retiring.retire(session, projects=body.projects, names=body.names)
    return Json({"done": True, "packages": [asdict(one) for one in did.packages], "cancelled": did.cancelled})


@router.get("/{file}", summary="One computed file, replaced or not, with the items that it holds")
async def computed_file(session: Session, file: Annotated[int, Path(ge=1, lt=2**63)]) -> Response:
    return Json(await service.get(session, file))


@router.get("/{file}/members", summary="What is in a computed file: name, size and SHA-256 of each member")
async def members(
    session: Session,
    site: Site,
    file: Annotated[int, Path(ge=1, lt=2**63)],
    search: Annotated[str, Query(description="Only members with this in their name.")] = "",
    limit: Annotated[int, Query(ge=1, le=contents.MOST_ROWS)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    found = await contents.members(session, site.documents, file, search=search, limit=limit, offset=offset)
    return Json(asdict(found))
