"""The portal's first page, and all the portal's routes."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from tidemill.web.pages import portal_terms
from tidemill.web.pages.portal_door import TOP, enter, know, page, portal_of

router = APIRouter(prefix=TOP, dependencies=[Depends(know)])
router.include_router(portal_terms.router)


@router.get("", dependencies=[Depends(enter)])
async def home(request: Request) -> HTMLResponse:
    """Title, welcome, how much there is, a search, and what is newest."""
    return page(request, "portal_home.html", welcome=portal_of(request).welcome)
