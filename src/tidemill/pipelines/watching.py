"""Watches: a condition on items, and the run that takes in those that match; `runner/watch.py` lets them enter.

The run's batch bears the watch's name and remembers what has entered. When the pipeline gets a new version, or when all
is to be done again, a run that succeeds the old one takes in what comes from then on; the old one finishes what it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.db.models import Batch, Run, Step, Watch
from tidemill.domain.conditions import Condition
from tidemill.domain.kinds import PACKING
from tidemill.errors import Conflict, NotFound
from tidemill.pipelines import pipelines
from tidemill.pipelines.names import check_name
from tidemill.pipelines.nearest import nearest
from tidemill.pipelines.schedules import check_zones


@dataclass(frozen=True, slots=True)
class WatchWish:
    """A watch as a person asks for it."""

    name: str
    pipeline: str
    condition: Condition = field(default_factory=Condition)
    priority: int = 0
    reuse: bool = True
    quiet: Sequence[Mapping[str, Any]] = ()
    """As `domain.quiet_hours.read_quiet` gives them."""


async def define(session: AsyncSession, wish: WatchWish, *, again: bool = False) -> int:
    """Begin a watch, or change the one of that name; the run that takes in items from now on.

    A changed condition is held against all items anew. `again`: items that have entered once enter again.
    Raises NotFound (the pipeline), Conflict (a batch of that name that is not a watch's; a pipeline without steps, or
    the one that packs).
    """
    check_name("a watching run", wish.name)
    await check_zones(session, [hours["zone"] for hours in wish.quiet])
    pipeline = await pipelines.get(session, wish.pipeline)
    if pipeline.name == PACKING:
        raise Conflict(f"The pipeline {PACKING!r} takes packages, and a watching run takes in items.")
    if pipeline.version_id is None:
        raise Conflict(f"Pipeline {wish.pipeline!r} has no steps yet: there is nothing to be done.")
    watch = await _current(session, wish.name)
    run = await session.get(Run, watch.run_id) if watch else None
    batch = await _batch(session, wish.name, again)
    if run is None or run.state != "active" or run.pipeline_version_id != pipeline.version_id or again:
        run = await _new_run(session, wish.name, pipeline.version_id, batch, like=run)
    run.priority, run.reuse, run.quiet = wish.priority, wish.reuse, [dict(hours) for hours in wish.quiet]
    condition = wish.condition.as_json()
    if watch is None:
        session.add(Watch(run_id=run.id, name=wish.name, condition=condition))
    elif watch.condition != condition or watch.run_id != run.id:
        watch.run_id, watch.condition, watch.swept_at = run.id, condition, None
    await session.flush()
    await fetch(session, "watch.wake")
    return run.id


async def succeed(session: AsyncSession, pipeline: str | None = None) -> list[str]:
    """Let every watch whose pipeline has a new version go on with that in a new run; their names."""
    names = [row["name"] for row in await fetch(session, "watch.outdated", {"pipeline": pipeline})]
    for name in names:
        await define(session, await wish_of(session, name))
    return names


async def listing(session: AsyncSession) -> list[Row]:
    """All watches, each with its run, condition, quiet hours, and tasks by state."""
    return await fetch(session, "watch.list", {"name": None})


async def get(session: AsyncSession, name: str) -> Row:
    """One row of `listing`. Raises NotFound, with the name that was meant perhaps."""
    found = await fetch(session, "watch.list", {"name": name})
    if not found:
        close = nearest(name, await session.scalars(select(Watch.name)))
        hint = f"Did you mean {close!r}?" if close else "`tidemill watching` lists them."
        raise NotFound(f"There is no watching run named {name!r}.", hint=hint)
    return found[0]


async def wish_of(session: AsyncSession, name: str) -> WatchWish:
    """What a watch was asked to be. Raises NotFound."""
    row = await get(session, name)
    return WatchWish(
        name, row["pipeline"], Condition.from_json(row["condition"]), row["priority"], row["reuse"], row["quiet"]
    )


async def _current(session: AsyncSession, name: str) -> Watch | None:
    """The watch, its run held: in the order in which the housekeepers take them."""
    run = select(Watch.run_id).where(Watch.name == name).scalar_subquery()
    await session.execute(select(Run.id).where(Run.id == run).with_for_update(key_share=True))
    return await session.scalar(
        select(Watch)
        .where(Watch.name == name)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


async def _batch(session: AsyncSession, name: str, again: bool) -> Batch:
    """The newest batch of the watch; `again`: a new one, named `NAME 2` and so on."""
    known = list(
        await session.scalars(select(Batch).where(Batch.made_from == {"watch": name}).order_by(Batch.id.desc()))
    )
    if known and not again:
        return known[0]
    title = f"{name} {len(known) + 1}" if known else name
    if await session.scalar(select(Batch.id).where(Batch.name == title)):
        raise Conflict(
            f"There is a batch named {title!r} already.",
            hint="A watching run keeps what has entered in a batch of its name: give it another name.",
        )
    batch = Batch(name=title, made_from={"watch": name}, description=f"What entered the watching run {name}.")
    session.add(batch)
    await session.flush()
    return batch


async def _new_run(session: AsyncSession, name: str, version: int, batch: Batch, like: Run | None) -> Run:
    steps = await session.scalars(select(Step.position).where(Step.pipeline_version_id == version))
    run = Run(
        batch_id=batch.id,
        pipeline_version_id=version,
        steps=len(list(steps)),
        watch=name,
        paused=like.paused if like is not None and like.state == "active" else False,
    )
    session.add(run)
    await session.flush()
    return run
