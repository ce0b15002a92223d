"""Runs: list, start, look at, steer, do again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from tidemill.api.door import Json, Session, Site
from tidemill.domain.states import TaskState
from tidemill.publishing.documents_zip import Choice, documents_zip, zip_name
from tidemill.runner import look, redo, runs

router = APIRouter(prefix="/runs", tags=["runs"])

RunId = Annotated[int, Path(ge=1, lt=2**63, description="The run's number.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StartRun(_Body):
    """Starts a batch through the newest version of a pipeline."""

    batch: str
    pipeline: str
    priority: int = Field(default=0, ge=-(2**31), lt=2**31, description="Higher goes first.")
    reuse: bool = Field(
        default=True, description="Take outputs of earlier attempts with the same input, app and parameters."
    )
    only_not_done: bool = Field(default=False, description="Leave out items that this pipeline has done or begun.")
    paused: bool = False


class Which(_Body):
    """Which tasks of a run: every part narrows; none: all that the action can apply to."""

    tasks: list[int] | None = Field(default=None, description="Ids of tasks.")
    states: list[TaskState] | None = None
    step: int | None = Field(default=None, description="The step that the task stands at, counted from 0.")
    items: list[str] | None = Field(default=None, description="Names of items.")
    reason: str | None = Field(default=None, description="Words that the task's reason contains.")
    app: str | None = Field(default=None, description="The app of the step that the task stands at.")
    family: str | None = Field(default=None, description="A failure family, as `GET /runs/{run}/failures` has it.")

    def filter(self) -> redo.Filter:
        return redo.Filter(self.tasks, self.states, self.step, self.items, self.reason, self.app, self.family)

    @property
    def empty(self) -> bool:
        return not self.model_fields_set.intersection(Which.model_fields)


class Retry(Which):
    """What failed, or some of it."""

    first: int | None = Field(default=None, description="Only so many of them, spread over the run.")


class Rerun(Which):
    """`from_step` on; the filter parts say which tasks."""

    from_step: int = Field(ge=0, lt=2**15, description="Everything from this step on is done again.")
    reuse: bool = False


class Priority(_Body):
    priority: int = Field(ge=-(2**31), lt=2**31)


@router.get("", summary="Runs, newest first")
async def listing(
    session: Session,
    state: Annotated[str | None, Query(pattern="^(active|done|cancelled)$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    return Json({"runs": await look.runs(session, state=state, limit=limit, offset=offset)})


@router.post("", status_code=201, summary="Start a run")
async def start(session: Session, site: Site, body: StartRun) -> Response:
    run = await runs.start(session, site.documents, runs.Start(**body.model_dump()))
    await runs.announce(session)
    return Json(await look.overview(session, run), 201, {"location": f"/api/runs/{run}"})


@router.get("/{run}", summary="How a run stands, with its steps, pace and time left", response_model=look.RunOverview)
async def overview(session: Session, run: RunId) -> Response:
    return Json(await look.overview(session, run))


@router.get("/{run}/grid", summary="Where every task stands, a character each, and the feed's position then")
async def grid(
    session: Session,
    run: RunId,
    from_: Annotated[
        int | None,
        Query(
            alias="from",
            ge=0,
            lt=2**31,
            description="Of a run of more than 100,000: some 20,000 around this position; else the newest.",
        ),
    ] = None,
) -> Response:
    return Json(await look.grid(session, run, from_))


@router.get("/{run}/tasks", summary="A page of a run's tasks, in order of position")
async def tasks(
    session: Session,
    run: RunId,
    from_: Annotated[int, Query(alias="from", ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=look.MOST_ROWS)] = 100,
    state: Annotated[list[TaskState] | None, Query()] = None,
    step: Annotated[int | None, Query(ge=0, lt=2**15)] = None,
    search: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    return Json(await look.window(session, run, from_, limit, states=state, step=step, search=search))


@router.post("/{run}/pause", summary="Hold back the waiting tasks; work in hand finishes")
async def pause(session: Session, run: RunId) -> Response:
    await runs.pause(session, run)
    return Json(await look.overview(session, run))


@router.post("/{run}/resume", summary="Let the waiting tasks go on")
async def resume(session: Session, run: RunId) -> Response:
    await runs.pause(session, run, False)
    return Json(await look.overview(session, run))


@router.post("/{run}/priority", summary="Say how urgent a run is")
async def priority(session: Session, run: RunId, body: Priority) -> Response:
    await runs.prioritise(session, run, body.priority)
    return Json(await look.overview(session, run))


@router.post("/{run}/cancel", summary="Cancel a run, or those of its tasks that match")
async def cancel(session: Session, run: RunId, body: Which | None = None) -> Response:
    named = None if body is None or body.empty else await redo.matching(session, run, body.filter())
    return Json({"run": run, "tasks": await runs.cancel(session, run, named)})


@router.post("/{run}/retry", summary="Try again what failed, where it failed")
async def retry(session: Session, run: RunId, body: Retry | None = None) -> Response:
    wish = body or Retry()
    return Json({"run": run, "tasks": await redo.retry(session, run, wish.filter(), first=wish.first)})


@router.get("/{run}/rerun/preview", summary="What a re-run would touch")
async def preview_rerun(
    session: Session,
    run: RunId,
    from_step: Annotated[int, Query(ge=0, lt=2**15)],
    task: Annotated[list[int] | None, Query()] = None,
    state: Annotated[list[TaskState] | None, Query()] = None,
    step: Annotated[int | None, Query(ge=0, lt=2**15)] = None,
    item: Annotated[list[str] | None, Query()] = None,
    reason: str | None = None,
) -> Response:
    which = redo.Filter(task, state, step, item, reason)
    return Json(await redo.preview_rerun(session, run, from_step, which))


@router.post("/{run}/rerun", summary="Do everything from a step on again; what was there is kept as superseded")
async def rerun(session: Session, run: RunId, body: Rerun) -> Response:
    moved = await redo.rerun(session, run, body.from_step, body.filter(), reuse=body.reuse)
    return Json({"run": run, "tasks": moved})


@router.get("/{run}/documents.zip", summary="The run's documents as a zip, streamed")
async def documents(
    session: Session,
    site: Site,
    run: RunId,
    steps: Annotated[str, Query(pattern="^(final|all)$")] = "final",
    texts: Annotated[bool, Query(description="Also the texts of each MMIF, as .txt.")] = False,
) -> Response:
    name = zip_name(await runs.get(session, run))
    body = documents_zip(site.database, site.documents, run, Choice(every_step=steps == "all", texts=texts))
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(body, media_type="application/zip", headers=headers)
