"""Watching runs: list, begin, change, pause, end; and why an item is, or is not, in them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.door import Json, Session
from tidemill.domain.conditions import Condition
from tidemill.domain.quiet_hours import read_quiet
from tidemill.errors import InvalidInput
from tidemill.pipelines import watching
from tidemill.pipelines.watching import WatchWish
from tidemill.runner import runs, watch_steering
from tidemill.runner.watch_steering import outline

router = APIRouter(tags=["watching"])

Most = 2**31


class ChangeWatch(BaseModel):
    """What is not given stays as it is."""

    model_config = ConfigDict(extra="forbid")

    pipeline: str | None = None
    condition: dict[str, Any] | None = Field(default=None, description="`status`, `project`, `require`, `where`, …")
    priority: int | None = Field(default=None, ge=-Most, lt=Most, description="Higher goes first.")
    reuse: bool | None = None
    quiet: list[dict[str, Any]] | None = Field(default=None, description="`[{days, from, to, zone}]`.")
    again: bool = Field(default=False, description="What has entered once enters again.")

    def changed(self, wish: WatchWish) -> WatchWish:
        given = self.model_dump(exclude={"again", "name"}, exclude_none=True)
        if self.condition is not None:
            given["condition"] = Condition.from_json(self.condition)
        if self.quiet is not None:
            try:
                given["quiet"] = read_quiet(self.quiet)
            except ValueError as error:
                raise InvalidInput(f"quiet: {error}.") from None
        return dataclasses.replace(wish, **given)


class StartWatch(ChangeWatch):
    """Begins a watching run; one of that name is changed to be as said here."""

    name: str
    pipeline: str


@router.get("/watching", summary="Watching runs, with conditions, and their tasks by state")
async def listing(session: Session) -> Response:
    return Json({"watching": [outline(row) for row in await watching.listing(session)]})


@router.post("/watching", status_code=201, summary="Begin a watching run, or change the one of that name")
async def start(session: Session, body: StartWatch) -> Response:
    wish = body.changed(WatchWish(body.name, body.pipeline))
    await watch_steering.start(session, wish, again=body.again)
    return Json(outline(await watching.get(session, body.name)), 201)


@router.get("/watching/{name}", summary="One watching run")
async def one(session: Session, name: str) -> Response:
    return Json(outline(await watching.get(session, name)))


@router.patch("/watching/{name}", summary="Change a watching run; a new condition is held against all items")
async def change(session: Session, name: str, body: ChangeWatch) -> Response:
    wish = body.changed(await watching.wish_of(session, name))
    await watch_steering.start(session, wish, again=body.again)
    return Json(outline(await watching.get(session, name)))


@router.post("/watching/{name}/pause", summary="Take in nothing, and start nothing, until it is resumed")
async def pause(session: Session, name: str) -> Response:
    await runs.pause(session, (await watching.get(session, name))["run"])
    return Json(outline(await watching.get(session, name)))


@router.post("/watching/{name}/resume", summary="Take in what came meanwhile, and go on")
async def resume(session: Session, name: str) -> Response:
    await watch_steering.resume(session, name)
    return Json(outline(await watching.get(session, name)))


@router.post("/watching/{name}/end", summary="Take in nothing more; what has entered is finished")
async def end(session: Session, name: str) -> Response:
    return Json({"watch": name} | await watch_steering.end(session, name))


@router.get("/items/{name:path}/why", summary="Where an item stands in each watching run, or why it has not entered")
async def why(
    session: Session, name: str, watch: Annotated[str | None, Query(description="Only this watching run.")] = None
) -> Response:
    return Json({"item": name, "watching": await watch_steering.why(session, name, watch)})
