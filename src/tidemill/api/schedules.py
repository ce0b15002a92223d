"""Schedules: list, make, pause, do at once."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from tidemill.api.door import Json, Session, Site
from tidemill.catalogue.sync import reader
from tidemill.pipelines import schedules
from tidemill.pipelines.schedules import ScheduleWish
from tidemill.runner.schedules import Doer

router = APIRouter(prefix="/schedules", tags=["schedules"])


class StartAction(BaseModel):
    """The run that is started."""

    model_config = ConfigDict(extra="forbid")

    batch: str
    pipeline: str
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    reuse: bool = True
    only_not_done: bool = False


class PutSchedule(BaseModel):
    """What is done, and when: `start` or `sync`."""

    model_config = ConfigDict(extra="forbid")

    cron: str = Field(description="Minute, hour, day of the month, month, day of the week.")
    zone: str = "UTC"
    start: StartAction | None = None
    sync: str | None = Field(default=None, description="A source to be read.")

    @model_validator(mode="after")
    def _one_action(self) -> PutSchedule:
        if (self.start is None) is (self.sync is None):
            raise ValueError("exactly one of start and sync must say what is done")
        return self

    def wish(self, name: str) -> ScheduleWish:
        action: dict[str, Any] = {"start": self.start.model_dump()} if self.start else {"sync": self.sync}
        return ScheduleWish(name, self.cron, self.zone, action)


@router.get("", summary="Schedules, with their next time and what came of the last")
async def listing(session: Session) -> Response:
    return Json({"schedules": await schedules.listing(session)})


@router.get("/{name}", summary="One schedule")
async def one(session: Session, name: str) -> Response:
    return Json(await schedules.get(session, name))


@router.put("/{name}", summary="Make a schedule, or change it")
async def put(session: Session, name: str, body: PutSchedule) -> Response:
    await schedules.define(session, body.wish(name))
    return Json(await schedules.get(session, name))


@router.delete("/{name}", status_code=204, summary="Take a schedule away; what it started stays")
async def remove(session: Session, name: str) -> Response:
    await schedules.remove(session, name)
    return Response(status_code=204)


@router.post("/{name}/pause", summary="Let a schedule rest")
async def pause(session: Session, name: str) -> Response:
    await schedules.pause(session, name)
    return Json(await schedules.get(session, name))


@router.post("/{name}/resume", summary="Let a schedule go on; what it missed is not made up for")
async def resume(session: Session, name: str) -> Response:
    await schedules.pause(session, name, False)
    return Json(await schedules.get(session, name))


@router.post("/{name}/run", summary="Do it at once; its next time stays")
async def run_now(site: Site, name: str) -> Response:
    result = await Doer(site.documents, reader(site.database)).run_now(site.database, name)
    return Json({"schedule": name, "result": result})
