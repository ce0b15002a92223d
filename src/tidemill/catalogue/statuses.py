"""The status of many items at a time: what a change would do is shown first, and an old status may be expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.item_edits import check_status, package_refused
from tidemill.domain.item_search import parse_search
from tidemill.domain.stored_json import stored, written
from tidemill.errors import InvalidInput, UnknownIds


@dataclass(frozen=True, slots=True)
class Which:
    """The items of these names, or those that a search finds; neither is not an answer."""

    names: Sequence[str] = ()
    search: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a change would meet. Each row: `status, items` (how many), `names` (some of them)."""

    changing: list[Row]
    left: list[Row]
    """Not of the expected status, or of the wanted one already."""

    @property
    def items(self) -> int:
        """How many items would be changed."""
        return sum(row["items"] for row in self.changing)


async def look(session: AsyncSession, which: Which, status: str, expected: str | None = None) -> Standing:
    """What `change` would do now. Raises InvalidInput, UnknownIds, Conflict (a package is among them)."""
    check_status(status)
    rows = await fetch(session, "catalogue.standing", {"ids": await _ids(session, which)})
    changing = [row for row in rows if row["status"] != status and expected in (None, row["status"])]
    return Standing(changing, [row for row in rows if row not in changing])


async def change(
    session: AsyncSession, which: Which, status: str, *, expected: str | None = None, reason: str = ""
) -> int:
    """Give items a status, with a reason; how many were changed.

    `expected`: only those that have this status at that moment. Raises InvalidInput, UnknownIds, Conflict (a package).
    """
    check_status(status)
    stored(reason, "The reason")
    ids = await _ids(session, which)
    params = {"ids": ids, "status": status, "expected": expected, "reason": reason}
    row = await fetch_one(session, "catalogue.set_status", params)
    return int(row["items"]) if row else 0


async def used(session: AsyncSession) -> list[str]:
    """The statuses that some items have, in order; at most a hundred, however many items there are."""
    return [row["status"] for row in await fetch(session, "catalogue.statuses")]


async def _ids(session: AsyncSession, which: Which) -> str:
    if bool(which.names) == bool(which.search.strip()):
        raise InvalidInput("Say which items are meant: their names, or a search.", hint='All of them: --search "*".')
    if which.search:
        params = parse_search(which.search).params() | {"limit": None, "offset": 0}
        return written([row["id"] for row in await fetch(session, "catalogue.matching", params)])
    names = written(list(which.names), "A name")
    if unknown := await fetch(session, "catalogue.unknown", {"names": names}):
        raise UnknownIds([row["name"] for row in unknown])
    if packages := await fetch(session, "catalogue.packages", {"names": names}):
        raise package_refused([row["name"] for row in packages])
    return written([row["id"] for row in await fetch(session, "catalogue.ids", {"names": names})])
