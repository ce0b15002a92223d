"""Lists and facets of items by bits: what is asked by several things at once, or searched for, at a large site.

Each thing that must hold becomes a string of bits for a stretch of ids: those of the values that match, joined, or what
an index finds. Bits are joined by `and`, and counted. Stretches in which somebody has just written are looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal, Placeholder
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue.browsing_sql import MOST_WORDS, Statement, all_of, cast_of, conditions_of, from_copy, searched
from tidemill.catalogue.browsing_values import matching, rare
from tidemill.catalogue.field_bits import SPAN, typed
from tidemill.catalogue.field_copy import bits_of, records_of, stale_of, tally_of
from tidemill.db.database import Row, composed, fetch, fetch_one
from tidemill.domain.bins import parted
from tidemill.domain.lookups import Filter, Lookup
from tidemill.domain.shop_window import Column, FieldCopy, Noun, Window

MOST_STALE = 6
"""Stretches that are looked through item by item at most; where more have just been written, all items are."""

MOST_ROWS = 150_000
"""Items that one thing may leave, where no bits are of it: to make bits of more takes longer than to look at all."""

MOST_PARTED = 0.85
"""Share of the parts for all of whose texts some letters must be known, rather than looking at all."""

_RANGES = frozenset({Lookup.GT, Lookup.GTE, Lookup.LT, Lookup.LTE, Lookup.STARTSWITH})
_INDEXED = frozenset({Lookup.EXACT, Lookup.IN, Lookup.ISNULL, Lookup.GT, Lookup.GTE, Lookup.LT, Lookup.LTE})


@dataclass(slots=True)
class Sieve:
    """What must hold, as parts of a statement."""

    shown: Window
    copy: FieldCopy
    filters: Sequence[Filter]
    search: str
    rows: Statement
    """The same, to look through items one by one; its parameters are those of the whole."""
    names: dict[str, str] = field(default_factory=dict)
    """By the name of each part the field that it is of, or nothing."""
    parts: list[Composable] = field(default_factory=list)

    def add(self, pieces: Sequence[Composable], of: str = "") -> None:
        """One thing more that must hold: what any of these says."""
        name = f"part{len(self.names)}"
        self.names[name] = of
        joined = SQL(" union all ").join([SQL("({})").format(piece) for piece in pieces])
        self.parts.append(composed("field_bits.any_of", {"name": Identifier(name), "pieces": joined}))

    def condition(self, one: Filter, value: Composable | None = None) -> Composable:
        """What a filter asks of an item of the copy, or of a value."""
        return conditions_of(self.shown, self.copy, (one,), self.rows, value)

    def rows_without(self, name: str) -> Composable:
        """What all but the filters by one field ask of an item."""
        filters = [one for one in self.filters if one.field != name]
        return from_copy(self.copy, self.shown, filters, self.search, params=self.rows.params).parts()["matches"]

    def of_rows(self, matches: Composable) -> Composable:
        """Items of the copy for which this holds, one by one."""
        parts = {"records": records_of(self.copy.id), "matches": matches, "span": Literal(SPAN)}
        name = Identifier(f"rows{len(self.parts)}")  # a part of its own, so that several processes may look
        self.parts.append(composed("field_bits.rows", {"name": name, "rows": composed("field_bits.of_rows", parts)}))
        return SQL("select stretch, bits from {}").format(name)

    def of_value(self, column: Column, matches: Composable) -> Composable:
        """Items that have a value (`t.value`) for which this holds."""
        return composed("field_bits.of_value", {"bits": bits_of(self.copy.id, column), "matches": matches})

    def of_others(self, those: Composable) -> Composable:
        """All items but those."""
        few = [column for column in self.copy.columns.values() if column.bits]
        some = min(few, key=lambda column: column.bits) if few else self.named
        return composed("field_bits.of_others", {"bits": bits_of(self.copy.id, some), "those": those})

    @property
    def named(self) -> Column:
        """Items' names."""
        assert self.copy.named is not None
        return self.copy.named

    def of_letters(self, column: Column, matches: Composable) -> Composable:
        """The same for what no index answers, of a value `v.value` that is there."""
        parts = {"tally": tally_of(self.copy.id, column), "matches": matches}
        return self.of_value(column, composed("field_bits.among_values", parts))

    def common(self) -> dict[str, Composable]:
        """What every statement wants."""
        records, stale, span = records_of(self.copy.id), stale_of(self.copy.id), Literal(SPAN)
        rows = composed("field_bits.stale_rows", {"records": records, "stale": stale, "span": span})
        return {"conditions": SQL(", ").join(self.parts), "stale_rows": rows, "span": span}

    def clean(self, without: str | None = None) -> Composable:
        """The bits for which everything holds, but what is asked of one field."""
        names = [Identifier(name) for name, of in self.names.items() if without is None or of != without]
        first, *others = names
        joins = [SQL("join {} using (stretch)").format(name) for name in others]
        parts = {
            "all": SQL(" & ").join([SQL("{}.bits").format(name) for name in names]),
            "first": first,
            "joins": SQL(" ").join(joins),
            "stale": stale_of(self.copy.id),
        }
        return composed("field_bits.clean", parts)


