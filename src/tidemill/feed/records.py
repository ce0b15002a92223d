"""Items' records as the feed shows them: beside a change (`include_docs`), and all at one moment (a snapshot)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import groupby

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.feed.changes import parameters
from tidemill.feed.filters import Filter

AT_ONCE = 1000


async def records(session: AsyncSession, ids: Sequence[int], *, processes: bool = True) -> dict[int, Row]:
    """The records of these items by id, as they are now; those that are gone are left out.

    `name, status, status_reason, metadata, revision, created_at, updated_at, projects, last_step`, and with `processes`
    what was done to each: `process`, oldest first, as on the item's page but without the logs.
    """
    wanted = {"ids": sorted(set(ids))}
    found: dict[int, Row] = {row.pop("id"): row for row in await fetch(session, "feed.records", wanted)}
    if processes:
        for record in found.values():
            record["process"] = []
        steps = await fetch(session, "feed.processes", wanted)
        for item, entries in groupby(steps, lambda row: row["item_id"]):
            if item in found:
                found[item]["process"] = [
                    {key: value for key, value in row.items() if key != "item_id"} for row in entries
                ]
    return found


async def with_docs(session: AsyncSession, results: Sequence[Row]) -> None:
    """Put beside each change of an item or its tasks the item's record: `doc`, None where it is gone.

    Beside a task's change comes where the task stands `now`: two transactions that moved it one after the other can
    have taken their numbers the other way round.
    """
    docs = await records(session, [row["item_id"] for row in results if row["item_id"] is not None])
    tasks = sorted({row["task"] for row in results if row["kind"] == "task" and row["task"] is not None})
    stands = {
        row["id"]: {"state": row["state"], "step": row["step"]}
        for row in (await fetch(session, "feed.stands", {"tasks": tasks}) if tasks else [])
    }
    for row in results:
        if row["item_id"] is not None:
            row["doc"] = docs.get(row["item_id"])
        if row["kind"] == "task":
            row["now"] = stands.get(row["task"])


async def matching(session: AsyncSession, which: Filter, *, processes: bool) -> AsyncIterator[list[Row]]:
    """The records that match, in order of their making, a list of up to 1,000 at a time. In a held snapshot they are of
    one moment."""
    await fetch(session, "feed.plan")
    params = await parameters(session, which)
    after = 0
    while rows := await fetch(session, "feed.matching", params | {"after": after, "most": AT_ONCE}):
        ids = [row["id"] for row in rows]
        after = ids[-1]
        if which.last_steps:
            ids = [row["id"] for row in await fetch(session, "feed.narrow", params | {"ids": ids})]
        found = await records(session, ids, processes=processes) if ids else {}
        yield list(found.values())
