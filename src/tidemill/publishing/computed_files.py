"""Looking at computed files, as operators see them: what there is of each package, and how it stands."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import InvalidInput, NotFound
from tidemill.publishing import left_over as left_overs
from tidemill.publishing.planning import no_projects

MOST_ROWS = 1000

STATES = {
    "current": "It is there, and made from the newest plan.",
    "outdated": "It is there, and its plan is no longer the newest: make it anew.",
    "being built": "A run has it in hand; what was there before can be fetched until it is done.",
    "being checked": "It was built, and is not published until its bytes have been seen in the store.",
    "failed": "The last run could not make it; what was there before, if anything, can be fetched.",
    "missing": "There is none: its run was cancelled, or taken away.",
    "purged": "Its project was taken away, or nothing called for it any more; its files went with that.",
    "left over": "Nothing calls for it any more; it can be fetched until it is retired.",
    "expired": "It can no longer be fetched.",
    "replaced": "Another was made; its bytes stay for publishing.keep_replaced.",
    "retired": "Nothing called for it any more; its bytes stay for publishing.keep_replaced.",
    "removed": "It was replaced or retired, and its bytes are gone.",
}
"""How a package or one of its files may stand."""


async def listing(
    session: AsyncSession,
    *,
    projects: Sequence[str] | None = None,
    package: str | None = None,
    replaced: bool = False,
    left_over: bool = False,
    limit: int = 100,
    offset: int = 0,
) -> list[Row]:
    """Packages in order of name, each with its current file where it has one (`id` None: it has none), and with
    `replaced` those before it: `id, name, package, project, state` (one of `STATES`), `size, sha256, files, store, key,
    attributes, created_at, updated_at, replaced_at, removed_at, expires_at, downloads`; the attempt that made it: `run,
    task, fence`; `newest_run, reason` of the package's newest task; and `left_over`: why nothing calls for it any more,
    where that is so (alone those, if asked for).

    Raises InvalidInput, NotFound (a project).
    """
    if not 1 <= limit <= MOST_ROWS:
        raise InvalidInput(f"limit is {limit}; it must be from 1 to {MOST_ROWS}.")
    await known_projects(session, projects)
    params = {
        "projects": None if projects is None else list(projects),
        "item": package,
        "replaced": replaced,
        "left_over": left_over,
        "limit": limit,
        "offset": max(0, offset),
    }
    return await fetch(session, "computed_files.listing", params, prepare=False)


async def known_projects(session: AsyncSession, projects: Sequence[str] | None) -> None:
    """Raises NotFound where one of these is none."""
    if projects is not None:
        asked = {"names": orjson.dumps(list(projects)).decode()}
        if unknown := await fetch(session, "computed_files.unknown_projects", asked):
            raise NotFound(no_projects([row["name"] for row in unknown]))


async def get(session: AsyncSession, file: int) -> Row:
    """One computed file, replaced or not, with the items that it holds. Raises NotFound."""
    row = await fetch_one(session, "computed_files.get", {"id": file})
    if row is None:
        raise NotFound(f"There is no computed file {file}.")
    return row


async def totals(session: AsyncSession) -> Row:
    """How many `packages` the site knows, how many of them have a `current` file, the `size` of these in bytes, and how
    many of them are `left_over`."""
    row = await fetch_one(session, "computed_files.totals")
    assert row is not None
    return row | {"left_over": await left_overs.count(session)}