async def sieve(
    session: AsyncSession, shown: Window, copy: FieldCopy, filters: Sequence[Filter], search: str
) -> Sieve | None:
    """What filters and a search ask for; None where it is better to look at the items one by one."""
    if copy.named is None:
        return None
    made = Sieve(shown, copy, filters, search, from_copy(copy, shown, filters, search))
    stale = await fetch_one(session, "field_bits.some_stale", {}, {"stale": stale_of(copy.id)})
    if stale is None or stale["total"] > MOST_STALE:
        return None
    own = [one for one in filters if one.field in copy.columns or one.field == shown.id]
    across = [one for one in filters if one not in own]
    if across:  # together: what is asked of a project must hold for one and the same
        made.add([made.of_rows(conditions_of(shown, copy, across, made.rows))])
    for one in own:
        pieces = await _pieces(session, made, one)
        if pieces is None:
            return None
        made.add(pieces, one.field)
    for word in search.split()[:MOST_WORDS]:
        made.add(await _search_pieces(session, shown, made, word))
    if made.names and shown.hidden_items:
        made.add([made.of_others(_of_ids(shown.hidden_items))])
    return made if made.names else None


async def page(session: AsyncSession, made: Sieve, limit: int, offset: int) -> tuple[int, list[int]]:
    """How many items match, and the ids of a page of them in order of id."""
    common = made.common()
    matches = {"matches": made.rows.parts()["matches"]}
    found = composed("field_bits.found", common | matches | {"clean": made.clean()})
    params = made.rows.params | {"limit": limit, "offset": offset}
    rows = await fetch(session, "field_bits.page", params, common | {"found": found}, prepare=False)
    return rows[0]["total"], rows[0]["ids"]


async def facets(
    session: AsyncSession, made: Sieve, names: Sequence[str], most: int, letters: str = ""
) -> dict[str, list[Row]]:
    """How often which value occurs, of each of these fields that has bits and is narrowed by anything but itself: rows
    of `value, total`."""
    common = made.common()
    matches = {name: made.rows_without(name) for name in names if name in made.copy.columns}
    params = made.rows.params | {"most": most, "letters": letters}
    asked, pieces = list[str](), list[Composable]()
    for name in matches:
        column = made.copy.columns[name]
        if not column.bits or set(made.names.values()) <= {name}:
            continue
        of_list = "_of_list" if column.type == "list" else ""
        value = SQL("e.value") if of_list else SQL("found.value")
        given = {"value": value, "given": Placeholder("letters")}
        parts = common | {
            "number": Literal(len(asked)),
            "bits": bits_of(made.copy.id, column),
            "column": Identifier(column.column),
            "clean": made.clean(name),
            "matches": matches[name],
            "among": composed("browsing.has_letters", given) if letters else SQL("true"),
        }
        pieces.append(composed(f"field_bits.facet{of_list}", parts))
        asked.append(name)
    if not asked:
        return {}
    parts = common | {"facets": SQL(" union all ").join(pieces)}
    found: dict[str, list[Row]] = {name: [] for name in asked}
    for row in await fetch(session, "field_bits.facets", params, parts, prepare=False):
        found[asked[row["facet"]]].append(row)
    return found


async def _pieces(session: AsyncSession, made: Sieve, one: Filter) -> list[Composable] | None:
    """Bits of the items for which a filter holds; None where there would be too many to make them of."""
    column = made.copy.columns.get(one.field, made.named)
    if column.bits:
        if one.lookup in _INDEXED and (one.type != "list" or one.lookup is Lookup.ISNULL):
            return [made.of_value(column, made.condition(one, Identifier("t", "value")))]
        return [made.of_letters(column, made.condition(one, Identifier("v", "value")))]
    if one.lookup is Lookup.ISNULL and column.parts:
        return [made.of_value(column, made.condition(one, Identifier("t", "value")))]
    if one.lookup in (Lookup.EXACT, Lookup.IN) and one.type != "list":
        return [made.of_rows(made.condition(one))]
    few = None
    if column.tallied:
        few = await _few_values(session, made, column, made.condition(one, Identifier("t", "value")))
    elif one.lookup in (Lookup.CONTAINS, Lookup.ICONTAINS) and await rare(session, made.copy, column, one.value):
        few = _rare_ones(made, column, one.value, made.condition(one))
    return [few] if few is not None else _parted(made, column, one.lookup, one.value, made.condition(one))


