"""Records held by this transaction: made where they are missing, locked, written back as one set.

Whoever edits many records goes this way: first all that are missing are made in order of name, then all others are
locked in order of id. So two who edit the same records follow one another and never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch
from tidemill.domain.item_edits import Record
from tidemill.domain.stored_json import listed, written

MANY = 5000


@dataclass(frozen=True, slots=True)
class Draft:
    """What a record is to be if there is none of that name."""

    status: str = "good"
    reason: str = ""
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """Records by name, as they are until this transaction ends; and which of them it made."""

    records: dict[str, Record]
    made: frozenset[str]


async def hold(session: AsyncSession, names: Iterable[str], drafts: Mapping[str, Draft]) -> Held:
    """Make the records that are missing and have a draft, and lock the others. Names without either are left out."""
    made = {row["name"]: row for row in await fetch(session, "items.make", {"rows": _drafts(drafts)})} if drafts else {}
    others = [name for name in dict.fromkeys(names) if name not in made]
    found = await fetch(session, "items.hold", {"names": written(others)}) if others else []
    if len(made) > MANY:
        await fetch(session, "catalogue.analyze")
    records = {row["name"]: _record(row) for row in (*made.values(), *found)}
    return Held(records, frozenset(made))


async def write(session: AsyncSession, records: Iterable[Record]) -> None:
    """Write back those that were edited; each then has its new revision."""
    edited = {record.id: record for record in records if record.edited}
    if not edited:
        return
    for row in await fetch(session, "items.write", {"rows": listed([_change(one) for one in edited.values()])}):
        edited[row["id"]].revision = row["revision"]


async def place(session: AsyncSession, pairs: Sequence[tuple[str, str]]) -> None:
    """Put items into projects, (project, item) by name; missing projects are made, locked ones take none."""
    if pairs:
        await fetch(session, "catalogue.add_projects", {"names": written(sorted({project for project, _ in pairs}))})
        rows = [{"project": project, "item": item} for project, item in pairs]
        await fetch(session, "catalogue.place_items", {"pairs": written(rows)})


def _drafts(drafts: Mapping[str, Draft]) -> str:
    return listed(
        [
            written({"name": name, "status": one.status, "reason": one.reason, "metadata": dict(one.metadata or {})})
            for name, one in drafts.items()
        ]
    )


def _change(record: Record) -> str:
    return written(
        {
            "id": record.id,
            "status": record.status,
            "reason": record.reason,
            "put": record.put,
            "removed": sorted(record.removed),
        }
    )


def _record(row: Mapping[str, Any]) -> Record:
    facts = (row[key] for key in ("id", "name", "status", "status_reason", "metadata", "revision", "kind"))
    return Record(*facts)
