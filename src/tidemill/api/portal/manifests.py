"""`/v1/<projects>/<name>/manifest`: everything that a project offers, to be fetched and checked at once."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import PlainTextResponse, Response

from tidemill.api.door import Json, Session, Site
from tidemill.api.portal import catalogue
from tidemill.api.portal.access import Shown
from tidemill.api.portal.callers import base_of, downloader_of, key_of, takes
from tidemill.domain.shop_window import Noun
from tidemill.publishing import manifests
from tidemill.publishing.manifests import Per

router = APIRouter(include_in_schema=False)

Format = Literal["json", "tsv", "sha256", "curl"]


@router.get("/{collection}/{name:path}/manifest")
async def manifest(
    request: Request,
    session: Session,
    site: Site,
    shown: Shown,
    collection: str,
    name: str,
    format: Annotated[Format | None, Query()] = None,  # noqa: A002
    per: Annotated[Per, Query()] = "project",
    package: Annotated[list[str], Query()] = [],  # noqa: B006
) -> Response:
    """Name, size and SHA-256 of each file; with an `API-KEY` a link to each, which counts as a download."""
    if catalogue.collections(shown).get(collection) is not Noun.PROJECT:
        return await catalogue.one(request, session, shown, collection, f"{name}/manifest")
    form = format or _accepted(request)
    files = await manifests.listed(session, name, per=per, packages=package)
    if key_of(request) is not None or form == "curl":
        person = await downloader_of(request, session)
        if form != "sha256" and takes(request):
            files = await manifests.linked(session, site, files, person, base=base_of(request))
    if form == "json":
        size = sum(one.row["size"] for one in files)
        told = [one.as_json() for one in files]
        return Json({shown.id: name, "count": len(files), "size_in_bytes": size, "files": told})
    if form == "tsv":
        return PlainTextResponse(manifests.as_tsv(files), media_type="text/tab-separated-values")
    return PlainTextResponse(manifests.as_sums(files) if form == "sha256" else manifests.as_curl(files))


def _accepted(request: Request) -> Format:
    accepted = request.headers.get("accept", "")
    return "tsv" if "text/tab-separated-values" in accepted and "json" not in accepted else "json"
