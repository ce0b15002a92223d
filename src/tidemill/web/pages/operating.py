"""Pages for whoever operates the site: what stands where, what does not move and why, how the week was."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tidemill.runner import counts as counting
from tidemill.runner import stuck as sticking
from tidemill.runner import summary as summing
from tidemill.web import wording
from tidemill.web.pages.forms import number, ticked, words
from tidemill.web.rendering import render, site_of

router = APIRouter()
CAUSES = 12
"""Causes on the first page; the others are a click away."""


@router.get("/operating")
async def operating(request: Request) -> HTMLResponse:
    """How the whole site stands: items by status, tasks by step, and what does not move."""
    every_run = ticked(request.query_params, "all")
    async with site_of(request).database.begin() as session:
        found = await counting.counts(session, active=not every_run)
        stuck = await sticking.stuck(session, limit=1)
    return render(
        request, "operating.html", counts=found, statuses=list(found.items.items()), all=every_run,
        causes=stuck.causes[:CAUSES], more=stuck.causes[CAUSES:],
    )  # fmt: skip


@router.get("/stuck")
async def stuck(request: Request) -> HTMLResponse:
    """What does not move, the longest first."""
    query = request.query_params
    run, cause = number(query, "run"), words(query, "cause")
    cause = cause if cause in sticking.CAUSES else None
    async with site_of(request).database.begin() as session:
        found = await sticking.stuck(session, run=run, cause=cause, limit=200)
    return render(request, "stuck.html", stuck=found, run=run, cause=cause, causes=sticking.CAUSES)


@router.get("/summary")
async def summary(request: Request) -> HTMLResponse:
    """A week beside the week before."""
    query = request.query_params
    zone = words(query, "zone") or "UTC"
    async with site_of(request).database.begin() as session:
        found = await summing.summary(session, words(query, "week"), zone)
    return render(
        request, "summary.html", week=found, statuses=list(found.items.items()), shown_n=wording.count,
        shown_size=wording.size,
    )  # fmt: skip
