"""The items of one project as its tables describe them: made, changed, or taken out of it, in few statements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue.metadata_composing import ROWS, Composed, chunks
from tidemill.catalogue.metadata_records import Records, Shelf
from tidemill.db.database import Row, fetch
from tidemill.domain.collecting import FILES, Collect
from tidemill.domain.stored_json import listed, written

MANY = 5000
"""New items above which the planner is told."""


@dataclass(slots=True)
class Written:
    """What was done; `left`, `kept`: items that are no longer named, out of the project and still in it."""

    created: int = 0
    changed: int = 0
    placed: int = 0
    left: Sequence[str] = ()
    kept: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """The items of `project`, the id of one or None for those of none, that stand on a shelf."""

    session: AsyncSession
    project: int | None
    records: Records
    shelf: Shelf
    collects: Sequence[Collect]
    done: Callable[[int], None]
    """Is told now and then of how many it is known what becomes of them."""

    async def write(self, names: Sequence[str], *, known: bool) -> Written:
        """Make items what their records say. `known`: those that are so already are neither written nor locked."""
        gone: list[str] = []
        if known:
            missing, other = await self._other(names)
            gone = [row["name"] for row in await self._fetch("gone_items", names=written(names))]
        else:
            missing = await self._missing(names)
            there = set(missing)
            other = [name for name in names if name not in there]
        made = await self._make(missing)
        other += [name for name in missing if name not in made]
        if other or gone:
            await self._fetch("hold_items", names=written([*other, *gone]))
        told = Written(len(made))
        await self._merge(other, told, len(names) - len(other))
        dropped = await self._fetch("drop_items", names=written(gone)) if gone else []
        told.left, told.kept = ([row["name"] for row in dropped if row["stays"] is stays] for stays in (False, True))
        return told

    async def _missing(self, names: Sequence[str]) -> list[str]:
        """Those that are no item's, in the order given."""
        found: list[str] = []
        for at in range(0, len(names), ROWS):
            some = names[at : at + ROWS]
            missing = {row["name"] for row in await self._fetch("missing_items", names=written(some))}
            found += [name for name in some if name in missing]
        return found

    async def _other(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those that are no item's, and those that are not as they are to be."""
        missing: list[str] = []
        other: list[str] = []
        seen = 0
        for chunk in self._chunks(names):
            for row in await self._fetch("other_items", rows=await self._rows(chunk)):
                (missing if row["missing"] else other).append(row["name"])
            seen += len(chunk)
            self.done(seen)
        return sorted(missing), sorted(other)

    async def _make(self, names: Sequence[str]) -> set[str]:
        """Make items; those that somebody else made meanwhile are not among those that come back."""
        made: set[str] = set()
        for chunk in self._chunks(names):
            made.update(row["name"] for row in await self._fetch("make_items", rows=await self._rows(chunk)))
            self.done(len(made))
        if len(made) > MANY:
            await fetch(self.session, "catalogue.analyze")
        if made and self.project is not None:
            await self._fetch("place_items", names=written(sorted(made)))
        return made

    async def _merge(self, names: Sequence[str], told: Written, before: int) -> None:
        for chunk in self._chunks(names):
            (row,) = await self._fetch("merge_items", rows=await self._rows(chunk))
            told.changed += row["changed"]
            told.placed += row["placed"]
            before += len(chunk)
            self.done(before)

    def _chunks(self, names: Sequence[str]) -> Iterator[list[Composed]]:
        return chunks(self.records, self.shelf, self.collects, names)

    async def _rows(self, chunk: list[Composed]) -> str:
        """The items as statements take them, with what is gathered from their files."""
        collects = {one.field: one for one in self.collects if one.origin == FILES}
        if collects:
            found: dict[str, dict[str, Any]] = {}
            asked = written([one.asked() for one in collects.values()])
            for row in await self._fetch("file_values", names=written([one.name for one in chunk]), collects=asked):
                value = collects[row["field"]].value(row["values"], row["n"])
                found.setdefault(row["name"], {})[row["field"]] = value
            nothing = {key: one.value([], 0) for key, one in collects.items()}
            chunk = [
                replace(one, put=written(json.loads(one.put) | nothing | found.get(one.name, {}))) for one in chunk
            ]
        return listed([one.row() for one in chunk])

    async def _fetch(self, statement: str, **params: Any) -> list[Row]:
        return await fetch(self.session, f"metadata.{statement}", {"project": self.project} | params)
