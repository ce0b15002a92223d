"""Computed files as operators see them: every package, how it stands, and which attempt made it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from tidemill.api.door import Json, Session, Site
from tidemill.publishing import computed_files as service
from tidemill.publishing import members as contents

router = APIRouter(prefix="/computed-files", tags=["computed files"])


@router.get("", summary="Packages in order of name, with their computed files and how they stand")
async def listing(
    session: Session,
    project: Annotated[list[str] | None, Query(description="Only of these projects.")] = None,
    package: Annotated[str | None, Query(description="Only the package of this file name.")] = None,
    replaced: Annotated[bool, Query(description="Also files that were replaced.")] = False,
    limit: Annotated[int, Query(ge=1, le=service.MOST_ROWS)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    rows = await service.listing(
        session, projects=project, package=package, replaced=replaced, limit=limit, offset=offset
    )
    return Json({"computed_files": rows, "totals": await service.totals(session)})


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
