"""Which values of a field match, and whether letters are rare in one: what decides how a list of items is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.sql import SQL, Composable
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue.field_copy import grams_of, tally_of
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.shop_window import Column, FieldCopy

MOST_VALUES = 5_000
"""Values that an index is asked for at once."""

RARE = 0.02
"""Share of the items up to which those with some letters are looked up, rather than looking at all."""


async def matching(
    session: AsyncSession, copy: FieldCopy, column: Column, matches: Composable, params: Mapping[str, Any]
) -> list[Row] | None:
    """The values `t.value` of a tallied field that match, and how many items have each: `value, items`; None where an
    index should not be asked for so many. Lists come as JSON texts, as the database writes them: a number in one may be
    longer than any that this process can read and write again."""
    value = SQL("t.value::text" if column.type == "list" else "t.value")
    parts = {"tally": tally_of(copy.id, column), "value": value, "matches": matches}
    rows = await fetch(session, "browsing.values", {**params, "most": MOST_VALUES + 1}, parts, prepare=False)
    return None if len(rows) > MOST_VALUES else rows


async def rare(session: AsyncSession, copy: FieldCopy, column: Column, letters: str) -> bool:
    """Whether few items have the rarest piece of these letters in a field, or in their names, as far as statistics
    know."""
    if column.lower is None and column != copy.named:
        return False
    index = grams_of(copy.id, column) if column.lower is not None else "item_grams_idx"
    row = await fetch_one(session, "browsing.share", {"index": index, "letters": letters})
    return row is not None and row["share"] is not None and row["share"] < RARE
