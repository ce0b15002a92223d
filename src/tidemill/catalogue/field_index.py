"""A narrow copy of all items' declared fields, by which lists of a large site are filtered, counted and ordered.

Metadata is wide and of any shape, so a list of a million items cannot be counted from it in time. On a site that has
many items and declares fields, a duty makes a table with a column per field, indexes on each, and tallies of how many
items have which value; triggers write them with every edit, in its transaction, so that what is counted is exact. A
small site, and one that declares nothing, has none of this and pays nothing. When other fields are declared, another
copy is made beside the old one, while people work; it is used once it is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import orjson
import psycopg
import structlog
from psycopg.sql import SQL, Composable, Identifier, Literal

from tidemill.catalogue import field_bits
from tidemill.catalogue.field_copy import NAMED, Copy, bits_of, grams_of, stale_of
from tidemill.db.database import Database, Row, composed, fetch_one, translated
from tidemill.domain.shop_window import Column
from tidemill.errors import DatabaseBusy

log = structlog.get_logger()

LEAST = 20_000
"""Items from which on a copy is made: up to there the items themselves are quick enough."""

MOST_VALUES = 5_000
"""Values of a field that are tallied at most; where there are more, the index counts."""

SAMPLE = 20_000
"""Items, from all over the site, by which it is judged whether a field has more values than that."""

OUTGROWN = 2
"""Times as many values as a copy keeps something of, from which on it is made anew."""

CHUNK = 20_000
CROWDED = 2_000
"""Rows of a tally above the number of its values from which on they are added up."""

_TYPES = {"integer": "numeric", "number": "numeric", "boolean": "boolean", "list": "jsonb"}
_PIECES = {"integer": "number", "number": "number", "boolean": "boolean", "list": "list"}

Connection = psycopg.AsyncConnection[Row]


async def tend(database: Database, *, least: int = LEAST, most_values: int = MOST_VALUES) -> None:
    """Make the copy that the site needs now, if it is not there; add tallies up; take away what is used no longer.

    Several processes may call it at the same time: one does it.
    """
    async with database.begin() as session:
        state = await fetch_one(session, "field_index.state", {"least": least}, {})
    assert state is not None
    if not state["tables"] and not (state["fields"] and state["many"]):
        return
    connection = await database.connect()
    try:
        with translated():
            async with connection:
                if (await _row(connection, "lock"))["mine"]:
                    try:
                        state = await _row(connection, "state", {"least": least})
                        await _tend(connection, state, most_values)
                    finally:
                        with suppress(psycopg.Error):  # closed, it gives the lock back only when the server notices
                            await _do(connection, "free")
    except DatabaseBusy:
        log.info("others are at work on what the copy of declared fields needs: its next turn will do")


async def _tend(connection: Connection, state: Mapping[str, Any], most_values: int) -> None:
    tables = state["tables"]
    ready = [table for table in tables if table["ready"]]
    current = ready[-1] if ready else None
    wanted = {name: declared["type"] for name, declared in state["fields"].items()}
    for table in tables:
        outdone = current is not None and table["id"] < current["id"] and current["old"]
        if not table["ready"] or outdone or not wanted:
            await _drop(connection, _copy(table))
    if not wanted or not (state["many"] or current):
        return
    many = frozenset[str]()
    if current is not None and _fits(current, wanted):
        copy = _copy(current)
        differing = await _fold(connection, copy, most_values)
        if not any(_outgrown(column, differing[column.field], most_values) for column in copy.tallied):
            await _refresh(connection, copy)
            return
        log.info("a field has many more values than when it was copied", copy=copy.id)
        many = frozenset(one.field for one in copy.columns if differing.get(one.field, most_values + 1) > most_values)
    await _make(connection, wanted, most_values, many)


def _outgrown(column: Column, different: int, most_values: int) -> bool:
    """Whether a tallied column has far more values by now than what is kept of it is good for."""
    most = most_values
    if column.bits:
        most = min(most, field_bits.PRESSED if column.bits <= field_bits.PRESSED else field_bits.MOST_VALUES)
    return different > OUTGROWN * most


def _fits(table: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether a copy has what is declared now: all of it, but what is too long; and bits, which one that a process of
    the release before made has not."""
    if table["bits"] is None:
        return False
    has = {column["field"]: column["type"] for column in table["columns"]}
    return has == {name: type_ for name, type_ in wanted.items() if name in has or name not in table["long"]}


