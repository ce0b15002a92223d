"""Going back: what a re-run has put aside stands again, and what it made is put aside. That can be undone alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.domain.states import TaskState
from tidemill.errors import Conflict
from tidemill.runner import compare, redo, runs
from tidemill.runner.redo import Filter

UNFINISHED = "it stood unfinished when it was re-run, and a person went back to that"


@dataclass(frozen=True, slots=True)
class Preview:
    """What going back would touch. `states`: how the `tasks` would stand then."""

    tasks: int
    states: dict[str, int]
    back: int
    """Old results that stand again."""
    aside: int
    """Results that stand now and are put aside (kept, and marked superseded)."""
    busy: int
    """Tasks that are being worked on, and so are left alone."""
    nothing: int
    """Tasks of which nothing was put aside, or nothing at that time."""
    unfit: int
    """Tasks whose old results began from another document than stands before them now: go back step by step."""


async def preview(session: AsyncSession, run: int, which: Filter | None = None, *, to: str | None = None) -> Preview:
    """What `go_back` with the same arguments would touch now. Raises NotFound, InvalidInput."""
    tasks = await redo.matching(session, run, which or Filter())
    rows = await _chosen(session, run, tasks, to)
    moving = [row for row in rows if _moves(row)]
    return Preview(
        tasks=len(moving),
        states=dict(Counter(_standing(row)["state"] for row in moving)),
        back=sum(row["back"] for row in moving),
        aside=sum(row["aside"] for row in moving),
        busy=sum(row["busy"] for row in rows),
        nothing=len(tasks) - len(rows),
        unfit=sum(not row["busy"] and not row["fits"] for row in rows),
    )


async def go_back(session: AsyncSession, run: int, which: Filter | None = None, *, to: str | None = None) -> int:
    """Let what was put aside last, or at the time `to`, stand again; of how many tasks.

    Nothing is started: what stood unfinished then is cancelled, and waits for a person's retry. The items' records keep
    what steps have written in them. Raises NotFound, InvalidInput, Conflict (there is nothing to go back to).
    """
    tasks = await redo.matching(session, run, which or Filter())
    await fetch(session, "runs.hold", {"tasks": tasks})
    moving = [row for row in await _chosen(session, run, tasks, to) if _moves(row)]
    if not moving:
        raise Conflict(
            f"Nothing of run {run} that matches can go back: it was not re-run, is being worked on, or no longer fits.",
            hint="Nothing was changed.",
        )
    back = [{key: row[key] for key in ("task", "at", "first", "document")} | _standing(row) for row in moving]
    await fetch(session, "compare.go_back", {"back": orjson.dumps(back).decode()})
    await runs.announce(session)
    return len(moving)


async def _chosen(session: AsyncSession, run: int, tasks: Sequence[int], to: str | None) -> Sequence[Row]:
    at = await compare.generation(session, run, to) if to is not None else None
    return await fetch(session, "compare.chosen", {"tasks": list(tasks), "at": at})


def _moves(row: Row) -> bool:
    return not row["busy"] and bool(row["fits"])


def _standing(row: Row) -> dict[str, Any]:
    """How a task stands when its old results stand again."""
    if row["position"] >= row["steps"]:
        return {
            "state": str(TaskState.DONE),
            "step": row["steps"] - 1,
            "reason": None,
            "finished_at": row["finished_at"],
        }
    if row["stopped"] == "failed":
        return {"state": str(TaskState.FAILED), "step": row["position"], "reason": row["error"], "finished_at": None}
    return {"state": str(TaskState.CANCELLED), "step": row["position"], "reason": UNFINISHED, "finished_at": None}
