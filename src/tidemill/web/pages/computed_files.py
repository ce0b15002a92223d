"""The operators' page of computed files: every package of the site, how it stands, and what made it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from tidemill.publishing import computed_files as service
from tidemill.publishing import downloads
from tidemill.publishing.members import members
from tidemill.web.pages.forms import number, ticked, words
from tidemill.web.rendering import render, site_of

router = APIRouter()
PAGE = 100
MEMBERS = 200


@router.get("/computed-files")
async def computed_files(request: Request) -> HTMLResponse:
    """Packages with their files, a page at a time; of one project, or one package, if named."""
    asked = request.query_params
    project, package, replaced = words(asked, "project"), words(asked, "package"), ticked(asked, "replaced")
    left_over = ticked(asked, "left_over")
    offset = max(0, number(asked, "offset") or 0)
    async with site_of(request).database.begin() as session:
        rows = await service.listing(
            session,
            projects=[project] if project else None,
            package=package,
            replaced=replaced or package is not None,
            left_over=left_over,
            limit=PAGE + 1,
            offset=offset,
        )
        totals = await service.totals(session)
    return render(
        request,
        "computed_files.html",
        files=rows[:PAGE],
        more=len(rows) > PAGE,
        totals=totals,
        project=project or "",
        package=package or "",
        replaced=replaced,
        left_over=left_over,
        offset=offset,
        page=PAGE,
        meaning=service.STATES,
    )


@router.get("/computed-files/{file}")
async def computed_file(request: Request, file: int) -> HTMLResponse:
    """One computed file with what is in it, a page at a time."""
    asked, site = request.query_params, site_of(request)
    search, offset = words(asked, "search") or "", max(0, number(asked, "offset") or 0)
    async with site.database.begin() as session:
        found = await service.get(session, file)
        contents = await members(session, site.documents, file, search=search, limit=MEMBERS, offset=offset)
    return render(
        request, "computed_file.html", file=found, contents=contents, search=search, offset=offset, page=MEMBERS
    )


@router.get("/computed-files/{file}/download")
async def download(request: Request, file: int) -> RedirectResponse:
    """The file itself, by a link that is made for it; counted like any download."""
    site = site_of(request)
    async with site.database.begin() as session:
        link = await downloads.link(session, site, file, None)
    return RedirectResponse(link.url, status_code=303)
