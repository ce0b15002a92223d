"""Pages that set old results beside new ones after a re-run."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tidemill.errors import InvalidInput, NotFound
from tidemill.runner import compare as service
from tidemill.runner import runs
from tidemill.web.pages.forms import number, words
from tidemill.web.rendering import render, site_of

router = APIRouter()


@router.get("/compare")
async def item(request: Request) -> HTMLResponse:
    """An item's old results beside the new ones."""
    query = request.query_params
    name = words(query, "item")
    if name is None:
        raise InvalidInput("Say which item is to be compared: ?item=NAME.")
    site = site_of(request)
    async with site.database.begin() as session:
        found = await service.item(
            session, site.documents, name, run=number(query, "run"), step=words(query, "step"), at=words(query, "at")
        )
    steps = [(step, [("Before", step.old), ("Now", step.new)]) for step in found.steps]
    return render(
        request, "compare_item.html", found=found, steps=steps, time_of=service.time_of, step=words(query, "step"),
        back=f"/compare?{urlencode({'item': found.item, 'run': found.run})}",  # what was put aside then stands again
    )  # fmt: skip


@router.get("/runs/{run}/compare")
async def whole_run(request: Request, run: int) -> HTMLResponse:
    """A whole re-run in numbers."""
    at = words(request.query_params, "at")
    site = site_of(request)
    async with site.database.begin() as session:
        row = await runs.get(session, run)
        try:
            found = await service.whole_run(session, site.documents, run, at=at)
        except NotFound:
            found = None
    return render(
        request, "compare_run.html", run=row, found=found, time_of=service.time_of, back=f"/runs/{run}/compare"
    )
