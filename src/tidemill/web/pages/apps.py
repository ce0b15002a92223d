"""Pages of apps: what they are, whether they are up, and pausing them."""

from __future__ import annotations

import datetime as dt
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select

from tidemill.db.database import Row
from tidemill.db.models import AppVersion
from tidemill.domain import quiet_hours
from tidemill.domain.mmif import inputs_of, outputs_of
from tidemill.errors import InvalidInput
from tidemill.executors.addresses import AddressPolicy
from tidemill.pipelines import apps as service
from tidemill.web.rendering import redirect, render, site_of

router = APIRouter()


@router.get("/apps")
async def apps(request: Request) -> HTMLResponse:
    """All apps."""
    async with site_of(request).database.begin() as session:
        found = await service.listing(session)
    return render(request, "apps.html", apps=[with_down(app) for app in found])


@router.get("/apps/{name}")
async def app(request: Request, name: str) -> HTMLResponse:
    """One app: what it says of itself, and how it fares."""
    async with site_of(request).database.begin() as session:
        model = await service.get(session, name)
        row = next(app for app in await service.listing(session) if app["id"] == model.id)
        found = await session.scalars(
            select(AppVersion).where(AppVersion.app_id == model.id).order_by(AppVersion.id.desc())
        )
        versions = list(found)
    metadata = row["metadata"] or {}
    parameters = metadata.get("parameters")
    try:
        inputs, outputs = inputs_of(metadata), outputs_of(metadata)
    except InvalidInput:
        inputs, outputs = [], []
    return render(
        request,
        "app.html",
        app=with_down(row) | {"version_id": model.version_id},
        metadata=metadata,
        inputs=inputs,
        outputs=outputs,
        parameters=[_parameter(one) for one in parameters or [] if isinstance(one, dict)],
        versions=versions,
    )


@router.post("/apps/{name}/pause")
async def pause(request: Request, name: str) -> RedirectResponse:
    """Start nothing more at this app."""
    async with site_of(request).database.begin() as session:
        await service.pause(session, name)
    return redirect(_address(name), f"{name} is paused.")


@router.post("/apps/{name}/resume")
async def resume(request: Request, name: str) -> RedirectResponse:
    """Let it go on, and try it at once."""
    async with site_of(request).database.begin() as session:
        await service.resume(session, name)
    return redirect(_address(name), f"{name} goes on.")


@router.post("/apps/{name}/refresh")
async def refresh(request: Request, name: str) -> RedirectResponse:
    """Ask the app what it is now. The database is not held meanwhile."""
    site = site_of(request)
    async with site.database.begin() as session:
        settings = await service.settings_of(session, name)
    facts = await service.look(AddressPolicy(site.settings.app_addresses), settings)
    async with site.database.begin() as session:
        new = await service.refresh(session, name, facts)
    said = f"{name} is now version {facts.version or 'unknown'}." if new else f"{name} says the same as before."
    return redirect(_address(name), said)


def _address(name: str) -> str:
    return f"/apps/{quote(name, safe='')}"


def with_down(app: Row) -> Row:
    """The app's row with `down`: whether its circuit is open now, and `quiet_until`, in words where it is quiet now."""
    until, quiet = app["circuit_open_until"], quiet_hours.until(app["quiet"], app["now"])
    return app | {
        "down": until is not None and until > dt.datetime.now(dt.UTC),
        "quiet_until": quiet_hours.told(quiet, app["now"]) if quiet else None,
    }


def _parameter(one: Row) -> Row:
    return {"name": "", "type": "", "multivalued": False, "choices": [], "description": ""} | one
