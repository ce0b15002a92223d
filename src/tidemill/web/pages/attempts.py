"""The page of one attempt: what it says while it is at work, and what it has said."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tidemill.runner import attempt_views
from tidemill.web.rendering import render, site_of

router = APIRouter()


@router.get("/attempts/{task}-{fence}")
async def attempt(request: Request, task: int, fence: int) -> HTMLResponse:
    """One attempt, followed live as long as it is at work."""
    async with site_of(request).database.begin() as session:
        part = await attempt_views.log(session, task, fence)
        kept = {"files": [], "inputs": []} if part.live else await attempt_views.files_of(session, task, fence)
    return render(request, "attempt.html", part=part, task=task, fence=fence, attempt=kept)
