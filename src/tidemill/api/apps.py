"""Apps and pipelines."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from tidemill.api.door import Json, Session, Site
from tidemill.pipelines import apps, pipelines

router = APIRouter(tags=["apps"])


@router.get("/apps", summary="Apps with version, metadata, limits, circuit and tasks in hand")
async def listing(session: Session) -> Response:
    return Json({"apps": await apps.listing(session)})


@router.post("/apps/{name}/pause", summary="Start nothing more at an app; work in hand finishes")
async def pause(session: Session, name: str) -> Response:
    return Json({"app": name, "changed": await apps.pause(session, name)})


@router.post("/apps/{name}/resume", summary="Let an app's tasks go on, and try it at once if it was down")
async def resume(session: Session, name: str) -> Response:
    return Json({"app": name, "changed": await apps.resume(session, name)})


@router.post("/apps/{name}/refresh", summary="Ask an app what it is now")
async def refresh(site: Site, name: str) -> Response:
    # Two transactions: none is held open while the app takes its time to answer.
    async with site.database.begin() as session:
        settings = await apps.settings_of(session, name)
    facts = await apps.look(site.addresses, settings)
    async with site.database.begin() as session:
        return Json({"app": name, "changed": await apps.refresh(session, name, facts)})


@router.get("/pipelines", summary="Pipelines with the steps of their newest version")
async def all_pipelines(session: Session) -> Response:
    return Json({"pipelines": await pipelines.listing(session)})
