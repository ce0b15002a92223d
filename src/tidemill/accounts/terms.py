"""The terms that people accept before they download: the version that the site names now, and those before it.

`tidemill apply` keeps each version when the site file first names it (`pipelines/apply_terms.py`); so what
somebody accepted can be read for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one


@dataclass(frozen=True, slots=True)
class Terms:
    """One version of the terms; `body` is Markdown."""

    version: str
    body: str


async def current(session: AsyncSession) -> Terms | None:
    """The terms that are to be accepted now; None: the site has none, and asks for an address alone."""
    row = await fetch_one(session, "people.current")
    return Terms(row["version"], row["body"]) if row is not None else None


async def versions(session: AsyncSession) -> list[Row]:
    """All versions that there were, the newest first: `{version, body, created_at, accepted}`, the last how many people
    with a good token accepted it last."""
    return await fetch(session, "people.versions")