def _parted(made: Sieve, column: Column, lookup: Lookup, value: Any, matches: Composable) -> list[Composable] | None:
    """Bits of whole parts of a column's values, and of the items in other parts that match, if these parts are few."""
    kind = typed(column)
    parts = parted([kind(bound) for bound in column.bounds], lookup, value) if column.parts else None
    if parts is None or (lookup not in _RANGES and len(parts.whole) < MOST_PARTED * len(column.bounds)):
        return None
    field, cast, spans = Identifier("f", column.column), cast_of(column.type), list[Composable]()
    for low, high in parts.spans:
        ends = [(piece, end) for piece, end in (("gte", low), ("lt", high)) if end is not None]
        keep = made.rows.keep
        spans.append(all_of([composed(f"browsing.{p}", {"value": field, "given": keep(end, cast)}) for p, end in ends]))
    some = made.of_rows(SQL("({}) and ({})").format(matches, SQL(" or ").join(spans))) if spans else None
    whole = made.of_value(column, SQL("t.value = any({}::int[])").format(Literal(list(parts.whole))))
    return [whole] if some is None else [whole, some]


async def _few_values(session: AsyncSession, made: Sieve, column: Column, matches: Composable) -> Composable | None:
    """Bits of the items that have one of the values that match, if these are few items."""
    rows = await matching(session, made.copy, column, matches, made.rows.params)
    if rows is None or sum(row["items"] for row in rows) > MOST_ROWS:
        return None
    values = [row["value"] for row in rows]
    pieces, field = list[Composable](), Identifier("f", column.column)
    if None in values:
        pieces.append(composed("browsing.is_null", {"value": field}))
    given = made.rows.keep([value for value in values if value is not None], f"{cast_of(column.type)}[]")
    pieces.append(composed("browsing.in", {"value": field, "given": given}))
    return made.of_rows(SQL(" or ").join(pieces))


async def _search_pieces(session: AsyncSession, shown: Window, made: Sieve, word: str) -> list[Composable]:
    """Bits of the items in whose names or declared texts a word stands."""
    pieces, looked_through = list[Composable](), list[Composable]()
    given = made.rows.keep(word, "text")
    columns = [one for one in made.copy.columns.values() if searched(shown, Noun.ITEM, one.field)]
    for column in (*columns, made.named):
        found = await _search_in(session, made, column, word, given)
        if found is None:
            looked_through.append(_has_letters(column, given))
        else:
            pieces += found
    if looked_through:
        pieces.append(await _looked_through(session, made, word, SQL(" or ").join(looked_through)))
    return pieces


async def _looked_through(session: AsyncSession, made: Sieve, word: str, matches: Composable) -> Composable:
    """Bits of the items in which a word was found by looking at all; once in a session, for a list and its facets.

    Where somebody writes in between, the stretch is looked through anyway: it is `field_bits.QUIET` until its bits are
    made anew.
    """
    known: dict[tuple[int, str], tuple[list[int], list[str]]] = session.info.setdefault("looked through", {})
    key = (made.copy.id, word)
    if key not in known:
        parts = {"records": records_of(made.copy.id), "matches": matches, "span": Literal(SPAN)}
        found = {"rows": composed("field_bits.of_rows", parts)}
        rows = await fetch(session, "field_bits.look", made.rows.params, found, prepare=False)
        known[key] = [row["stretch"] for row in rows], [row["bits"] for row in rows]
    stretches, bits = (made.rows.keep(some, cast) for some, cast in zip(known[key], ("int[]", "text[]"), strict=True))
    return composed("field_bits.known", {"stretches": stretches, "bits": bits, "span": Literal(SPAN)})


async def _search_in(
    session: AsyncSession, made: Sieve, column: Column, word: str, given: Composable
) -> list[Composable] | None:
    """Those in one of whose texts it stands; None where they must be looked through."""
    if column.bits or column.tallied:
        value = Identifier("v" if column.bits else "t", "value")
        letters = composed("browsing.has_letters", {"value": value, "given": given})
        few = made.of_letters(column, letters) if column.bits else await _few_values(session, made, column, letters)
        if few is not None:
            return [few]
    elif await rare(session, made.copy, column, word):
        return [_rare_ones(made, column, word, _has_letters(column, given))]
    return _parted(made, column, Lookup.ICONTAINS, word, _has_letters(column, given))


def _rare_ones(made: Sieve, column: Column, letters: str, matches: Composable) -> Composable:
    """Bits of the items that match, of which an index finds those with pieces of these letters."""
    given = made.rows.keep(letters, "text")
    if column.lower is None:
        found = composed("field_bits.named", {"id": made.rows.id, "given": given})
    else:
        found = composed("browsing.has_grams", {"value": Identifier("f", column.lower), "given": given})
    return made.of_rows(SQL("{} and {}").format(found, matches))


def _has_letters(column: Column, given: Composable) -> Composable:
    """That letters stand in a column's text, whatever their case."""
    if column.lower is None:
        return composed("browsing.has_letters", {"value": Identifier("f", column.column), "given": given})
    small = composed("browsing.lowered", {"value": given})
    return composed("browsing.contains", {"value": Identifier("f", column.lower), "given": small})


def _of_ids(ids: Sequence[int]) -> Composable:
    return composed("field_bits.of_ids", {"ids": Literal(list(ids)), "span": Literal(SPAN)})
