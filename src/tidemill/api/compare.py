"""Old results beside new ones after a re-run, and going back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from tidemill.api.door import Json, Session, Site
from tidemill.api.runs import RunId, Which
from tidemill.domain.states import TaskState
from tidemill.runner import compare as comparing
from tidemill.runner import go_back as going_back
from tidemill.runner import redo

router = APIRouter(tags=["operating"])

At = Annotated[str | None, Query(max_length=40, description="The beginning of the time at which it was put aside.")]
Step = Annotated[str | None, Query(max_length=500, description="Only the step of this name.")]


class GoBack(Which):
    """Which tasks go back, and to what: `to` is the beginning of a time, as a comparison's `generations` have it."""

    to: str | None = None


@router.get("/compare", summary="An item's old results beside the new ones", response_model=comparing.ItemComparison)
async def item(
    session: Session,
    site: Site,
    item: Annotated[str, Query(max_length=1000, description="The item's name.")],
    run: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    step: Step = None,
    at: At = None,
) -> Response:
    return Json(await comparing.item(session, site.documents, item, run=run, step=step, at=at))


@router.get("/runs/{run}/compare", summary="A whole re-run in numbers", response_model=comparing.RunComparison)
async def whole_run(session: Session, site: Site, run: RunId, step: Step = None, at: At = None) -> Response:
    return Json(await comparing.whole_run(session, site.documents, run, step=step, at=at))


@router.get("/runs/{run}/go-back/preview", summary="What going back would touch", response_model=going_back.Preview)
async def preview(
    session: Session,
    run: RunId,
    to: At = None,
    task: Annotated[list[int] | None, Query()] = None,
    state: Annotated[list[TaskState] | None, Query()] = None,
    step: Annotated[int | None, Query(ge=0, lt=2**15)] = None,
    item: Annotated[list[str] | None, Query()] = None,
) -> Response:
    return Json(await going_back.preview(session, run, redo.Filter(task, state, step, item), to=to))


@router.post("/runs/{run}/go-back", summary="Let the results from before a re-run stand again")
async def go_back(session: Session, run: RunId, body: GoBack | None = None) -> Response:
    wish = body or GoBack()
    return Json({"run": run, "tasks": await going_back.go_back(session, run, wish.filter(), to=wish.to)})
