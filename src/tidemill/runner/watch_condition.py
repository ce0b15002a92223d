"""A condition as SQL, and the facts by which it explains itself. Values are parameters, never the statement's text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.sql import SQL, Composable, Placeholder
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import composed, fetch
from tidemill.domain.conditions import Condition, Facts, exact

Predicate = tuple[dict[str, Composable], dict[str, Any]]
"""The part `matches` of a statement over an item `i`, and its parameters."""


def predicate(condition: Condition) -> Predicate:
    """Holds for exactly those items for which `condition.missed` has nothing to say."""
    pieces: list[Composable] = []
    params: dict[str, Any] = {}
    for n, clause in enumerate(condition.clauses()):
        name, asked = clause.asked()
        names = {key: f"clause{n}_{key}" for key in asked}
        pieces.append(composed(f"condition.{name}", {key: Placeholder(one) for key, one in names.items()}))
        params |= {names[key]: value for key, value in asked.items()}
    return {"matches": SQL("({})").format(SQL(") and (").join(pieces))}, params


async def facts(session: AsyncSession, items: Sequence[int]) -> dict[int, Facts]:
    """What conditions ask of these items, by id; one that is gone is not there."""
    rows = await fetch(session, "watch.facts", {"items": list(items)})
    return {row.pop("id"): Facts(**row | {"metadata": exact(row["metadata"])}) for row in rows}
