"""Pages of runs: the list, and one run with its grid."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tidemill.domain.kinds import PACKING
from tidemill.domain.states import TaskState
from tidemill.runner import look
from tidemill.web.pages.forms import number, words
from tidemill.web.rendering import render, site_of
from tidemill.web.words import words_of

router = APIRouter()
PAGE = 50
ROWS = 100
"""Tasks in the table that stands in for the grid where there is no JavaScript."""


@router.get("/runs")
async def runs(request: Request) -> HTMLResponse:
    """The runs, newest first."""
    state = words(request.query_params, "state")
    offset = max(0, number(request.query_params, "offset") or 0)
    async with site_of(request).database.begin() as session:
        found = await look.runs(session, state=state, limit=PAGE + 1, offset=offset)
    return render(
        request, "runs.html", runs=found[:PAGE], more=len(found) > PAGE, state=state, offset=offset, page=PAGE
    )


@router.get("/runs/{run}")
async def run(request: Request, run: int) -> HTMLResponse:
    """One run: how it stands, and every item at every step."""
    filters = filters_of(request)
    from_ = number(request.query_params, "from")
    async with site_of(request).database.begin() as session:
        overview = await look.overview(session, run)
        if from_ is None and not any(filters.values()):
            _, high = await look.ends(session, run)
            from_ = high - ROWS + 1 if high >= look.WHOLE else 0
        window = await look.window(
            session,
            run,
            max(0, from_ or 0),
            ROWS,
            states=[filters["state"]] if filters["state"] else None,
            step=filters["step"],
            search=filters["search"],
        )
    called = words_of(request)
    packs = overview.pipeline == PACKING
    return render(
        request,
        "run.html",
        run=overview,
        noun="package" if packs else called.item,
        nouns="packages" if packs else called.items,
        holds=holds(overview),
        filters=filters,
        tasks=window.tasks,
        more=window.next is not None,
    )


@router.get("/runs/{run}/overview")
async def run_overview(request: Request, run: int) -> HTMLResponse:
    """The upper part of a run's page, for when something but the counts has changed."""
    async with site_of(request).database.begin() as session:
        overview = await look.overview(session, run)
    return render(request, "run_overview.html", run=overview, holds=holds(overview), filters=filters_of(request))


def filters_of(request: Request) -> dict[str, Any]:
    """The page's filters as the URL has them; an unknown state counts as none."""
    query = request.query_params
    state = words(query, "state")
    return {
        "state": state if state in set(TaskState) else None,
        "step": number(query, "step"),
        "search": words(query, "search"),
    }


def holds(run: look.RunOverview) -> list[str]:
    """Why waiting tasks are not started, a sentence for each reason."""
    if run.state != "active":
        return []
    reasons: dict[str, list[str]] = {}
    for step in run.steps:
        if step.held_back:
            reasons.setdefault(step.held_back, []).append(step.name)
    if run.paused:
        return ["The run is paused: what is in hand finishes, nothing more is started. “Resume” lets it go on."]
    return [f"{', '.join(steps)}: nothing more is started, because {reason}." for reason, steps in reasons.items()]
