"""Old against new after a re-run: of one item side by side, of a whole run in numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain import json_diff
from tidemill.domain.json_diff import Comparison
from tidemill.errors import InvalidInput, NotFound, StorageError
from tidemill.runner import runs
from tidemill.storage.documents import DocumentStore

LOOKED_AT = 200
"""Pairs of documents of a step that are read to say how much they differ; the others are counted as different alone."""

LARGEST = 20_000_000
"""Bytes of a document up to which it is compared key by key."""

GENERATIONS = 50
KEYS = 50
SIDE = ("app", "version", "app_said", "parameters", "outcome", "started_at", "finished_at", "seconds", "hostname",
        "reused", "files", "inputs", "output", "size", "fence")  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepSides:
    """A step's old and new result, each `SIDE`; None where there is none. `comparison`: of their documents.

    `problem` says why the documents could not be compared.
    """

    position: int
    step: str
    old: Row | None
    new: Row | None
    equal: bool | None
    comparison: Comparison | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ItemComparison:
    """What a re-run changed of an item. `at`: when the old results were put aside.

    `generations`: all such times, newest first, each `run, task, at, position, results`.
    """

    item: str
    run: int
    task: int
    at: dt.datetime
    generations: list[Row]
    steps: list[StepSides]


@dataclass(slots=True)
class StepTable:
    """A step of a re-run in numbers: old results that equal the new ones, differ, or have none to be compared with.

    Of `looked_at` pairs that differ, `only_times` do so in time stamps alone; `largest`: the largest relative change of
    a number by key, the largest first; `unreadable`: those whose documents could not be read. Mean `seconds` of both.
    """

    position: int
    step: str
    results: int
    equal: int
    differ: int
    missing: int
    old_seconds: float | None
    new_seconds: float | None
    looked_at: int = 0
    only_times: int = 0
    unreadable: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    """In how many of those pairs which key differs."""
    items: list[str] = field(default_factory=list)
    """The first items that differ in more than time stamps."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """A whole re-run: what was put aside at `at` beside what stands now. `generations` as of an item, with `tasks`."""

    run: int
    at: dt.datetime
    generations: list[Row]
    steps: list[StepTable]


async def item(
    session: AsyncSession,
    documents: DocumentStore,
    name: str,
    *,
    run: int | None = None,
    step: str | None = None,
    at: str | None = None,
) -> ItemComparison:
    """An item's old results beside the new ones, after its last re-run or the one named by its time.

    Raises NotFound (no such item, run, step; it was never re-run), InvalidInput.
    """
    row = await fetch_one(session, "look.item", {"name": name})
    if row is None:
        raise NotFound(f"There is no item named {name!r}.")
    generations = await fetch(session, "compare.replaced", {"item": row["id"], "run": run})
    if not generations:
        where = f" in run {run}" if run is not None else ""
        raise NotFound(f"Nothing of {name} was put aside{where}: there is nothing to compare with.")
    chosen = _chosen(generations, at)
    sides = await fetch(session, "compare.sides", {"task": chosen["task"], "at": chosen["at"]})
    steps = [s for s in dict.fromkeys((side["position"], side["step"]) for side in sides) if step in (None, s[1])]
    if step is not None and not steps:
        raise NotFound(f"{name} has no result of a step {step!r} in run {chosen['run']}.")
    made = [await _sides(documents, sides, position, title) for position, title in steps]
    shown = [one for one in made if step is not None or one.position >= chosen["position"]]
    return ItemComparison(name, chosen["run"], chosen["task"], chosen["at"], generations, shown)


async def whole_run(
    session: AsyncSession, documents: DocumentStore, run: int, *, at: str | None = None, step: str | None = None
) -> RunComparison:
    """What a re-run changed in a whole run. Raises NotFound (no such run; nothing was put aside), InvalidInput."""
    await runs.get(session, run)
    generations = await fetch(session, "compare.generations", {"run": run, "limit": GENERATIONS})
    if not generations:
        raise NotFound(f"Nothing of run {run} was put aside: there is nothing to compare with.")
    chosen = _chosen(generations, at)
    which = {"run": run, "at": chosen["at"]}
    tables = [StepTable(**row) for row in await fetch(session, "compare.run", which)]
    tables = [table for table in tables if step in (None, table.step)]
    for table in tables:
        if table.differ:
            await _look_into(session, documents, table, which)
    return RunComparison(run, chosen["at"], generations, tables)


async def generation(session: AsyncSession, run: int, at: str) -> dt.datetime:
    """The time that its beginning names, among those at which something of a run was put aside. Raises InvalidInput."""
    found: dt.datetime = _chosen(await fetch(session, "compare.generations", {"run": run, "limit": GENERATIONS}), at)[
        "at"
    ]
    return found


def _chosen(generations: Sequence[Row], at: str | None) -> Row:
    """The newest generation, or that which the beginning of a time names. Raises InvalidInput."""
    if at is None:
        return generations[0]
    wanted = at.strip().replace(" ", "T").rstrip("Z")
    found = [row for row in generations if time_of(row["at"]).startswith(wanted)]
    if len({row["at"] for row in found}) != 1:
        known = ", ".join(dict.fromkeys(time_of(row["at"]) for row in generations[:5])) or "none"
        raise InvalidInput(
            f"{'Nothing' if not found else 'More than one thing'} was put aside at {at!r}.",
            hint=f"Times at which something was: {known}.",
        )
    return found[0]


def time_of(at: dt.datetime) -> str:
    """A generation's name: when it was put aside, in UTC, to the microsecond."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


