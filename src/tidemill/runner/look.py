"""Looking at runs, items, documents and workers: one service, which pages, API and CLI all call.

Nothing here changes anything. Everything it returns is a dataclass or a row that JSON can hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.states import GRID_BASE, TaskState
from tidemill.errors import InvalidInput, NotFound
from tidemill.feed import changes
from tidemill.feed.watching import BLOCK
from tidemill.runner import runs as steering
from tidemill.runner.outlook import RunOverview, overview
from tidemill.storage.documents import DocumentStore

__all__ = [
    "Grid",
    "ItemView",
    "RunOverview",
    "Window",
    "document",
    "ends",
    "grid",
    "item",
    "items",
    "overview",
    "runs",
    "shown",
    "window",
    "workers",
]

NO_TASK = " "
"""Stands in a grid where the run has no task at a position."""

LIVE_WITHIN = 45.0
"""Seconds since a worker's last sign of life within which it counts as live."""

MOST_ROWS = 1000

WHOLE = 100_000
"""Positions up to which a run's grid is shown whole; of a longer one, `WINDOW` of them at once."""

WINDOW = 2 * BLOCK
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the tasks of a run stand. `cells[n]` is the `grid_code` of the task at position `first + n`, or a space
    where the run has no task there. Following the feed from `seq` misses nothing that came after `cells`.

    The run's tasks have the positions `low` to `high`. They are all here unless these are more than 100,000: then some
    20,000 are, those at the end or those from the position that was asked for.
    """

    run: int
    seq: str
    first: int
    cells: str
    low: int
    high: int
    """-1 for a run without tasks."""
    steps: list[str]
    """The steps' names, in order."""


@dataclass(frozen=True, slots=True)
class Window:
    """A page of a run's tasks in order of position. `next`: the position that the next page begins at, None at the end.

    A task: `id, position, item, step, step_name, state, tries, fence, reason, progress, due_at, due_in, started_at,
    finished_at, seconds, median, estimate, document`. `seconds`: so far, while it runs. `progress` (0 to 1) is what the
    app reported; `estimate` (0 to 0.99) is made from `seconds` and the app's `median` where it reported nothing.
    """

    tasks: list[Row]
    next: int | None


@dataclass(frozen=True, slots=True)
class ItemView:
    """All that is known of an item. `process`: what was done to it, newest last; `attempts`: all tries."""

    item: Row
    files: list[Row]
    tasks: list[Row]
    process: list[Row]
    attempts: list[Row]


async def grid(session: AsyncSession, run: int, from_: int | None = None) -> Grid:
    """Where the tasks of a run stand now, with the feed's position to follow them from; of a long run those around
    position `from_`, or the newest. Raises NotFound."""
    await steering.get(session, run)
    # First the position, then the state: what changes in between is told again, never left out.
    seq = await changes.now(session)
    low, high = await ends(session, run)
    first, last = shown(low, high, from_)
    part = {"run": run, "from": first, "to": last}
    row = await fetch_one(session, "look.grid", part)
    assert row is not None
    cells: str = row["cells"] or ""
    if row["tasks"] and row["last"] - row["first"] + 1 != row["tasks"]:
        cells = await _with_gaps(session, part, cells)
    names = [str(step["name"]) for step in await fetch(session, "runs.steps", {"run": run})]
    return Grid(run, seq, row["first"] or 0, cells, low, high, names)


async def ends(session: AsyncSession, run: int) -> tuple[int, int]:
    """The positions of a run's first and last task; (0, -1) where it has none."""
    row = await fetch_one(session, "look.ends", {"run": run})
    return (row["low"], row["high"]) if row and row["low"] is not None else (0, -1)