async def _make(connection: Connection, wanted: Mapping[str, str], most_values: int, many: frozenset[str]) -> None:
    """A whole new copy, in steps that keep nobody from working. `many`: fields that are known to have too many values
    to tally, whatever a sample says, so that a copy is not made anew in circles."""
    await _do(connection, "schema")
    columns, too_long = await _columns(connection, wanted, most_values, many)
    if not columns:
        return
    told = orjson.dumps([column.told() for column in columns]).decode()
    row = await _row(connection, "note", {"columns": told, "long": too_long})
    copy = Copy(row["id"], tuple(columns))
    log.info("copying declared fields for lists", fields=len(columns), copy=copy.id)
    await _lay(connection, copy)
    bounds = await _row(connection, "bounds")
    for low in range(bounds["low"], bounds["high"], CHUNK):
        await _take(connection, copy, low)
    for name in ("name", *(name for name, _, _ in _all_columns(copy))):
        await _do(connection, "index", {"records": copy.records, "column": Identifier(name)})
    for column in copy.columns:
        if column.lower is not None:
            named = {"name": Identifier(grams_of(copy.id, column)), "column": Identifier(column.lower)}
            await _do(connection, "grams", named | {"records": copy.records})
    # Making an index has waited for whoever was deleting when the copy began.
    await _do(connection, "sweep", {"records": copy.records})
    for column in copy.tallied:
        await _do(connection, "fold", {"tally": copy.tally(column)})
        await _do(connection, "settle", {"records": copy.tally(column)})
    await _do(connection, "settle", {"records": copy.records})
    copy = await _with_bits(connection, copy)
    told = orjson.dumps({column.column: column.told_of_bits() for column in copy.with_bits}).decode()
    await connection.execute(composed("field_index.ready", {}), {"id": copy.id, "bits": told}, prepare=False)
    log.info("declared fields are copied", copy=copy.id, left_out=too_long)


async def _take(connection: Connection, copy: Copy, low: int) -> None:
    """Copy a stretch of items, however long it takes: where somebody else is writing some of them, begin it again."""
    stretch = {"low": Literal(low), "high": Literal(low + CHUNK)}
    await _do(connection, "patience")
    for pause in chain((0.5, 1, 2, 4), repeat(8)):
        try:
            with translated():
                await _do(connection, "copy", _lists(copy, "n") | stretch)
            break
        except DatabaseBusy:
            await asyncio.sleep(pause)
    await _do(connection, "impatience")


async def _with_bits(connection: Connection, copy: Copy) -> Copy:
    """A copy with its bits, and the bounds at which its values are parted."""
    columns = [await _counted(connection, copy, column) for column in copy.columns]
    *columns, named = await field_bits.bounds_of(connection, [*columns, copy.named], copy.records)
    copy = Copy(copy.id, tuple(columns), named)
    await field_bits.lay(connection, copy.id, [(column, _type(column.type)) for column in copy.with_bits])
    await _refresh(connection, copy, quiet=0)
    for column in copy.with_bits:
        await _do(connection, "settle", {"records": bits_of(copy.id, column)})
    return copy


async def _counted(connection: Connection, copy: Copy, column: Column) -> Column:
    """A column with bits of its values, if the tally has few; of parts of them, if they have an order."""
    if column.tallied:
        crowd = await _row(connection, "crowd", parts={"tally": copy.tally(column)})
        if crowd["different"] <= field_bits.MOST_VALUES:
            return replace(column, bits=max(1, crowd["different"]))
    return replace(column, parts=column.type not in ("list", "boolean"))


async def _columns(
    connection: Connection, wanted: Mapping[str, str], most_values: int, many: frozenset[str]
) -> tuple[list[Column], list[str]]:
    """The columns of a new copy, and the fields that cannot be among them because a value is too long."""
    columns, too_long = [], []
    for n, (name, type_) in enumerate(wanted.items()):
        lengthy = type_ in ("text", "date", "list")
        if lengthy and (await _row(connection, "longest", parts={"key": Literal(name)}))["found"]:
            too_long.append(name)
            continue
        parts = {"value": _value("i", name, type_), "most": Literal(SAMPLE)}
        tallied = name not in many and (await _row(connection, "spread", parts=parts))["different"] <= most_values
        lower = f"l{n}" if not tallied and type_ in ("text", "date") else None
        columns.append(Column(name, type_, f"c{n}", tallied, lower))
    return columns, too_long


async def _lay(connection: Connection, copy: Copy) -> None:
    """The tables, and the triggers that keep them, in one short transaction."""
    kinds = [SQL("{} {}").format(Identifier(name), _type(type_)) for name, type_, _ in _all_columns(copy)]
    await _do(connection, "patience")
    async with connection.transaction():
        await _do(connection, "records", {"records": copy.records, "columns": _comma(kinds)})
        for column in copy.tallied:
            await _do(connection, "tally", {"tally": copy.tally(column), "type": _type(column.type)})
        await field_bits.lay_notes(connection, copy.id, copy.records)
        await _do(connection, "keep", _lists(copy, "n") | {"keep": copy.keep, "id": Literal(copy.id)})
        await _do(connection, "count", _counting(copy))
        await _follow(connection, copy, copy.records, copy.count, "records")
        await _follow(connection, copy, Identifier("item"), copy.keep, "items")
    await _do(connection, "impatience")


async def _follow(connection: Connection, copy: Copy, table: Composable, function: Composable, noun: str) -> None:
    """Triggers on a table that call a function with what changed."""
    parts = {"table": table, "function": function, "new": Identifier(f"new_{noun}"), "old": Identifier(f"old_{noun}")}
    for event in ("insert", "update", "delete"):
        name = Identifier(f"fields_{copy.id}_{event}")
        await _do(connection, f"on_{event}", parts | {"name": name})


