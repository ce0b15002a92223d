"""Following the feed straight from the database: page after page, for ever, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from tidemill.db.database import Database
from tidemill.errors import DatabaseUnavailable
from tidemill.feed import changes, cursors
from tidemill.feed.changes import Page
from tidemill.feed.filters import Filter
from tidemill.feed.records import with_docs

POLL = 0.25
"""Seconds between looks at a quiet feed, and between attempts to reach a database that is away."""

PAGE = 1000


async def pages(
    database: Database,
    which: Filter,
    since: str,
    *,
    docs: bool = False,
    for_ever: bool = True,
    lost: Callable[[DatabaseUnavailable], None] = lambda _: None,
) -> AsyncIterator[Page]:
    """The pages after `since`, up to the end or for ever; empty ones only where the position has moved.

    A database that goes away is waited for; `lost` is told, once each time. Raises InvalidInput, ChangesGone.
    """
    away = False
    while True:
        try:
            page = await _read(database, which, since, docs)
        except DatabaseUnavailable as error:
            if not away:
                lost(error)
            away = True
            await asyncio.sleep(POLL)
            continue
        away = False
        if page.results or page.last_seq != since:
            yield page
        since = page.last_seq
        if not page.pending:
            if not for_ever:
                return
            await asyncio.sleep(POLL)


async def beginning(database: Database, since: str | None, cursor: str | None, otherwise: str) -> str:
    """Where a reader begins: where it says, else where its cursor stands, else `otherwise`. Raises InvalidInput."""
    async with database.begin() as session:
        if since is None and cursor is not None:
            since = await cursors.position(session, cursor)
            otherwise = changes.START
        return changes.seq_of(await changes.start(session, since or otherwise))


async def _read(database: Database, which: Filter, since: str, docs: bool) -> Page:
    async with database.begin() as session:
        page = await changes.read(session, since, PAGE, which)
        if docs:
            await with_docs(session, page.results)
        return page
