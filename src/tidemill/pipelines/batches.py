"""Batches: named sets of items, made from a project, ids, a search, or other batches. All of one, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.db.models import Batch, Pipeline, Project
from tidemill.domain.item_edits import package_refused
from tidemill.domain.item_search import literal, parse_search
from tidemill.domain.kinds import OF_PACKAGES
from tidemill.errors import Conflict, InvalidInput, NotFound, UnknownIds
from tidemill.pipelines import pipelines
from tidemill.pipelines.names import check_name
from tidemill.pipelines.nearest import nearest

_BETWEEN_IDS = re.compile(r"[\s,;]+")
PACKAGES_HINT = "`tidemill generate-computed-files` makes a batch of those that are due."
EXAMPLES = 20
"""Names shown of the items that stand in one part of a combined batch alone."""


@dataclass(frozen=True, slots=True)
class FromProject:
    """All items of a project, in order of name."""

    project: str


@dataclass(frozen=True, slots=True)
class FromIds:
    """Items by name, in this order. Text is split at commas, semicolons and white space; a list is taken as it is."""

    ids: str | Sequence[str]


@dataclass(frozen=True, slots=True)
class FromSearch:
    """All items that a search finds (`domain.item_search` has the language), in order of name."""

    query: str


@dataclass(frozen=True, slots=True)
class FromBatch:
    """A duplicate: the same items in the same order, the same pipeline and description."""

    batch: str


@dataclass(frozen=True, slots=True)
class FromBatches:
    """The union of several batches: the items of the first in order, then what each next one adds."""

    batches: Sequence[str]


Source = FromProject | FromIds | FromSearch | FromBatch | FromBatches


@dataclass(frozen=True, slots=True)
class Part:
    """One of the batches that were combined, and what is its own."""

    name: str
    pipeline: str | None
    size: int
    only_here: int
    """Items that stand in none of the other parts."""
    only_names: list[str]
    """The first of those."""
    shared: int
    """Items that stand in another part as well."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between the parts of a combined batch."""

    parts: list[Part]

    @property
    def pipelines(self) -> list[str]:
        """The pipelines that the parts are meant for; more than one: the combined batch has none."""
        return list(dict.fromkeys(part.pipeline for part in self.parts if part.pipeline))

    @property
    def same(self) -> bool:
        """Whether all parts hold the same items and are meant for the same pipeline."""
        return all(part.only_here == 0 for part in self.parts) and len({(p.size, p.pipeline) for p in self.parts}) == 1


@dataclass(frozen=True, slots=True)
class Made:
    """A batch that was just made; `comparison` only where several were combined."""

    id: int
    name: str
    size: int
    comparison: Comparison | None = None


async def make(
    session: AsyncSession, name: str, source: Source, *, description: str | None = None, pipeline: str | None = None
) -> Made:
    """Make a batch. `description` and `pipeline` None: the source's own where it is a batch, else none.

    Raises Conflict (the name is taken), UnknownIds (lists all that are no item's), NotFound (project, batch,
    pipeline), InvalidInput (a name that cannot be one, a search that cannot be read, nothing to put in). Whatever it
    raises, roll back: nothing is made.
    """
    check_name("a batch", name)
    if await session.scalar(select(Batch.id).where(Batch.name == name)) is not None:
        raise Conflict(f"There is a batch named {name!r} already.", hint="Choose another name.")
    meant_for = (await pipelines.get(session, pipeline)).id if pipeline is not None else None
    batch = Batch(name=name, description=description or "", pipeline_id=meant_for, made_from={})
    comparison = None
    match source:
        case FromProject():
            size = await _from_project(session, batch, source)
        case FromIds():
            size = await _from_ids(session, batch, source)
        case FromSearch():
            size = await _from_search(session, batch, source)
        case FromBatch():
            size = await _duplicate(session, batch, source, description is None)
        case FromBatches():
            size, comparison = await _combine(session, batch, source)
    if not size:
        raise InvalidInput(f"Batch {name!r} would be empty: {_empty(source)}.", hint="Nothing was made.")
    return Made(batch.id, name, size, comparison)


async def compare(session: AsyncSession, batches: Sequence[str]) -> Comparison:
    """What differs between several batches, without making anything. Raises NotFound."""
    parts = orjson.dumps([(await get(session, name)).id for name in batches]).decode()
    rows = await fetch(session, "batches.differences", {"parts": parts, "examples": EXAMPLES})
    return Comparison([Part(**row) for row in rows])


async def get(session: AsyncSession, name: str) -> Batch:
    """The batch of that name. Raises NotFound, with the name that was meant perhaps."""
    batch = await session.scalar(select(Batch).where(Batch.name == name))
    if batch is None:
        close = nearest(name, await session.scalars(select(Batch.name)))
        hint = f"Did you mean {close!r}?" if close else "`tidemill batch list` shows them."
        raise NotFound(f"There is no batch named {name!r}.", hint=hint)
    return batch


