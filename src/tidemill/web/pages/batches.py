"""Pages of batches: the list, making one, and starting one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import FormData, QueryParams

from tidemill.catalogue import projects
from tidemill.db.database import Row
from tidemill.db.models import Run
from tidemill.errors import Conflict, InvalidInput, NotFound, UnknownIds
from tidemill.pipelines import batches as service
from tidemill.pipelines import pipelines
from tidemill.runner import look, runs
from tidemill.runner.startable import startable
from tidemill.web.pages.forms import number, ticked, words
from tidemill.web.rendering import redirect, render, site_of
from tidemill.web.wording import counted
from tidemill.web.words import words_of

router = APIRouter()
PAGE = 50
ITEMS = 100
RUNS = 20
MANY = 500
"""Batches that are offered as parts of a new one."""


@router.get("/batches")
async def batches(request: Request) -> HTMLResponse:
    """Batches, newest first, with how far their items have come."""
    search = words(request.query_params, "search") or ""
    offset = max(0, number(request.query_params, "offset") or 0)
    async with site_of(request).database.begin() as session:
        found = await service.listing(session, contains=search, limit=PAGE + 1, offset=offset)
    return render(
        request,
        "batches.html",
        batches=found[:PAGE],
        more=len(found) > PAGE,
        search=search,
        offset=offset,
        page=PAGE,
    )


@router.get("/batches/new")
async def new(request: Request) -> HTMLResponse:
    """The form for a new batch; the query string may fill it in."""
    return await _form(request, request.query_params, {})


@router.post("/batches/new")
async def make(request: Request) -> Response:
    """Make a batch. What cannot be made is said beside what was typed, which stays."""
    form = await request.form(max_part_size=64 * 1024 * 1024)
    name = words(form, "name") or ""
    try:
        async with site_of(request).database.begin() as session:
            made = await service.make(
                session,
                name,
                _source(form),
                description=words(form, "description"),
                pipeline=words(form, "pipeline"),
            )
    except (InvalidInput, Conflict, NotFound) as error:
        return await _form(request, form, {"error": error, "unknown": _unknown(error)})
    item_words = words_of(request)
    said = f"Made, with {counted(made.size, item_words.item, item_words.items)}."
    if made.comparison:
        said += " " + _differences(made.comparison)
    return redirect(f"/batches/{quote(made.name, safe='')}", said)


@router.get("/batches/{name}")
async def batch(request: Request, name: str) -> HTMLResponse:
    """One batch: its items, its runs, and starting it."""
    return await _page(request, name, request.query_params, None)


@router.post("/batches/{name}/start")
async def start(request: Request, name: str) -> Response:
    """Start it through a pipeline; back to the form with the reason where that cannot be."""
    site, form = site_of(request), await request.form()
    try:
        pipeline = words(form, "pipeline")
        if pipeline is None:
            raise InvalidInput("Choose a pipeline.")
        wish = runs.Start(
            name,
            pipeline,
            priority=number(form, "priority") or 0,
            reuse=ticked(form, "reuse"),
            only_not_done=ticked(form, "only_not_done"),
            paused=ticked(form, "paused"),
        )
        async with site.database.begin() as session:
            run = await runs.start(session, site.documents, wish)
            await runs.announce(session)
    except (InvalidInput, Conflict) as error:
        return await _page(request, name, form, error)
    return redirect(f"/runs/{run}", "Started.")


async def _page(request: Request, name: str, typed: FormData | QueryParams, error: Exception | None) -> HTMLResponse:
    after = number(request.query_params, "after")
    async with site_of(request).database.begin() as session:
        standing = await service.standing(session, name, names=20)
        items = await service.items(session, name, after=-1 if after is None else after, limit=ITEMS + 1)
        offered = await pipelines.listing(session)
        batch_runs = await _runs_of(session, standing["id"])
        chosen = words(typed, "pipeline") or _usual(standing, batch_runs, offered)
        counts = await _startable(session, name, chosen, standing["size"])
    fresh = "pipeline" not in typed
    return render(
        request,
        "batch.html",
        status=200 if error is None else 409 if isinstance(error, Conflict) else 422,
        batch=standing,
        items=items[:ITEMS],
        more=len(items) > ITEMS,
        first=after is None,
        pipelines=offered,
        runs=batch_runs,
        typed={
            "pipeline": chosen,
            "reuse": fresh or ticked(typed, "reuse"),
            "only_not_done": ticked(typed, "only_not_done"),
            "paused": ticked(typed, "paused"),
            "priority": words(typed, "priority") or "0",
        },
        counts=counts,
        error=error,
    )


async def _runs_of(session: AsyncSession, batch: int) -> list[Row]:
    ids = await session.scalars(select(Run.id).where(Run.batch_id == batch).order_by(Run.id.desc()).limit(RUNS))
    return await look.runs(session, ids=list(ids), limit=RUNS)


def _usual(standing: Row, batch_runs: list[Row], offered: list[Row]) -> str | None:
    """The pipeline that is chosen before a person chooses: the one it is meant for, or that it went through last."""
    if standing["pipeline"] or batch_runs:
        return str(standing["pipeline"] or batch_runs[0]["pipeline"])
    return str(offered[0]["name"]) if len(offered) == 1 else None


async def _startable(session: AsyncSession, name: str, pipeline: str | None, size: int) -> dict[str, int]:
    """How many items would start: all of the batch, and those that the pipeline has not done and is not doing."""
    if pipeline is None:
        return {"all": size, "not_done": size}
    return {"all": size, "not_done": await startable(session, name, pipeline)}


async def _form(request: Request, typed: FormData | QueryParams, wrong: dict[str, Any]) -> HTMLResponse:
    async with site_of(request).database.begin() as session:
        known_projects = await projects.listing(session)
        known_batches = await service.listing(session, limit=MANY)
        known_pipelines = await pipelines.listing(session)
    return render(
        request,
        "batch_new.html",
        status=422 if wrong else 200,
        projects=known_projects,
        batches=known_batches,
        pipelines=known_pipelines,
        typed={name: words(typed, name) or "" for name in _FIELDS} | {"batches": typed.getlist("batches")},
        error=wrong.get("error"),
        unknown=wrong.get("unknown", []),
    )


_FIELDS = ("name", "description", "pipeline", "of", "ids", "search", "project", "batch")


def _source(form: FormData) -> service.Source:
    match words(form, "of"):
        case "ids":
            return service.FromIds(words(form, "ids") or "")
        case "search":
            return service.FromSearch(words(form, "search") or "")
        case "project":
            return service.FromProject(_needed(form, "project"))
        case "batch":
            return service.FromBatch(_needed(form, "batch"))
        case "batches":
            return service.FromBatches([str(name) for name in form.getlist("batches")])
    raise InvalidInput("Choose what the batch is made from.")


def _needed(form: FormData, name: str) -> str:
    value = words(form, name)
    if value is None:
        raise InvalidInput(f"Choose the {name} that the new batch is made from.")
    return value


def _unknown(error: Exception) -> list[str]:
    return error.ids if isinstance(error, UnknownIds) else []


def _differences(comparison: service.Comparison) -> str:
    if comparison.same:
        return "All parts hold the same."
    parts = [f"{part.only_here:,} only in {part.name}" for part in comparison.parts if part.only_here]
    if len(comparison.pipelines) > 1:
        parts.append(f"they are meant for different pipelines ({', '.join(comparison.pipelines)}), so this has none")
    return f"What differs: {'; '.join(parts)}." if parts else ""
