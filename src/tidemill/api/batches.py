"""Batches: list, look at, make."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, model_validator
from starlette.responses import Response

from tidemill.api.door import Json, Session
from tidemill.pipelines import batches
from tidemill.pipelines.batches import Source

router = APIRouter(prefix="/batches", tags=["batches"])


class MakeBatch(BaseModel):
    """Makes a batch from one of `project`, `ids`, `search`, `batch` (a duplicate) and `batches` (their union)."""

    model_config = ConfigDict(extra="forbid")

    name: str
    description: str | None = None
    pipeline: str | None = None
    project: str | None = None
    ids: str | list[str] | None = None
    search: str | None = None
    batch: str | None = None
    batches: list[str] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> MakeBatch:
        named = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(named) != 1:
            said = f"there are {', '.join(named)}" if named else "there is none"
            raise ValueError(f"exactly one of {', '.join(_SOURCES)} must say which items; {said}")
        return self

    def source(self) -> Source:
        name, make = next((name, make) for name, make in _SOURCES.items() if getattr(self, name) is not None)
        source: Source = make(getattr(self, name))
        return source


_SOURCES: dict[str, Any] = {
    "project": batches.FromProject,
    "ids": batches.FromIds,
    "search": batches.FromSearch,
    "batch": batches.FromBatch,
    "batches": batches.FromBatches,
}


@router.get("", summary="Batches, newest first, with how far their items have come")
async def listing(
    session: Session,
    search: Annotated[str, Query(max_length=500)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    return Json({"batches": await batches.listing(session, contains=search, limit=limit, offset=offset)})


@router.post("", status_code=201, summary="Make a batch; unknown ids are listed, and nothing is made")
async def make(session: Session, body: MakeBatch) -> Response:
    made = await batches.make(session, body.name, body.source(), description=body.description, pipeline=body.pipeline)
    return Json(dataclasses.asdict(made), 201)


@router.get("/{name:path}", summary="How a batch stands, with the names of items that no run has taken in")
async def standing(session: Session, name: str) -> Response:
    return Json(await batches.standing(session, name))
