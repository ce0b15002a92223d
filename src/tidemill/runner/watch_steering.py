"""Steering watching runs: begin, end; and why an item is, or is not, in them. The door commits, then announces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.conditions import Condition
from tidemill.errors import NotFound
from tidemill.pipelines import watching
from tidemill.pipelines.pipelines import get as get_pipeline
from tidemill.pipelines.watching import WatchWish
from tidemill.runner import runs
from tidemill.runner.watch import MARK
from tidemill.runner.watch_condition import facts


@dataclass(frozen=True, slots=True)
class Reason:
    """Whether an item is in a watching run, and why. `entered`: where it stands in the watch's runs, newest first."""

    watch: str
    run: int
    entered: list[Row]
    missed: list[str]
    """Every clause of the condition that the item does not meet; none: it matches."""
    told: str
    """In one sentence."""


async def start(session: AsyncSession, wish: WatchWish, *, again: bool = False) -> int:
    """Begin or change a watch after a look at its chain; the run that takes in items now.

    Raises what `watching.define` raises, and as `runs.start` does where the chain's apps do not fit.
    """
    pipeline = await get_pipeline(session, wish.pipeline)
    if pipeline.version_id is not None:
        runs.check(await runs.chain(session, pipeline.version_id))
    return await watching.define(session, wish, again=again)


async def resume(session: AsyncSession, name: str) -> None:
    """Let a paused watch go on, and take in at once what came meanwhile. Raises NotFound, Conflict."""
    await runs.pause(session, (await watching.get(session, name))["run"], False)
    await fetch(session, "watch.wake")


async def end(session: AsyncSession, name: str) -> Row:
    """Take in nothing more: what has entered is finished, what was held because it no longer matches is cancelled.

    `{"run", "cancelled"}`. Raises NotFound.
    """
    watch = await watching.get(session, name)
    cancelled = 0
    for run, tasks in sorted((await held_back(session, name)).items()):
        reason = f"the watching run {name} was ended while the item did not match"
        cancelled += await runs.cancel(session, run, tasks, reason=reason)
    await fetch(session, "watch.forget", {"name": name})
    await runs.announce(session)
    return {"run": watch["run"], "cancelled": cancelled}


async def held_back(session: AsyncSession, name: str) -> dict[int, list[int]]:
    """The tasks of a watch that wait since their items no longer match, by run."""
    held: dict[int, list[int]] = {}
    for task in await fetch(session, "watch.held_back", {"name": name, "mark": MARK}):
        held.setdefault(task["run_id"], []).append(task["id"])
    return held


async def why(session: AsyncSession, item: str, watch: str | None = None) -> list[Reason]:
    """For each watch, or one: where the item stands in it, or every reason why it has not entered. Raises NotFound."""
    row = await fetch_one(session, "look.item", {"name": item}) if "\0" not in item else None
    if row is None:
        raise NotFound(f"There is no item named {item!r}.")
    known = (await facts(session, [row["id"]]))[row["id"]]
    watches = [await watching.get(session, watch)] if watch else await watching.listing(session)
    reasons = []
    for one in watches:
        entered = await fetch(session, "watch.entered", {"item": row["id"], "name": one["name"]})
        missed = Condition.stored(one["exactly"]).missed(known)
        reasons.append(Reason(one["name"], one["run"], entered, missed, _told(one, entered, missed)))
    return reasons


def _told(watch: Row, entered: list[Row], missed: list[str]) -> str:
    if entered:
        task = entered[0]
        where = f"is {task['state']} at {task['step_name']} in run {task['run']}"
        why = f": {task['reason']}" if task["reason"] else ""
        return f"It entered, and {where}{why}."
    if watch["state"] != "active":
        return f"It has not entered: run {watch['run']} is {watch['state']}, and takes in nothing more."
    if missed:
        return f"It has not entered: {'; '.join(missed)}."
    if watch["paused"]:
        return "It matches, and enters when the run is resumed: it is paused."
    return "It matches, and is about to enter."


def outline(watch: Row) -> dict[str, Any]:
    """A watch for JSON: its row, and its condition in words."""
    row = {key: value for key, value in watch.items() if key != "exactly"}
    return row | {"in_words": Condition.stored(watch["exactly"]).in_words()}
