"""From a token that somebody shows to who it is, asked of the database about once a second per token."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tidemill.accounts.tokens import digest, well_formed
from tidemill.db.database import Database, fetch_one
from tidemill.domain.roles import Role

REMEMBERED = 1.0
"""Seconds for which an answer is remembered: a revoked token is refused this much later at most."""

MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose token it is, and what it may do. `apps`: those that a worker may work for; None: all."""

    id: int
    name: str
    role: Role
    apps: tuple[str, ...] | None = None


@dataclass(slots=True)
class _Known:
    until: float
    answer: asyncio.Task[Holder | None]


class Keyring:
    """Looks tokens up. One for a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[bytes, _Known] = {}

    async def holder(self, token: str) -> Holder | None:
        """Whose token this is; None for one that is unknown, expired or revoked. Raises DatabaseUnavailable."""
        if not well_formed(token):
            return None
        key = digest(token)
        known = self._known.get(key)
        if known is None or known.until < time.monotonic() or _failed(known.answer):
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            # Many requests with one token ask once; one of them going away must not cancel it for the others.
            answer = asyncio.create_task(self._look_up(key))
            known = self._known[key] = _Known(time.monotonic() + REMEMBERED, answer)
        return await asyncio.shield(known.answer)

    async def _look_up(self, key: bytes) -> Holder | None:
        async with self._database.begin() as session:
            row = await fetch_one(session, "accounts.holder", {"sha256": key})
        if row is None:
            return None
        apps = row["limits"].get("apps")
        return Holder(row["id"], row["name"], Role(row["role"]), None if apps is None else tuple(apps))


def _failed(answer: asyncio.Task[Holder | None]) -> bool:
    return answer.done() and (answer.cancelled() or answer.exception() is not None)