def _lists(copy: Copy, alias: str) -> dict[str, Composable]:
    """The lists of columns and values that `keep` and `copy` want."""
    columns = list(_all_columns(copy, alias))
    names = [Identifier(name) for name, _, _ in columns]
    keys = [Literal(column.field) for column in copy.columns]
    texts = [column.field for column in copy.columns if column.type in ("text", "date", "list")]
    length = SQL("octet_length(n.metadata ->> {})")
    named = [SQL("({}, {})").format(Literal(name), length.format(Literal(name))) for name in texts]
    return {
        "records": copy.records,
        "names": _comma(names),
        "values": _comma([value for _, _, value in columns]),
        "now": _comma([SQL("n.metadata -> {}").format(key) for key in keys]),
        "then": _comma([SQL("o.metadata -> {}").format(key) for key in keys]),
        "excluded": _comma([SQL("excluded.{}").format(name) for name in names]),
        "lengths": _comma([length.format(Literal(name)) for name in texts] or [SQL("0")]),
        "named_lengths": _comma(named or [SQL("('', 0)")]),
    }


def _all_columns(copy: Copy, alias: str = "n") -> Iterator[tuple[str, str, Composable]]:
    """Every column's name, its type, and what it holds of the item that goes by this name."""
    for column in copy.columns:
        value = _value(alias, column.field, column.type)
        yield column.column, column.type, value
        if column.lower is not None:
            yield column.lower, "text", composed("browsing.lowered", {"value": value})


def _counting(copy: Copy) -> dict[str, Composable]:
    """The body of the function that keeps the tallies."""
    bodies: dict[str, Composable] = {"count": copy.count}
    for event, changed in (("inserted", "new_records"), ("updated", "new_records"), ("deleted", "old_records")):
        noted = field_bits.note(copy.id, changed)
        pieces = [
            composed(f"field_index.tally_{event}", {"tally": copy.tally(c), "column": Identifier(c.column)})
            for c in copy.tallied
        ]
        bodies[event] = SQL(" ").join([SQL("{};").format(piece) for piece in [*pieces, noted]])
    return bodies


def _value(alias: str, field: str, type_: str) -> Composable:
    """What an item has under this key, as its column holds it: nothing that is too long for an index."""
    piece = f"browsing.{_PIECES.get(type_, 'text')}_value"
    value = composed(piece, {"record": Identifier(alias, "metadata"), "key": Literal(field)})
    if type_ not in ("text", "date", "list"):
        return value
    fits = SQL("case when octet_length({}.metadata ->> {}) <= 1000 then {} end")
    return fits.format(Identifier(alias), Literal(field), value)


def _type(type_: str) -> Composable:
    return SQL(_TYPES[type_]) if type_ in _TYPES else SQL('text collate "C"')


def _comma(parts: Sequence[Composable]) -> Composable:
    return SQL(", ").join(parts)


async def _fold(connection: Connection, copy: Copy, most_values: int) -> dict[str, int]:
    """Add up tallies that have grown long; how many values each tallied field has."""
    found = {}
    for column in copy.tallied:
        tally = {"tally": copy.tally(column)}
        crowd = await _row(connection, "crowd", parts=tally)
        if crowd["rows"] > crowd["different"] + CROWDED or _outgrown(column, crowd["different"], most_values):
            await _do(connection, "fold", tally)
            crowd = await _row(connection, "crowd", parts=tally)
        found[column.field] = crowd["different"]
    return found


async def _refresh(connection: Connection, copy: Copy, *, quiet: float | None = None) -> None:
    seconds = field_bits.QUIET if quiet is None else quiet
    await field_bits.refresh(connection, copy.id, copy.with_bits, copy.records, quiet=seconds)


async def _drop(connection: Connection, copy: Copy) -> None:
    await _do(connection, "patience")
    async with connection.transaction():
        for function in (copy.keep, copy.count):
            signature = SQL("{}()").format(function)
            await _do(connection, "drop_function", {"function": signature})
        bits = [bits_of(copy.id, column) for column in (*copy.columns, copy.named)]
        tallies = [copy.tally(column) for column in copy.columns]
        for table in (copy.records, *tallies, *bits, stale_of(copy.id)):
            await _do(connection, "drop_table", {"table": table})
        await connection.execute(composed("field_index.forget", {}), {"id": copy.id}, prepare=False)
    await _do(connection, "impatience")


def _copy(table: Mapping[str, Any]) -> Copy:
    bits = table["bits"] or {}
    columns = [Column(**column, **bits.get(column["column"], {})) for column in table["columns"]]
    return Copy(table["id"], tuple(columns), replace(NAMED, **bits.get(NAMED.column, {})))


async def _do(connection: Connection, name: str, parts: Mapping[str, Composable] | None = None) -> None:
    await connection.execute(composed(f"field_index.{name}", parts or {}), prepare=False)


async def _row(
    connection: Connection,
    name: str,
    params: Mapping[str, Any] | None = None,
    parts: Mapping[str, Composable] | None = None,
) -> Row:
    cursor = await connection.execute(composed(f"field_index.{name}", parts or {}), params, prepare=False)
    row = await cursor.fetchone()
    assert row is not None
    return row
