"""Pages of failures by family: of a run, and of all runs of late."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tidemill.runner import failures as service
from tidemill.runner import runs
from tidemill.web.pages.forms import words
from tidemill.web.rendering import render, site_of

router = APIRouter()


@router.get("/failures")
async def everywhere(request: Request) -> HTMLResponse:
    """What stands failed in the runs of late."""
    step, app = words(request.query_params, "step"), words(request.query_params, "app")
    async with site_of(request).database.begin() as session:
        found = await service.families(session, step=step, app=app)
    return render(request, "failures.html", run=None, failures=found, step=step, app=app)


@router.get("/runs/{run}/failures")
async def of_run(request: Request, run: int) -> HTMLResponse:
    """What stands failed in a run."""
    step, app = words(request.query_params, "step"), words(request.query_params, "app")
    async with site_of(request).database.begin() as session:
        row = await runs.get(session, run)
        found = await service.families(session, run, step=step, app=app)
    return render(request, "failures.html", run=row, failures=found, step=step, app=app)
