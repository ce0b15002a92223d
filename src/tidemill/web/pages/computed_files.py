"""The operators' page of computed files: every package of the site, how it stands, and what made it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from tidemill.publishing import computed_files as service
from tidemill.publishing import downloads, retiring
from tidemill.publishing.members import members
from tidemill.web.pages.forms import number, ticked, words
from tidemill.web.rendering import redirect, render, site_of

router = APIRouter()
PAGE = 100
MEMBERS = 200
AT_ONCE = 500
"""Packages that one form retires."""


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


@router.get("/computed-files/retire")
async def confirm_retire(request: Request) -> HTMLResponse:
    """Which packages nothing calls for any more, and why: the first of them, to be retired."""
    async with site_of(request).database.begin() as session:
        left = await retiring.preview(session)
    return render(request, "computed_files_retire.html", left=left[:AT_ONCE], total=len(left))


@router.post("/computed-files/retire")
async def retire(request: Request) -> RedirectResponse:
    """Take those that were shown out of the offer."""
    names = [name for name in (await request.form()).getlist("name") if isinstance(name, str)]
    if not names:
        return redirect("/computed-files", "Nothing was retired.")
    async with site_of(request).database.begin() as session:
        did = await retiring.retire(session, names=names)
    said = "1 package was" if len(did.packages) == 1 else f"{len(did.packages):,} packages were"
    return redirect("/computed-files", f"{said} taken out of the offer.")


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
    site, counted = site_of(request), downloads.HEAD_ALONE not in request.scope
    async with site.database.begin() as session:
        link = await downloads.link(session, site, file, None, counted=counted)
    return RedirectResponse(link.url, status_code=303)
