"""Readers of the change feed whose position is kept here: it goes forward only, unless somebody says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import InvalidInput, NotFound
from tidemill.feed import changes

LONGEST_NAME = 200
MOST_PENDING = 10_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Where a reader stands now. `moved`: whether that is because of this call."""

    name: str
    seq: str
    moved: bool


async def listing(session: AsyncSession) -> list[Row]:
    """The readers: `name, seq, updated_at, seconds` (since it moved), `pending` (changes after it, counted up to
    10,000) and `lost` (it stands before what the feed has kept)."""
    return await fetch(session, "feed.cursors", {"name": None, "most": MOST_PENDING})


async def get(session: AsyncSession, name: str) -> Row:
    """One of `listing`. Raises NotFound."""
    found = await fetch_one(session, "feed.cursors", {"name": name, "most": MOST_PENDING})
    if found is None:
        raise NotFound(f"There is no cursor named {name!r}.")
    return found


async def position(session: AsyncSession, name: str) -> str | None:
    """Where the reader of that name stands; None where it has never said so. Raises InvalidInput."""
    found = await fetch_one(session, "feed.cursors", {"name": _checked(name), "most": 1})
    return str(found["seq"]) if found else None


async def acknowledge(session: AsyncSession, name: str, seq: str, *, rewind: bool = False) -> Acknowledged:
    """Say that everything up to `seq` has been dealt with. Without `rewind` a position never goes back, whoever else
    moves it meanwhile. Raises InvalidInput."""
    wanted = changes.seq_of(await changes.checked(session, seq))
    row = await fetch_one(session, "feed.acknowledge", {"name": _checked(name), "seq": wanted, "rewind": rewind})
    stands = str(row["seq"]) if row else await position(session, name)
    return Acknowledged(name, stands or wanted, row is not None)


async def forget(session: AsyncSession, name: str) -> None:
    """Keep this reader's position no longer. Raises NotFound."""
    if await fetch_one(session, "feed.forget", {"name": name}) is None:
        raise NotFound(f"There is no cursor named {name!r}.")


def _checked(name: str) -> str:
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"{name[:60]!r} cannot be a cursor's name: up to {LONGEST_NAME} letters and signs can.")
    return name
