"""The page of one document."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tidemill.runner import look
from tidemill.web import mmif_view
from tidemill.web.pages.forms import number, words
from tidemill.web.rendering import render, site_of

router = APIRouter()


@router.get("/documents/{sha256}")
async def document(request: Request, sha256: str) -> HTMLResponse:
    """A document by its SHA-256: MMIF as a tree, anything else as text."""
    site, query = site_of(request), request.query_params
    async with site.database.begin() as session:
        body = await look.document(session, site.documents, sha256)
    place = mmif_view.Place(words(query, "view") or "", words(query, "type") or "", number(query, "page") or 1)
    # In a thread: a large document would hold up every other page.
    tree = await asyncio.to_thread(mmif_view.tree, body, place)
    text, cut = ("", False) if tree else mmif_view.pretty(body)
    return render(request, "document.html", sha=sha256, size=len(body), tree=tree, place=place, text=text, cut=cut)