async def _sides(documents: DocumentStore, sides: Sequence[Row], position: int, step: str) -> StepSides:
    of = [side for side in sides if side["position"] == position]
    old = next((side for side in of if not side["stands"]), None)
    new = next((side for side in of if side["stands"]), None)
    before, after = (None if side is None else {key: side[key] for key in SIDE} for side in (old, new))
    if old is None or new is None:
        return StepSides(position, step, before, after, None)
    if old["output"] == new["output"]:
        return StepSides(position, step, before, after, True, Comparison())
    try:
        comparison = await _compared(documents, old, new)
    except StorageError as error:
        return StepSides(position, step, before, after, False, problem=error.message)
    return StepSides(position, step, before, after, comparison.equal, comparison)


async def _compared(documents: DocumentStore, old: Row, new: Row) -> Comparison:
    """Raises StorageError: a document is lost, too large, or no JSON."""
    before, after = [await _read(documents, side) for side in (old, new)]
    return json_diff.compare(before, after)


async def _read(documents: DocumentStore, side: Row) -> Any:
    if side["size"] > LARGEST:
        raise StorageError(f"Document {side['output'][:12]} has {side['size']:,} bytes: too large to compare by key.")
    body = await documents.read(side["output"], side["body"], side["location"])
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise StorageError(f"Document {side['output'][:12]} is not JSON.") from None


async def _look_into(session: AsyncSession, documents: DocumentStore, table: StepTable, which: dict[str, Any]) -> None:
    """Read some of the pairs that differ, and say in which keys and by how much."""
    asked = which | {"step": table.position, "limit": LOOKED_AT}
    for pair in await fetch(session, "compare.differing", asked):
        old, new = ({"output": pair[s]} | {k: pair[f"{s}_{k}"] for k in ("size", "body", "location")}
                    for s in ("old", "new"))  # fmt: skip
        table.looked_at += 1
        try:
            found = await _compared(documents, old, new)
        except StorageError:
            table.unreadable += 1
            continue
        _add(table, pair["item"], found)
    table.largest = dict(sorted(table.largest.items(), key=lambda entry: -entry[1])[:KEYS])
    table.keys = dict(sorted(table.keys.items(), key=lambda entry: -entry[1])[:KEYS])


def _add(table: StepTable, item: str, found: Comparison) -> None:
    table.only_times += found.equal
    if not found.equal and len(table.items) < KEYS:
        table.items.append(item)
    for key in {one.path for one in found.differences if not one.volatile}:
        table.keys[key] = table.keys.get(key, 0) + 1
    for key, share in found.largest.items():
        table.largest[key] = max(share, table.largest.get(key, 0.0))
