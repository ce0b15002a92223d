"""Starting runs and steering them: pause, resume, priority, cancel. The door commits, then announces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.db.models import App, AppVersion, Batch, Pipeline, Run, Step
from tidemill.domain.kinds import OF_PACKAGES, PACKING
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.pipelines.check import check_chain, check_parameters
from tidemill.runner.entering import Entrance, StepRow
from tidemill.storage.documents import DocumentStore

CHUNK = 5000
"""Items that enter a run per statement."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a run is to be started."""

    batch: str
    pipeline: str
    priority: int = 0
    reuse: bool = True
    only_not_done: bool = False
    """Leave out items that this pipeline has done, or is doing, in another run."""
    paused: bool = False


async def start(session: AsyncSession, documents: DocumentStore, wish: Start) -> int:
    """Start a batch through the newest version of a pipeline; the run's id. All items enter, or none.

    Raises NotFound, PipelineMismatch (the chain's apps do not fit), InvalidInput (an app no longer takes a parameter),
    Conflict (nothing to do).
    """
    batch = await session.scalar(select(Batch).where(Batch.name == wish.batch))
    if batch is None:
        raise NotFound(f"There is no batch named {wish.batch!r}.", hint="`tidemill batch list` shows them.")
    pipeline = await session.scalar(select(Pipeline).where(Pipeline.name == wish.pipeline))
    if pipeline is None or pipeline.version_id is None:
        raise NotFound(f"There is no pipeline named {wish.pipeline!r}.", hint="`tidemill export` shows them.")
    check_kinds(batch, pipeline)
    steps = await chain(session, pipeline.version_id)
    check(steps)
    run = Run(
        batch_id=batch.id,
        pipeline_version_id=pipeline.version_id,
        priority=wish.priority,
        reuse=wish.reuse,
        paused=wish.paused,
        steps=len(steps),
    )
    session.add(run)
    await session.flush()
    make = Entrance(documents, steps)
    total = 0
    async for entrants in _entrants(session, wish, batch.id, pipeline.id):
        rows = [await make.entrant(row, total + n) for n, row in enumerate(entrants)]
        await fetch(session, "runs.enter", {"run": run.id, "entrants": orjson.dumps(rows).decode()})
        total += len(rows)
    if not total:
        empty = "is empty" if not wish.only_not_done else f"has nothing that {wish.pipeline} has not done or begun"
        raise Conflict(f"Batch {wish.batch!r} {empty}: there is nothing to start.")
    await session.execute(text("analyze task")) if total >= 10 * CHUNK else None
    await announce(session)
    return run.id


def check_kinds(batch: Batch, pipeline: Pipeline) -> None:
    """Raises InvalidInput where packages would go through a pipeline for items, or items through the one that packs."""
    of_packages, packs = OF_PACKAGES in batch.made_from, pipeline.name == PACKING
    if of_packages and not packs:
        raise InvalidInput(f"Batch {batch.name!r} holds packages: only the pipeline {PACKING!r} takes those.")
    if packs and not of_packages:
        hint = "`tidemill generate-computed-files` makes packages of what these items hold."
        raise InvalidInput(f"The pipeline {PACKING!r} takes packages, and batch {batch.name!r} holds none.", hint=hint)


def check(steps: Sequence[StepRow]) -> None:
    """Whether the chain holds with the apps as they are now; they may have changed since the pipeline was defined."""
    demand_versions([app for _, app, _ in steps])
    check_chain([(step.name, app.name, version.details if version else None) for step, app, version in steps])
    for step, _, version in steps:
        check_parameters(step.name, version.details if version else None, step.parameters)


def demand_versions(apps: Sequence[App]) -> None:
    """Raise Conflict if an app has never told its version: attempts could not say what did the work."""
    unread = sorted({app.name for app in apps if app.version_id is None})
    if unread:
        hint = f"Read them with: tidemill apps refresh {' '.join(unread)}"
        raise Conflict(f"Nothing is known of the version of {', '.join(unread)}.", hint=hint)


async def chain(session: AsyncSession, pipeline_version: int) -> Sequence[StepRow]:
    """The steps of a pipeline version with their apps as they stand now, in order."""
    found = await session.execute(
        select(Step, App, AppVersion)
        .join(App, App.id == Step.app_id)
        .outerjoin(AppVersion, AppVersion.id == App.version_id)
        .where(Step.pipeline_version_id == pipeline_version)
        .order_by(Step.position)
    )
    return [(step, app, version) for step, app, version in found.all()]


async def pause(session: AsyncSession, run: int, paused: bool = True) -> None:
    """Hold back a run's waiting tasks, or let them go on. Work in hand finishes. Raises NotFound, Conflict."""
    await _steer(session, run, paused=paused)


async def prioritise(session: AsyncSession, run: int, priority: int) -> None:
    """Higher goes first. Raises NotFound, Conflict."""
    await _steer(session, run, priority=priority)


async def cancel(
    session: AsyncSession, run: int, tasks: Sequence[int] | None = None, *, reason: str = "cancelled by a person"
) -> int:
    """Cancel a whole run, or some of its tasks; how many tasks were not yet final. Raises NotFound."""
    await get(session, run)
    await session.execute(text("select 1 from run where id = :run for no key update"), {"run": run})
    params = {"run": run, "tasks": list(tasks) if tasks is not None else None, "reason": reason}
    count = await fetch_one(session, "runs.cancel", params)
    if tasks is None:
        await fetch(session, "runs.end", {"run": run})
    await announce(session, work="cancel")
    return int(count["tasks"]) if count else 0


async def get(session: AsyncSession, run: int) -> Row:
    """One run with the names of its batch and pipeline. Raises NotFound."""
    row = await fetch_one(session, "runs.get", {"run": run})
    if row is None:
        raise NotFound(f"There is no run {run}.", hint="`tidemill runs` lists them.")
    return row


async def announce(session: AsyncSession, work: str = "") -> None:
    """Wake workers and followers when this transaction commits. A hint: the queries beneath find everything."""
    await session.execute(
        text("select pg_notify('tidemill_work', :work), pg_notify('tidemill_change', '')"), {"work": work}
    )


async def _steer(session: AsyncSession, run: int, paused: bool | None = None, priority: int | None = None) -> None:
    row = await get(session, run)
    if not await fetch(session, "runs.steer", {"run": run, "paused": paused, "priority": priority}):
        raise Conflict(f"Run {run} is {row['state']}: there is nothing left to hold back or to speed up.")
    await announce(session)


async def _entrants(session: AsyncSession, wish: Start, batch: int, pipeline: int) -> AsyncIterator[list[Row]]:
    after = -1
    while True:
        rows = await fetch(
            session,
            "runs.entrants",
            {"batch": batch, "after": after, "n": CHUNK, "only_not_done": wish.only_not_done, "pipeline": pipeline},
        )
        if not rows:
            return
        yield rows
        after = rows[-1]["position"]
