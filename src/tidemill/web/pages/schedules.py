"""The page of schedules: when each is due next, what came of the last, and steering it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from tidemill.catalogue.sync import reader
from tidemill.pipelines import schedules as service
from tidemill.runner.schedules import Doer
from tidemill.web.rendering import redirect, render, site_of

router = APIRouter()


@router.get("/schedules")
async def schedules(request: Request) -> HTMLResponse:
    """All schedules."""
    async with site_of(request).database.begin() as session:
        found = await service.listing(session)
    return render(request, "schedules.html", schedules=found)


@router.post("/schedules/{name}/pause")
async def pause(request: Request, name: str) -> RedirectResponse:
    """Let it rest."""
    async with site_of(request).database.begin() as session:
        await service.pause(session, name)
    return redirect("/schedules", f"{name} is paused.")


@router.post("/schedules/{name}/resume")
async def resume(request: Request, name: str) -> RedirectResponse:
    """Let it go on."""
    async with site_of(request).database.begin() as session:
        await service.pause(session, name, False)
    return redirect("/schedules", f"{name} goes on at its next time.")


@router.post("/schedules/{name}/run")
async def run_now(request: Request, name: str) -> RedirectResponse:
    """Do it at once."""
    site = site_of(request)
    result = await Doer(site.documents, reader(site.database)).run_now(site.database, name)
    return redirect("/schedules", f"{name}: {result}.")
