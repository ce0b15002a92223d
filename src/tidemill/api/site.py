"""The site as a whole: its workers, its change feed, its health."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import text
from starlette.responses import Response

from tidemill.api.door import Feed, Json, Session, Site
from tidemill.feed import changes
from tidemill.feed.changes import Page
from tidemill.runner import look

router = APIRouter(tags=["site"])

POLL = 1.0
LONGEST_WAIT = 60.0


@router.get("/workers", summary="The processes that claim tasks")
async def workers(session: Session) -> Response:
    return Json({"workers": await look.workers(session)})


@router.get("/health", summary="Whether the database answers; needs no key")
async def health(session: Session) -> Response:
    await session.execute(text("select 1"))
    return Json({"status": "ok"})


@router.get("/changes", summary="The change feed, after CouchDB's conventions")
async def feed(
    site: Site,
    live: Feed,
    since: Annotated[
        str | None, Query(max_length=60, description="`last_seq` or a `seq` as it came; or `now`.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=changes.MOST_PER_PAGE)] = 1000,
    feed: Annotated[str, Query(pattern="^(normal|longpoll)$")] = "normal",
    timeout: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds that a longpoll waits.")] = 30.0,
    run: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    kind: Annotated[list[str] | None, Query()] = None,
) -> Response:
    until = time.monotonic() + (timeout if feed == "longpoll" else 0)
    while True:
        page = await _page(site, since, limit, run, kind)
        left = until - time.monotonic()
        if page.results or left <= 0:
            return Json(page)
        since = page.last_seq
        await live.hinted(min(POLL, left))


async def _page(site: Site, since: str | None, limit: int, run: int | None, kinds: list[str] | None) -> Page:
    async with site.database.begin() as session:
        return await changes.read(session, since, limit, run=run, kinds=kinds)
