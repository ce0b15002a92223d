"""Which items have which value, as bits: what narrows and counts lists of a large site by several things at once.

Beside the narrow copy of declared fields (`field_index.py`): for each value of a field, and each stretch of ids, a
string of bits; where there are many values, and for names, for each of the parts that they fall into (`domain.bins`).
Writers do not touch them, they only note in which stretch they wrote. Such a stretch is looked through item by item,
which is exact, until it has been quiet for a while; then its bits are made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from tidemill.catalogue.field_copy import SCHEMA, bits_of, stale_of
from tidemill.db.database import Row, composed
from tidemill.domain.shop_window import Column

SPAN = 32_000
"""Ids in a stretch: its bits, 4,000 bytes, fit into a page twice."""

MOST_VALUES = 1_500
"""Values of a field that have bits at most."""

PRESSED = 128
"""Values from which on bits are stored pressed: each value has few items then."""

PARTS = 128
"""Parts that many values fall into, with about as many items in each."""

SAMPLE = 50_000
LONGEST_BOUND = 40

QUIET = 20.0
"""Seconds for which nothing new must have been seen in a stretch before its bits are made anew: more than a page takes,
so that what it found by looking at a stretch is not taken for what the stretch has become."""

CROWDED = 2_000
"""Notes of writes above the number of stretches from which on they are put together."""

Connection = psycopg.AsyncConnection[Row]


async def lay_notes(connection: Connection, id_: int, records: Composable) -> None:
    """Where a copy's writers note in which stretch they wrote."""
    await _do(connection, "aggregate", {"span": Literal(SPAN)})
    await _do(connection, "stale", {"stale": stale_of(id_)})
    name = Identifier(SCHEMA, f"stretches_{id_}")
    await _do(connection, "statistics", {"name": name, "records": records, "span": Literal(SPAN)})


async def lay(connection: Connection, id_: int, columns: Iterable[tuple[Column, Composable]]) -> None:
    """Empty tables for the bits of a copy's columns, each given with its type."""
    for column, type_ in columns:
        kind = SQL("integer") if column.parts else type_
        parts: dict[str, Composable] = {"bits": bits_of(id_, column), "type": kind, "span": Literal(SPAN)}
        await _do(connection, "bits", parts)
        storage = "main" if column.parts or column.bits > PRESSED else "plain"
        await _do(connection, "store", {"bits": parts["bits"], "storage": SQL(storage)})
        await _do(connection, "index", {"bits": parts["bits"]})
        await _do(connection, "index_stretch", {"bits": parts["bits"]})


def note(id_: int, changed: str) -> Composable:
    """What a trigger does when items have changed: a note of their stretches."""
    parts = {"stale": stale_of(id_), "span": Literal(SPAN), "changed": Identifier(changed)}
    return composed("field_bits.note", parts)


async def refresh(
    connection: Connection, id_: int, columns: Iterable[Column], records: Composable, *, quiet: float
) -> None:
    """Make the bits of stretches anew in which nobody was seen to write for so many seconds.

    Each in a transaction of its own, whose snapshot has both the items and the notes of what was written.
    """
    stale, bits = stale_of(id_), [(column, bits_of(id_, column)) for column in columns]
    await _do(connection, "seen", {"stale": stale})
    params = {"seconds": quiet}
    cursor = await connection.execute(composed("field_bits.quiet", {"stale": stale}), params, prepare=False)
    stretches = [row["stretch"] for row in await cursor.fetchall()]
    await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    for stretch in stretches:
        where = {"stretch": Literal(stretch), "low": Literal(stretch * SPAN), "span": Literal(SPAN)}
        async with connection.transaction():
            await _do(connection, "fresh", {"stale": stale, "stretch": where["stretch"]})
            for column, table in bits:
                await _do(connection, "empty", {"bits": table, "stretch": where["stretch"]})
                into = {"bits": table, "records": records, "value": _value(column)}
                await _do(connection, "fill", where | into)
    await connection.set_isolation_level(None)
    await _fold(connection, stale)


async def bounds_of(connection: Connection, columns: Iterable[Column], records: Composable) -> list[Column]:
    """The columns with the bounds at which their values are parted, from a sample of the items."""
    found = []
    for column in columns:
        if column.parts:
            parts = {"column": Identifier(column.column), "records": records}
            parts |= {"most": Literal(SAMPLE), "parts": Literal(PARTS)}
            cursor = await connection.execute(composed("field_bits.bounds", parts), prepare=False)
            row = await cursor.fetchone()
            cut = {one[:LONGEST_BOUND] for one in (row["bounds"] if row else None) or ()}
            column = replace(column, bounds=tuple(sorted(cut, key=typed(column))))
        found.append(column)
    return found


def typed(column: Column) -> Callable[[str], Any]:
    """What makes a bound of a column comparable with its values."""
    return Decimal if column.type in ("integer", "number") else str


def _value(column: Column) -> Composable:
    """Of what its bits are: a value, or the number of the part that it falls into."""
    value = Identifier("r", column.column)
    if not column.parts:
        return value
    cast = SQL("numeric[]" if typed(column) is Decimal else "text[]")
    return composed("field_bits.part", {"value": value, "bounds": Literal(list(column.bounds)), "type": cast})


async def _fold(connection: Connection, stale: Composable) -> None:
    cursor = await connection.execute(composed("field_bits.crowd", {"stale": stale}), prepare=False)
    crowd = await cursor.fetchone()
    assert crowd is not None
    if crowd["rows"] > crowd["different"] + CROWDED:
        await _do(connection, "fold", {"stale": stale})


async def _do(connection: Connection, name: str, parts: dict[str, Any]) -> None:
    await connection.execute(composed(f"field_bits.{name}", parts), prepare=False)
