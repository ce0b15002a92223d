"""The view over HTTP: items by the step that they have done last."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from tidemill.api.door import Json, Session
from tidemill.feed import changes, views
from tidemill.feed.filters import NOTHING_DONE

router = APIRouter(prefix="/views", tags=["changes"])


@router.get("/last-step", summary="How many items have done which step last")
async def last_steps(session: Session) -> Response:
    # One moment for all that is counted.
    seq = await changes.hold_snapshot(session)
    found = await views.counts(session)
    return Json({"rows": found.rows, "estimate": found.estimate, "seq": seq})


@router.get("/last-step/{step:path}", summary="The items that have done this step last, exact on the name; or `none`")
async def by_last_step(
    session: Session,
    step: str,
    status: Annotated[list[str] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=views.MOST_ROWS)] = 100,
    after: Annotated[str | None, Query(max_length=60, description="`next` of the page before.")] = None,
) -> Response:
    seq = await changes.hold_snapshot(session)
    key = None if step == NOTHING_DONE else step
    found = await views.items(session, key, statuses=status or (), limit=limit, after=after)
    return Json({"rows": found.rows, "next": found.next, "seq": seq})
