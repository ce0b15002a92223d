"""Operating the site: what stands where, what is stuck and why, failures by family, what a change affects, the week."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.door import Json, Session
from tidemill.runner import affected as affecting
from tidemill.runner import counts as counting
from tidemill.runner import failures as failing
from tidemill.runner import redo
from tidemill.runner import stuck as sticking
from tidemill.runner import summary as summing

router = APIRouter(tags=["operating"])

RunId = Annotated[int, Path(ge=1, lt=2**63, description="The run's number.")]
MaybeRun = Annotated[int | None, Query(ge=1, lt=2**63, description="Only this run.")]
Name = Annotated[str | None, Query(max_length=500)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RerunItems(_Body):
    """Items by name, by a search, or of a project: one of these; and the step to begin at, by its exact name."""

    from_step: str
    items: list[str] | None = None
    search: str | None = Field(default=None, max_length=2000)
    project: str | None = None
    every_run: bool = Field(default=False, description="Not just in the newest run of each pipeline.")
    reuse: bool = False

    def wanted(self) -> redo.Wanted:
        return redo.Wanted(self.items, self.search, self.project)


class WhatIsAffected(_Body):
    """Either `app`, with `version` or `before`; or `input`, with `sha256` or `unlike`."""

    app: str | None = None
    version: str | None = None
    before: str | None = Field(default=None, description="A version, or `current`.")
    input: str | None = None
    sha256: str | None = None
    unlike: str | None = Field(default=None, description="A checksum.")
    every_run: bool = False

    def asked(self) -> affecting.Asked:
        return affecting.asked(
            self.app, self.version, self.before, side_input=self.input, sha256=self.sha256, unlike=self.unlike
        )


@router.get("/counts", summary="Items by status, and tasks by step and state", response_model=counting.Counts)
async def counts(session: Session, active: bool = False) -> Response:
    return Json(await counting.counts(session, active=active))


@router.get("/runs/{run}/counts", summary="The tasks of a run by step and state", response_model=counting.Counts)
async def counts_of_run(session: Session, run: RunId) -> Response:
    return Json(await counting.counts(session, run))


@router.get("/stuck", summary="What does not move, and why; the longest first", response_model=sticking.Stuck)
async def stuck(
    session: Session,
    run: MaybeRun = None,
    cause: Name = None,
    longer: Annotated[float, Query(ge=0, le=1e9, description="Seconds that a due task may wait.")] = sticking.WAITS,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    return Json(await sticking.stuck(session, run=run, cause=cause, longer=longer, limit=limit))


@router.get("/failures", summary="What stands failed in the runs of late, by family", response_model=failing.Failures)
async def failures(
    session: Session, step: Name = None, app: Name = None, days: Annotated[int, Query(ge=0, le=36500)] = failing.DAYS
) -> Response:
    return Json(await failing.families(session, step=step, app=app, days=days))


@router.get("/runs/{run}/failures", summary="What stands failed in a run, by family", response_model=failing.Failures)
async def failures_of_run(session: Session, run: RunId, step: Name = None, app: Name = None) -> Response:
    return Json(await failing.families(session, run, step=step, app=app))


@router.get("/affected", summary="The results that an app's version or a side input affects")
async def affected(
    session: Session,
    app: Name = None,
    version: Name = None,
    before: Name = None,
    input: Name = None,  # noqa: A002
    sha256: Name = None,
    unlike: Name = None,
    every_run: bool = False,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    asked = affecting.asked(app, version, before, side_input=input, sha256=sha256, unlike=unlike)
    found = await affecting.find(session, asked, every_run=every_run)
    rows = await affecting.listing(session, found.places, limit=limit, offset=offset)
    preview = await redo.preview(session, found.places)
    return Json({"made": found.made, "results": found.results, "affected": rows, "rerun": preview})


@router.post("/affected/rerun", summary="Do again what is affected, each from its step on")
async def rerun_affected(session: Session, body: WhatIsAffected) -> Response:
    return Json({"tasks": await affecting.rerun(session, body.asked(), every_run=body.every_run)})


@router.get("/rerun/preview", summary="What a re-run over several runs would touch")
async def preview_rerun(
    session: Session,
    from_step: Annotated[str, Query(max_length=500)],
    item: Annotated[list[str] | None, Query()] = None,
    search: Annotated[str | None, Query(max_length=2000)] = None,
    project: Name = None,
    every_run: bool = False,
) -> Response:
    places = await redo.across(session, redo.Wanted(item, search, project), from_step, every_run=every_run)
    return Json(await redo.preview(session, places))


@router.post("/rerun", summary="Do everything from a step of this name on again, over several runs")
async def rerun(session: Session, body: RerunItems) -> Response:
    places = await redo.across(session, body.wanted(), body.from_step, every_run=body.every_run)
    return Json({"tasks": await redo.put_back(session, places, reuse=body.reuse)})


@router.get("/summary", summary="A week beside the week before", response_model=summing.Summary)
async def summary(
    session: Session,
    week: Annotated[str | None, Query(max_length=20, description="As 2026-W47; none: the present one.")] = None,
    zone: Annotated[str, Query(max_length=100)] = "UTC",
) -> Response:
    return Json(await summing.summary(session, week, zone))
