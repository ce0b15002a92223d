"""Whether the records agree with each other, and documents with their checksums."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from tidemill.db.database import Database, fetch
from tidemill.errors import StorageError

CHECKS = (
    "newer_attempts",
    "applied_twice",
    "steps_missing",
    "wrong_document",
    "lost_documents",
    "stray_items",
    "closed_runs",
    "totals",
)

Read = Callable[[str, str | None, str | None], Awaitable[bytes]]
"""Reads a document by SHA-256, body, location; raises StorageError where it does not match (`DocumentStore.read`)."""

PAGE = 200
"""Documents that are looked at per query."""


async def broken_records(database: Database) -> list[str]:
    """What contradicts what, in words; at most 100 of each kind. Reads one snapshot."""
    found: list[str] = []
    async with database.begin() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        for check in CHECKS:
            found += [str(row["problem"]) for row in await fetch(session, f"integrity.{check}")]
    return found


async def broken_documents(database: Database, read: Read) -> AsyncIterator[str]:
    """Reads every document; those that are lost or changed, in words."""
    after = ""
    while True:
        async with database.begin() as session:
            rows = await fetch(session, "integrity.documents", {"after": after, "n": PAGE})
        for row in rows:
            try:
                await read(row["hex"], row["body"], row["location"])
            except StorageError as error:
                yield error.message
        if len(rows) < PAGE:
            return
        after = rows[-1]["hex"]
