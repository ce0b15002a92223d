"""Pages of watching runs: what each asks, how far it is, steering it; and why an item is, or is not, in them."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from tidemill.db.database import Row
from tidemill.domain import quiet_hours
from tidemill.pipelines import watching as service
from tidemill.runner import runs, watch_steering
from tidemill.web.rendering import redirect, render, site_of

router = APIRouter()


@router.get("/watching")
async def watching(request: Request) -> HTMLResponse:
    """All watching runs."""
    async with site_of(request).database.begin() as session:
        found = await service.listing(session)
    return render(request, "watching.html", watches=[_drawn(row) for row in found])


@router.post("/watching/{name}/pause")
async def pause(request: Request, name: str) -> RedirectResponse:
    """Take in nothing, and start nothing."""
    async with site_of(request).database.begin() as session:
        await runs.pause(session, (await service.get(session, name))["run"])
    return redirect("/watching", f"{name} is paused: nothing enters, and nothing more is started.")


@router.post("/watching/{name}/resume")
async def resume(request: Request, name: str) -> RedirectResponse:
    """Take in what came meanwhile, and go on."""
    async with site_of(request).database.begin() as session:
        await watch_steering.resume(session, name)
    return redirect("/watching", f"{name} goes on, with what came meanwhile.")


@router.get("/watching/{name}/end")
async def confirm_end(request: Request, name: str) -> HTMLResponse:
    """What ending it would mean."""
    async with site_of(request).database.begin() as session:
        row = await service.get(session, name)
        held = await watch_steering.held_back(session, name)
    return render(request, "watch_end.html", watch=_drawn(row), held=sum(map(len, held.values())))


@router.post("/watching/{name}/end")
async def end(request: Request, name: str) -> RedirectResponse:
    """Take in nothing more."""
    async with site_of(request).database.begin() as session:
        ended = await watch_steering.end(session, name)
    return redirect(f"/runs/{ended['run']}", f"{name} takes in nothing more; this run finishes what it has.")


@router.get("/items/{name:path}/why")
async def why(request: Request, name: str) -> HTMLResponse:
    """Where an item stands in each watching run, or every reason why it has not entered."""
    async with site_of(request).database.begin() as session:
        reasons = await watch_steering.why(session, name)
    return render(request, "item_why.html", name=name, address=f"/items/{quote(name, safe='')}", reasons=reasons)


def _drawn(row: Row) -> Row:
    quiet = quiet_hours.until(row["quiet"], row["now"])
    told = quiet_hours.told(quiet, row["now"]) if quiet else None
    return watch_steering.outline(row) | {"quiet_until": told}