async def listing(session: AsyncSession, *, contains: str = "", limit: int = 100, offset: int = 0) -> list[Row]:
    """Batches, newest first: `size, started, completed, successful, failed, not_started` count items; an item counts as
    its newest task in any run of the batch stands. `completed_percent` and `successful_percent` are of the size.
    """
    pattern = f"%{literal(contains)}%" if contains else None
    params = {"name": None, "contains": pattern, "limit": limit, "offset": offset}
    return [_with_percent(row) for row in await fetch(session, "batches.list", params)]


async def standing(session: AsyncSession, name: str, *, names: int = 1000) -> Row:
    """One row as `listing` gives it, with `not_started_names`: up to `names` of them, in order. Raises NotFound."""
    batch = await get(session, name)
    row = await fetch_one(session, "batches.list", {"name": name, "contains": None, "limit": 1, "offset": 0})
    assert row is not None
    waiting = await fetch(session, "batches.not_started", {"batch": batch.id, "limit": names})
    return _with_percent(row) | {"not_started_names": [one["name"] for one in waiting]}


async def items(session: AsyncSession, name: str, *, after: int = -1, limit: int = 1000) -> list[Row]:
    """A batch's items in order, from behind position `after` on. Raises NotFound."""
    batch = await get(session, name)
    return await fetch(session, "batches.items", {"batch": batch.id, "after": after, "limit": limit})


def split_ids(pasted: str) -> list[str]:
    """Ids out of pasted text: split at commas, semicolons and white space, quotes around them taken off."""
    return [bare for word in _BETWEEN_IDS.split(pasted) if (bare := word.strip("\"'\ufeff"))]


async def _from_project(session: AsyncSession, batch: Batch, source: FromProject) -> int:
    project = await session.scalar(select(Project).where(Project.name == source.project))
    if project is None:
        close = nearest(source.project, await session.scalars(select(Project.name)))
        raise NotFound(
            f"There is no project named {source.project!r}.", hint=f"Did you mean {close!r}?" if close else None
        )
    batch.made_from = {"project": source.project}
    return await _fill(session, batch, "from_project", project=project.id)


async def _from_ids(session: AsyncSession, batch: Batch, source: FromIds) -> int:
    ids = split_ids(source.ids) if isinstance(source.ids, str) else list(source.ids)
    names = list(dict.fromkeys(ids))
    unreadable = [one for one in names if not _storable(one)]
    listed = orjson.dumps([one for one in names if _storable(one)]).decode()
    unknown = {row["name"] for row in await fetch(session, "catalogue.unknown", {"names": listed})} | set(unreadable)
    if unknown:
        raise UnknownIds([one for one in names if one in unknown])
    if packages := await fetch(session, "catalogue.packages", {"names": listed}):
        raise package_refused([row["name"] for row in packages])
    batch.made_from = {"ids": len(names)}
    return await _fill(session, batch, "from_names", names=listed)


async def _from_search(session: AsyncSession, batch: Batch, source: FromSearch) -> int:
    params = parse_search(source.query).params() | {"limit": None, "offset": 0}
    found = await fetch(session, "catalogue.matching", params)
    batch.made_from = {"search": source.query}
    return await _fill(session, batch, "from_ids", ids=orjson.dumps([row["id"] for row in found]).decode())


async def _duplicate(session: AsyncSession, batch: Batch, source: FromBatch, keep_description: bool) -> int:
    original = await get(session, source.batch)
    if keep_description:
        batch.description = original.description
    batch.pipeline_id = batch.pipeline_id or original.pipeline_id
    batch.made_from = {**original.made_from, "duplicate_of": source.batch}
    return await _fill(session, batch, "from_batches", parts=orjson.dumps([original.id]).decode())


async def _combine(session: AsyncSession, batch: Batch, source: FromBatches) -> tuple[int, Comparison]:
    names = list(dict.fromkeys(source.batches))
    if len(names) < 2:
        raise InvalidInput("To combine batches, name at least two different ones.")
    comparison = await compare(session, names)
    if batch.pipeline_id is None and len(comparison.pipelines) == 1:
        batch.pipeline_id = await session.scalar(select(Pipeline.id).where(Pipeline.name == comparison.pipelines[0]))
    batch.made_from = {"batches": names}
    parts = [await get(session, name) for name in names]
    if OF_PACKAGES in {key for part in parts for key in part.made_from}:
        raise InvalidInput("A batch of packages is not combined with others.", hint=PACKAGES_HINT)
    ids = [part.id for part in parts]
    return await _fill(session, batch, "from_batches", parts=orjson.dumps(ids).decode()), comparison


async def _fill(session: AsyncSession, batch: Batch, statement: str, **params: Any) -> int:
    session.add(batch)
    await session.flush()
    row = await fetch_one(session, f"batches.{statement}", {"batch": batch.id, **params})
    return int(row["items"]) if row else 0


def _storable(text: str) -> bool:
    """Whether PostgreSQL could hold this text at all."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _empty(source: Source) -> str:
    match source:
        case FromProject():
            return f"project {source.project!r} has no items"
        case FromIds():
            return "no ids were given"
        case FromSearch():
            return f"the search {source.query!r} finds nothing"
    return "there is nothing to put in"


def _with_percent(row: Row) -> Row:
    size = row["size"] or 1
    return row | {
        "completed_percent": round(100 * row["completed"] / size, 1),
        "successful_percent": round(100 * row["successful"] / size, 1),
    }
