"""Pages of sources: where original files lie, when they were read, what each sync did, and reading them."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from tidemill.catalogue import sources as service
from tidemill.catalogue.sync import sync
from tidemill.catalogue.sync_report import SyncReport
from tidemill.db.database import fetch_one
from tidemill.errors import Conflict, TidemillError
from tidemill.web.rendering import redirect, render, site_of

log = structlog.get_logger()
router = APIRouter()

PATIENCE = 2.0
"""Seconds that a browser waits for a sync; one that takes longer goes on behind it."""
SYNCS = 50
_at_work: set[asyncio.Task[SyncReport]] = set()


@router.get("/sources")
async def sources(request: Request) -> HTMLResponse:
    """All sources."""
    async with site_of(request).database.begin() as session:
        found = await service.listing(session)
        declared = await fetch_one(session, "metadata.site")
    return render(request, "sources.html", sources=found, tables=bool(declared and declared["tables"]))


@router.get("/sources/{name}")
async def source(
    request: Request,
    name: str,
    effective: bool = False,
    before: Annotated[int | None, Query(ge=1, le=service.LARGEST_ID)] = None,
) -> HTMLResponse:
    """One source, its rules, and its syncs, the newest first."""
    async with site_of(request).database.begin() as session:
        row = await service.get(session, name)
        found = await service.syncs(session, name, limit=SYNCS + 1, before=before, effective=effective)
    more = found[SYNCS - 1]["id"] if len(found) > SYNCS else None
    return render(
        request, "source.html", source=row, syncs=found[:SYNCS], more=more, effective=effective, before=before
    )


@router.get("/syncs/{number}")
async def one_sync(request: Request, number: int) -> HTMLResponse:
    """What one sync found and did; after a dry run, the button that does it."""
    async with site_of(request).database.begin() as session:
        row = await service.one_sync(session, number)
    return render(request, "sync.html", sync=row)


@router.post("/sources/{name}/sync")
async def read(
    request: Request,
    name: str,
    dry_run: Annotated[bool, Form()] = False,
    allow_wipe: Annotated[bool, Form()] = False,
) -> RedirectResponse:
    """Read a source, or look what that would do; what takes long goes on after this answer."""
    database = site_of(request).database
    async with database.begin() as session:
        await service.get(session, name)
    task = asyncio.create_task(sync(database, name, dry_run=dry_run, allow_wipe=allow_wipe))
    _at_work.add(task)
    task.add_done_callback(_over)
    await asyncio.wait({task}, timeout=PATIENCE)
    page = f"/sources/{quote(name, safe='')}"
    if not task.done():
        return redirect(page, f"{name} is being read; what comes of it will stand here.")
    if isinstance(error := task.exception(), Conflict) and "already" in error.message:
        return redirect(page, error.message)
    async with database.begin() as session:
        newest = await service.syncs(session, name, limit=1)
    return redirect(f"/syncs/{newest[0]['id']}" if newest else page)


def _over(task: asyncio.Task[SyncReport]) -> None:
    """A sync that failed has left a record, unless the fault is nobody's but ours."""
    _at_work.discard(task)
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, TidemillError):
        log.error("a sync failed", exc_info=error)
