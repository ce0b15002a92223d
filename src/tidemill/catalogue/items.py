"""Items: searching, adding, their status."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import projects
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.item_search import parse_search
from tidemill.errors import Conflict, InvalidInput, NotFound, UnknownIds

CHUNK = 5000
LONGEST_STATUS = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the items that a search finds, in order of name, and how many it finds in all."""

    total: int
    rows: list[Row]
    """`id, name, status, metadata, revision, created_at, updated_at, projects, files` (how many), `size` (bytes)."""


@dataclass(frozen=True, slots=True)
class Added:
    """How many items were made, and how many of those that existed were changed."""

    created: int
    changed: int


async def search(session: AsyncSession, query: str = "", *, limit: int = 100, offset: int = 0) -> Page:
    """The items that a search finds (`domain.item_search` has the language). Raises InvalidInput."""
    params = parse_search(query).params()
    found = await fetch(session, "catalogue.matching", params | {"limit": limit, "offset": offset})
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


async def add(session: AsyncSession, rows: Iterable[Mapping[str, Any]]) -> Added:
    """Make items, or change those that exist. A row has `name`, and where it likes `status`, `metadata` (merged key by
    key), `projects` (names; made where they do not exist).

    Raises InvalidInput for a row without a name or with an unknown key, Conflict for a locked project.
    """
    created = changed = 0
    given = iter(rows)
    while chunk := [_checked(row) for row in itertools.islice(given, CHUNK)]:
        row = await fetch_one(session, "catalogue.add_items", {"rows": _json(chunk)})
        assert row is not None
        created, changed = created + row["created"], changed + row["changed"]
        pairs = [(project, one["name"]) for one in chunk for project in one["projects"]]
        await projects.place(session, pairs)
    await fetch(session, "catalogue.announce")
    if created > CHUNK:
        await fetch(session, "catalogue.analyze")
    return Added(created, changed)


async def set_status(session: AsyncSession, names: Sequence[str], status: str, expected: str | None = None) -> int:
    """Give items a status; how many had another. `expected`: only if all of them have this one now.

    Raises UnknownIds, Conflict (some have another status than expected), InvalidInput. Nothing is changed then.
    """
    if not status.strip() or len(status) > LONGEST_STATUS or not status.isprintable():
        raise InvalidInput(f"{status[:LONGEST_STATUS]!r} cannot be a status: a short word is.")
    listed = _json(list(names))
    unknown = await fetch(session, "catalogue.unknown", {"names": listed})
    if unknown:
        raise UnknownIds([row["name"] for row in unknown])
    await fetch(session, "catalogue.lock_items", {"names": listed})
    if expected is not None:
        others = await fetch(session, "catalogue.not_in_status", {"names": listed, "expected": expected})
        if others:
            shown = ", ".join(f"{row['name']} ({row['status']})" for row in others[:10])
            raise Conflict(f"{len(others)} items are not {expected!r}: {shown}", hint="Nothing was changed.")
    row = await fetch_one(session, "catalogue.set_status", {"names": listed, "status": status})
    await fetch(session, "catalogue.announce")
    return int(row["items"]) if row else 0


async def _rows(session: AsyncSession, ids: list[int]) -> list[Row]:
    return await fetch(session, "catalogue.rows", {"ids": orjson.dumps(ids).decode()})


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    name = row.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput(f"An item has no name: {str(dict(row))[:200]}")
    unknown = set(row) - {"name", "status", "metadata", "projects"}
    if unknown:
        raise InvalidInput(
            f"Item {name!r} has {', '.join(sorted(unknown))}; an item has name, status, metadata, projects."
        )
    return {
        "name": name,
        "status": row.get("status"),
        "metadata": dict(row.get("metadata") or {}),
        "projects": list(row.get("projects") or []),
    }


def _json(value: Any) -> str:
    try:
        text = orjson.dumps(value).decode()
    except TypeError as error:
        raise InvalidInput(f"This is not text that can be stored: {error}.") from None
    if "\\u0000" in text:
        raise InvalidInput("A name or value has a NUL character in it, which the database cannot hold.")
    return text
