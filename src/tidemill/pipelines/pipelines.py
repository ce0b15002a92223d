"""Defining pipelines. A version never changes; a new one is made only when the steps differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.db.models import App, Pipeline, PipelineVersion, Step
from tidemill.domain.kinds import PACKING, PACKING_STEP
from tidemill.errors import InvalidInput, NotFound
from tidemill.pipelines.apps import known_metadata
from tidemill.pipelines.check import check_chain, check_parameters
from tidemill.pipelines.names import check_name
from tidemill.pipelines.nearest import nearest


@dataclass(frozen=True, slots=True)
class StepWish:
    """One step of a pipeline as a person asks for it."""

    app: str
    name: str | None = None
    """None: the app's name, with -2, -3, … where that is taken."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tries: int | None = None
    """None: as the app says. The same for `backoff`, in seconds."""
    backoff: float | None = None


async def define(
    session: AsyncSession, name: str, steps: Sequence[StepWish], title: str | None = None
) -> PipelineVersion:
    """Make a pipeline, or give the one of that name new steps; the version that holds now.

    A new version is made only where the steps differ; runs keep the version that they started with. `title` None: it
    stays. Raises InvalidInput (no steps, a step's name twice, a wrong parameter), NotFound (an app), PipelineMismatch.
    """
    check_name("a pipeline", name)
    ready = await _checked(session, name, steps)
    pipeline = await session.scalar(select(Pipeline).where(Pipeline.name == name).with_for_update(key_share=True))
    if pipeline is None:
        pipeline = Pipeline(name=name, title=title or "")
        session.add(pipeline)
        await session.flush()
    elif title is not None:
        pipeline.title = title
    if pipeline.version_id is not None and await _same(session, pipeline.version_id, ready):
        return (await session.scalars(select(PipelineVersion).where(PipelineVersion.id == pipeline.version_id))).one()
    return await _new_version(session, pipeline, ready)


async def get(session: AsyncSession, name: str) -> Pipeline:
    """The pipeline of that name. Raises NotFound, with the name that was meant perhaps."""
    pipeline = await session.scalar(select(Pipeline).where(Pipeline.name == name))
    if pipeline is None:
        close = nearest(name, await session.scalars(select(Pipeline.name)))
        hint = f"Did you mean {close!r}?" if close else "`tidemill export` shows them."
        raise NotFound(f"There is no pipeline named {name!r}.", hint=hint)
    return pipeline


async def listing(session: AsyncSession) -> list[Row]:
    """All pipelines with title, version number, and the steps of that version in order."""
    return await fetch(session, "pipelines.pipelines", {"name": None})


def packs(row: Row) -> bool:
    """Whether a pipeline, as `listing` has it, is the one by which the site makes packages, and no person's."""
    return bool(row["name"] == PACKING and [step["name"] for step in row["steps"]] == [PACKING_STEP])


def step_names(steps: Sequence[StepWish]) -> list[str]:
    """A name for each step: the one given, else the app's, with -2, -3, … where it is taken already."""
    taken = {step.name for step in steps if step.name}
    names = []
    for step in steps:
        name, number = step.name or step.app, 2
        while step.name is None and name in taken:
            name, number = f"{step.app}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def without_nulls(value: Any) -> Any:
    """A parameter that is null has its default: the same as one that is not there."""
    if isinstance(value, Mapping):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value if one is not None] if isinstance(value, list | tuple) else value


async def _checked(session: AsyncSession, name: str, steps: Sequence[StepWish]) -> list[dict[str, Any]]:
    if not steps:
        raise InvalidInput(f"Pipeline {name!r} has no steps.", hint="Give it at least one app.")
    names = step_names(steps)
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise InvalidInput(f"Pipeline {name!r} has several steps named {', '.join(twice)}; each needs its own name.")
    metadata = await known_metadata(session)
    ids = await _app_ids(session, steps)
    ready = []
    for step, step_name in zip(steps, names, strict=True):
        check_name("a step", step_name)
        _check_retries(step, step_name)
        parameters = check_parameters(step_name, metadata[step.app], without_nulls(step.parameters))
        ready.append(
            {
                "name": step_name,
                "app_id": ids[step.app],
                "parameters": parameters,
                "tries": step.tries,
                "backoff": step.backoff,
            }
        )
    chain = [(step_name, step.app, metadata[step.app]) for step, step_name in zip(steps, names, strict=True)]
    check_chain(chain, known=metadata)
    return ready


def _check_retries(step: StepWish, name: str) -> None:
    if (step.tries is not None and step.tries < 1) or (step.backoff is not None and step.backoff < 0):
        raise InvalidInput(f"Step {name!r}: tries must be at least 1, and backoff not below 0.")


async def _app_ids(session: AsyncSession, steps: Sequence[StepWish]) -> dict[str, int]:
    found = await session.execute(select(App.name, App.id))
    ids = {row.name: row.id for row in found}
    for step in steps:
        if step.app not in ids:
            close = nearest(step.app, ids)
            hint = f"Did you mean {close!r}?" if close else "Register it first: `tidemill apps add`."
            raise NotFound(f"There is no app named {step.app!r}.", hint=hint)
    return ids


async def _same(session: AsyncSession, version: int, ready: list[dict[str, Any]]) -> bool:
    found = await session.scalars(select(Step).where(Step.pipeline_version_id == version).order_by(Step.position))
    return [
        {key: getattr(step, key) for key in ("name", "app_id", "parameters", "tries", "backoff")} for step in found
    ] == ready


async def _new_version(session: AsyncSession, pipeline: Pipeline, ready: list[dict[str, Any]]) -> PipelineVersion:
    newest = await session.scalar(
        select(func.max(PipelineVersion.number)).where(PipelineVersion.pipeline_id == pipeline.id)
    )
    version = PipelineVersion(pipeline_id=pipeline.id, number=(newest or 0) + 1)
    session.add(version)
    await session.flush()
    session.add_all(Step(pipeline_version_id=version.id, position=n, **step) for n, step in enumerate(ready))
    pipeline.version_id = version.id
    await session.flush()
    return version
