"""The start page: what runs, whether the apps are up, who works, and what failed last."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row
from tidemill.db.models import Item, Run, Step, Task
from tidemill.domain.states import TaskState
from tidemill.pipelines import apps
from tidemill.runner import look
from tidemill.web.pages.apps import with_down
from tidemill.web.rendering import render, site_of

router = APIRouter()
RECENT = 8


@router.get("/")
async def home(request: Request) -> HTMLResponse:
    """The start page."""
    async with site_of(request).database.begin() as session:
        active = await look.runs(session, state="active", limit=20)
        recent = await look.runs(session, limit=RECENT + len(active))
        known = await apps.listing(session)
        workers = await look.workers(session)
        failures = await _failures(session, [run["id"] for run in recent if run["failed"]])
    return render(
        request,
        "home.html",
        active=active,
        recent=[run for run in recent if run["state"] != "active"][:RECENT],
        apps=[with_down(app) for app in known],
        workers=workers,
        failures=failures,
    )


async def _failures(session: AsyncSession, runs: list[int]) -> list[Row]:
    """What failed last in these runs and still stands failed."""
    found = await session.execute(
        select(Item.name.label("item"), Task.run_id, Task.reason, Task.finished_at, Step.name.label("step_name"))
        .join(Item, Item.id == Task.item_id)
        .join(Run, Run.id == Task.run_id)
        .join(Step, (Step.pipeline_version_id == Run.pipeline_version_id) & (Step.position == Task.step))
        .where(Task.run_id.in_(runs), Task.state == TaskState.FAILED)
        .order_by(Task.finished_at.desc())
        .limit(RECENT)
    )
    return [dict(row) for row in found.mappings()]
