"""Items: searching, adding, deleting. Editing is in `edits`, the status of many in `statuses`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import edits, records
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain import item_edits
from tidemill.domain.item_search import parse_search
from tidemill.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the items that a search finds, in order of name, and how many it finds in all."""

    total: int
    rows: list[Row]
    """`id, name, status, status_reason, metadata, revision, created_at, updated_at, projects`; `files`: how many;
    `size`: their bytes."""


@dataclass(frozen=True, slots=True)
class Added:
    """How many items were made, and how many of those that existed were changed."""

    created: int
    changed: int


async def search(
    session: AsyncSession, query: str = "", *, limit: int = 100, offset: int = 0, count_to: int | None = None
) -> Page:
    """The items that a search finds (`domain.item_search` has the language). Raises InvalidInput.

    With `count_to` the total is counted so far, and to the end of this page: it is one more where there are others.
    """
    most = None if count_to is None else max(count_to, offset + limit) + 1
    params = parse_search(query).params() | {"most": most}
    found = await fetch(session, "catalogue.matching", params | {"limit": limit, "offset": offset}, prepare=False)
    if not found:
        first = await fetch(session, "catalogue.matching", params | {"limit": 1, "offset": 0}) if offset else []
        return Page(first[0]["total"] if first else 0, [])
    return Page(found[0]["total"], await _rows(session, [row["id"] for row in found]))


async def count(session: AsyncSession) -> int:
    """How many items the site has."""
    row = await fetch_one(session, "catalogue.count")
    return int(row["total"]) if row else 0


async def get(session: AsyncSession, name: str) -> Row:
    """One item: the columns of `Page.rows`, and `file_list` (`source, url, key, size, etag, modified_at, attributes`).

    Raises NotFound.
    """
    found = await fetch_one(session, "catalogue.by_name", {"name": name}) if "\0" not in name else None
    if found is None:
        raise NotFound(f"There is no item named {name!r}.")
    row = (await _rows(session, [found["id"]]))[0]
    return row | {"file_list": await fetch(session, "items.files", {"item": found["id"]})}


async def add(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> Added:
    """Make items, or change those that exist, all or none; a row is as `edits.apply` has it, which answers each.

    Raises what the first row that cannot be taken is refused for.
    """
    created = changed = 0
    for start in range(0, len(rows), edits.MOST_ROWS):
        answers = await edits.apply(session, rows[start : start + edits.MOST_ROWS])
        for answer in answers:
            if answer.error is not None:
                raise answer.error
        numbers = edits.counted(answers)
        created, changed = created + numbers[edits.CREATED], changed + numbers[edits.CHANGED]
    return Added(created, changed)


async def delete(session: AsyncSession, name: str, revision: int | None = None) -> None:
    """Take an item away for good, if nothing refers to it.

    Raises NotFound; Conflict: it is a package, has files, a past, stands in batches or runs, is not at this revision.
    """
    held = (await records.hold(session, [name] if "\0" not in name else [], {})).records.get(name)
    if held is None:
        raise NotFound(f"There is no item named {name!r}.")
    item_edits.check_own(held)
    item_edits.check_expected(item_edits.Edit(name, revision=revision), held)
    row = await fetch_one(session, "items.referring", {"item": held.id})
    assert row is not None
    if reasons := [f"{what} ({number:,})" for what, number in row.items() if number]:
        raise Conflict(
            f"{name!r} cannot be deleted: there are {', '.join(reasons)}.",
            hint="What was done to an item is kept. Give it a status that keeps it out of work, such as `hidden`.",
        )
    await fetch(session, "left_over.withdraw", {"item": held.id})
    await fetch(session, "items.delete", {"item": held.id})


async def _rows(session: AsyncSession, ids: list[int]) -> list[Row]:
    return await fetch(session, "catalogue.rows", {"ids": orjson.dumps(ids).decode()})