def shown(low: int, high: int, from_: int | None = None) -> tuple[int, int]:
    """The positions that a grid shows of a run with these ends: all, or two blocks, `from_` in the first of them."""
    if high - low < WHOLE:
        return low, high
    newest = high // BLOCK - 1
    block = newest if from_ is None else max(low // BLOCK, min(from_ // BLOCK, newest))
    return block * BLOCK, block * BLOCK + WINDOW - 1


def decoded(cell: str) -> tuple[int, TaskState] | None:
    """The step and state that a cell of a grid says, or None where there is no task."""
    if cell == NO_TASK:
        return None
    step, state = divmod(ord(cell) - GRID_BASE, 8)
    return step, list(TaskState)[state]


async def window(
    session: AsyncSession,
    run: int,
    from_: int = 0,
    limit: int = 100,
    *,
    states: Sequence[str] | None = None,
    step: int | None = None,
    search: str | None = None,
) -> Window:
    """A page of a run's tasks from position `from_` on; `search`: letters that the item's name contains.

    Raises NotFound, InvalidInput.
    """
    about = await steering.get(session, run)
    check_limit(limit)
    if unknown := set(states or ()) - {state.value for state in TaskState}:
        raise InvalidInput(
            f"Unknown state {', '.join(sorted(unknown))}.", hint=f"A task is one of {', '.join(TaskState)}."
        )
    # With all steps named, those in rare states are found by an index.
    every = list(range(about["steps"])) if states else None
    params = {
        "run": run,
        "from": from_,
        "states": list(states) if states else None,
        "steps": every if step is None else [step],
        "letters": search or None,
        "grams_of": search if search and about["total"] > WHOLE else None,  # a short run is gone through in order
        "limit": limit + 1,
    }
    rows = await fetch(session, "look.searched" if search else "look.window", params, prepare=False)
    medians: dict[int, float | None] = {}
    if any(row["state"] in ("running", "submitted") for row in rows):
        found = await fetch(session, "look.medians", {"run": run, "sample": 100})
        medians = {row["step"]: row["median"] for row in found}
    tasks = [row | _estimate(row, medians.get(row["step"])) for row in rows[:limit]]
    return Window(tasks, rows[limit]["position"] if len(rows) > limit else None)


async def runs(
    session: AsyncSession,
    *,
    state: str | None = None,
    limit: int = 50,
    offset: int = 0,
    ids: Sequence[int] | None = None,
) -> list[Row]:
    """Runs, newest first: `id, state, paused, priority, total, steps, created_at, finished_at, batch, pipeline,
    pipeline_version`, tasks per state, and `percent` of the work that is settled."""
    check_limit(limit)
    params = {
        "state": state,
        "limit": limit,
        "offset": max(0, offset),
        "ids": list(ids) if ids is not None else None,
    }
    rows = await fetch(session, "look.runs", params)
    for row in rows:
        settled, whole = row.pop("settled_steps"), row["total"] * row["steps"]
        row["percent"] = round(100 * settled / whole, 1) if whole else 100.0
    return rows


async def item(session: AsyncSession, name: str) -> ItemView:
    """All that is known of the item of that name. Raises NotFound."""
    row = await fetch_one(session, "look.item", {"name": name})
    if row is None:
        raise NotFound(f"There is no item named {name!r}.")
    of = {"item": row["id"]}
    return ItemView(
        item=row,
        files=await fetch(session, "items.files", of),
        tasks=await fetch(session, "items.tasks", of),
        process=await fetch(session, "items.process", of),
        attempts=await fetch(session, "items.attempts", of | {"run": None}),
    )


async def items(session: AsyncSession, *, search: str | None = None, limit: int = 50, offset: int = 0) -> list[Row]:
    """Items whose name contains `search`, in order of name, each with where its newest task stands."""
    check_limit(limit)
    params = {"letters": search or None, "limit": limit, "offset": max(0, offset)}
    return await fetch(session, "look.items", params, prepare=False)


async def document(session: AsyncSession, documents: DocumentStore, sha256: str) -> bytes:
    """A document's bytes, checked against their checksum. Raises InvalidInput, NotFound, StorageError."""
    if not _SHA256.fullmatch(sha256):
        raise InvalidInput(f"{sha256[:80]!r} is not a SHA-256: 64 digits from 0 to f.")
    row = await fetch_one(session, "look.document", {"sha256": sha256})
    if row is None:
        raise NotFound(f"There is no document {sha256}.")
    return await documents.read(sha256, row["body"], row["location"])


async def workers(session: AsyncSession) -> list[Row]:
    """The processes that claim tasks: the live ones first, then those that stopped or fell silent in the last day."""
    return await fetch(session, "look.workers", {"seconds": LIVE_WITHIN})


def check_limit(limit: int) -> None:
    """Raises InvalidInput for a page that is empty or too long."""
    if not 1 <= limit <= MOST_ROWS:
        raise InvalidInput(f"limit is {limit}; it must be from 1 to {MOST_ROWS}.")


def _estimate(row: Row, median: float | None) -> Row:
    seconds, progress = row["seconds"], row["progress"]
    if row["state"] not in ("running", "submitted") or not median or seconds is None or progress is not None:
        return {"median": median, "estimate": None}
    return {"median": median, "estimate": round(min(0.99, max(0.0, seconds / median)), 3)}


async def _with_gaps(session: AsyncSession, part: Row, cells: str) -> str:
    row = await fetch_one(session, "look.positions", part)
    assert row is not None
    positions = row["positions"]
    spread = [NO_TASK] * (positions[-1] - positions[0] + 1)
    for position, cell in zip(positions, cells, strict=True):
        spread[position - positions[0]] = cell
    return "".join(spread)
