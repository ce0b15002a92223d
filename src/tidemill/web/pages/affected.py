"""Pages of what a changed app or side input affects, and of doing just that again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select

from tidemill.db.models import App
from tidemill.runner import affected as service
from tidemill.runner import redo
from tidemill.web.pages.forms import number, ticked, words
from tidemill.web.rendering import redirect, render, site_of
from tidemill.web.wording import counted

router = APIRouter()
PAGE = 100
PARTS = ("app", "version", "before", "input", "sha256", "unlike")


@router.get("/affected")
async def affected(request: Request) -> HTMLResponse:
    """The results that an app's version or a side input affects; without either, the choice."""
    query = request.query_params
    parts, every_run = _parts(query), ticked(query, "every_run")
    offset = max(0, number(query, "offset") or 0)
    found, rows, preview = None, [], None
    async with site_of(request).database.begin() as session:
        apps = list(await session.scalars(select(App.name).order_by(App.name)))
        inputs = await service.inputs(session)
        if parts["app"] or parts["input"]:
            found = await service.find(session, _asked(parts), every_run=every_run)
            rows = await service.listing(session, found.places, limit=PAGE, offset=offset)
            preview = await redo.preview(session, found.places)
    return render(
        request, "affected.html", given=parts, every_run=every_run, apps=apps, inputs=inputs, found=found, rows=rows,
        preview=preview, offset=offset, page=PAGE, asked=_query(parts, every_run),
    )  # fmt: skip


@router.get("/affected/rerun")
async def confirm(request: Request) -> HTMLResponse:
    """What doing it again would touch, and the button that does it."""
    parts, every_run = _parts(request.query_params), ticked(request.query_params, "every_run")
    async with site_of(request).database.begin() as session:
        found = await service.find(session, _asked(parts), every_run=every_run)
        preview = await redo.preview(session, found.places)
    return render(
        request,
        "affected_confirm.html",
        given=parts,
        every_run=every_run,
        preview=preview,
        asked=_query(parts, every_run),
    )


@router.post("/affected/rerun")
async def rerun(request: Request) -> RedirectResponse:
    """Do it again, each result from its step on."""
    form = await request.form()
    parts, every_run = _parts(form), ticked(form, "every_run")
    async with site_of(request).database.begin() as session:
        count = await service.rerun(session, _asked(parts), every_run=every_run)
    return redirect(f"/affected?{_query(parts, every_run)}", f"{counted(count, 'task')} will run again.")


def _parts(values: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: words(values, name) for name in PARTS}


def _asked(parts: Mapping[str, str | None]) -> service.Asked:
    return service.asked(
        parts["app"], parts["version"], parts["before"],
        side_input=parts["input"], sha256=parts["sha256"], unlike=parts["unlike"],
    )  # fmt: skip


def _query(parts: Mapping[str, str | None], every_run: bool) -> str:
    given = {name: value for name, value in parts.items() if value}
    return urlencode(given | ({"every_run": "1"} if every_run else {}))
