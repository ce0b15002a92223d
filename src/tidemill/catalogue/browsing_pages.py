"""How many items match and which of them stand on a page: from the copy of their fields where there is one.

A count of one field's filters adds up its tally; other counts read an index, or the narrow copy. A page is looked for
among the first items in its order, since most filters leave many; where it is not found there, the index gives the
items that match, and these are put in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg.sql import SQL, Composable, Literal, Placeholder
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import browsing_bits
from tidemill.catalogue.browsing_sql import Statement, from_copy, from_tally, searched, statement
from tidemill.catalogue.browsing_values import matching, rare
from tidemill.catalogue.field_copy import tally_of
from tidemill.db.database import Row, composed, fetch
from tidemill.domain.lookups import Filter, Lookup
from tidemill.domain.shop_window import Column, FieldCopy, Noun, Window

if TYPE_CHECKING:
    from tidemill.catalogue.browsing import Query

BEGIN = 10_000
"""Items among which a page is looked for first."""

FEW = 5_000
"""Matching items up to which there is no use in looking among the first."""

DENSE = 200_000
"""Matching items from which on they are read in order rather than sorted."""

MOST_SORTED = 20_000
"""Matching items up to which they are put in order."""

_BY_VALUE = frozenset(
    {Lookup.CONTAINS, Lookup.ICONTAINS, Lookup.IEXACT, Lookup.STARTSWITH, Lookup.ISTARTSWITH}
)  # fmt: skip
"""Lookups that an index cannot answer, but a look through the values can."""


def copy_for(shown: Window, noun: Noun, query: Query) -> FieldCopy | None:
    """The copy, if it can answer this: all that is asked by is in it."""
    copy = shown.copy
    if copy is None or noun is not Noun.ITEM:
        return None
    if (
        query.search.strip()
        and not {name for name in shown.fields(noun) if searched(shown, noun, name)} <= copy.columns.keys()
    ):
        return None
    related = tuple(f"{path}__" for path in shown.relations(noun))
    has = copy.columns.keys() | {shown.id} | shown.relations(noun).keys()
    asked = {one.field for one in query.filters if not one.field.startswith(related)}
    return copy if asked <= has else None


async def found(session: AsyncSession, shown: Window, noun: Noun, query: Query, limit: int) -> tuple[int, list[int]]:
    """How many records match, and the ids of a page of them."""
    copy = copy_for(shown, noun, query)
    if copy is None:
        made = statement(shown, noun, query.filters, query.search)
        total = await counted(session, made)
        return total, await _page(session, made, query, limit, total)
    if query.search.strip() or _tally_for(copy, query.filters) is None:
        sieve = await browsing_bits.sieve(session, shown, copy, query.filters, query.search)
        if sieve is not None:
            return await _found_by_bits(session, shown, copy, sieve, query, limit)
    total = await _counted_in_copy(session, shown, copy, query.filters, query.search)
    return total, await _page_of_items(session, shown, copy, query, limit, total)


async def _found_by_bits(
    session: AsyncSession, shown: Window, copy: FieldCopy, sieve: browsing_bits.Sieve, query: Query, limit: int
) -> tuple[int, list[int]]:
    """The same, from bits; in another order than that of ids, few are put in order, and of many the first looked at."""
    if not query.ordering:
        return await browsing_bits.page(session, sieve, limit, query.offset)
    total, ids = await browsing_bits.page(session, sieve, MOST_SORTED, 0)
    if total > MOST_SORTED:
        return total, await _page_of_items(session, shown, copy, query, limit, total)
    made = from_copy(copy, shown, ()) if _ordered_in(copy, shown, query) else statement(shown, Noun.ITEM)
    made.conditions = [composed("browsing.in", {"value": made.id, "given": made.keep(ids, "bigint[]")})]
    return total, await _page(session, made, query, limit, total)


async def _page_of_items(
    session: AsyncSession, shown: Window, copy: FieldCopy, query: Query, limit: int, total: int
) -> list[int]:
    """A page of so many items that match, in the order that is asked for, whether the copy knows it or not."""
    if query.offset >= total:
        return []
    params = {"limit": min(limit, total - query.offset), "offset": query.offset}
    if _ordered_in(copy, shown, query):
        return [row["id"] for row in await _page_in_copy(session, shown, copy, query, total, params)]
    made = statement(shown, Noun.ITEM, query.filters, query.search)
    if len(query.ordering) == 1 and total >= FEW:
        begins = {"most": Literal(BEGIN), "begins": composed("browsing.all_items", {})}
        parts = made.parts(query.ordering) | begins
        rows = await fetch(session, "browsing.page_begin", made.params | params, parts, prepare=False)
        if len(rows) == params["limit"]:
            return [row["id"] for row in rows]
    return await _page(session, made, query, limit, total)


async def _page(session: AsyncSession, made: Statement, query: Query, limit: int, total: int) -> list[int]:
    if query.offset >= total:
        return []
    params = made.params | {"limit": min(limit, total - query.offset), "offset": query.offset}
    rows = await fetch(session, "browsing.page", params, made.parts(query.ordering), prepare=False)
    return [row["id"] for row in rows]


def _ordered_in(copy: FieldCopy, shown: Window, query: Query) -> bool:
    """Whether the copy has what is ordered by."""
    return {name for name, _ in query.ordering} <= copy.columns.keys() | {shown.id}


async def facets_rows(
    session: AsyncSession, shown: Window, noun: Noun, query: Query, names: Sequence[str], most: int, letters: str = ""
) -> dict[str, list[Row]]:
    """`facet_rows` of several fields, as far as bits can answer for them at once."""
    copy = copy_for(shown, noun, query)
    if copy is None or not (query.filters or query.search.strip()):
        return {}
    sieve = await browsing_bits.sieve(session, shown, copy, query.filters, query.search)
    return {} if sieve is None else await browsing_bits.facets(session, sieve, names, most, letters)


async def counted(session: AsyncSession, made: Statement) -> int:
    """How many records there are of a choice, one by one."""
    rows = await fetch(session, "browsing.count", made.params, made.parts(), prepare=False)
    return int(rows[0]["total"])


async def all_items(session: AsyncSession, shown: Window) -> int:
    """How many items are shown."""
    if shown.copy is None:
        return await counted(session, statement(shown, Noun.ITEM))
    return await _counted_in_copy(session, shown, shown.copy, ())


async def facet_rows(
    session: AsyncSession, shown: Window, noun: Noun, query: Query, name: str, most: int, letters: str = ""
) -> list[Row]:
    """How often each value of a field occurs among the records that match: `value, total`. `letters`: only values in
    which these stand."""
    copy = copy_for(shown, noun, query)
    of_list = "_of_list" if shown.fields(noun)[name]["type"] == "list" else ""
    column = copy.columns.get(name) if copy is not None else None
    if copy is not None and column is not None:
        if column.tallied and not query.filters and not query.search.strip() and not shown.hidden_items:
            params: dict[str, Any] = {"most": most}
            among = _among(SQL("e.value") if of_list else SQL("t.value"), letters, params)
            parts: dict[str, Composable] = {"tally": tally_of(copy.id, column), "among": among}
            return await fetch(session, f"browsing.tally_facet{of_list}", params, parts, prepare=False)
        rare = await _rare(session, copy, query.filters)
        made = from_copy(copy, shown, await _narrowed(session, copy, query.filters), query.search, rare=rare)
    else:
        made = statement(shown, noun, query.filters, query.search)
    params = made.params | {"most": most}
    among = _among(SQL("e.value") if of_list else SQL("found.value"), letters, params)
    parts = made.parts() | {"value": made.values[name], "among": among}
    return await fetch(session, f"browsing.facet{of_list}", params, parts, prepare=False)


def _among(value: Composable, letters: str, params: dict[str, Any]) -> Composable:
    """That these letters stand in a value; true where there are none."""
    if not letters:
        return SQL("true")
    params["letters"] = letters
    return composed("browsing.has_letters", {"value": value, "given": Placeholder("letters")})


async def option_rows(session: AsyncSession, shown: Window, noun: Noun, name: str, most: int) -> list[Row]:
    """The distinct values of a field, in order: `value`."""
    of_list = "_of_list" if shown.fields(noun)[name]["type"] == "list" else ""
    column = shown.copy.columns.get(name) if shown.copy is not None and noun is Noun.ITEM else None
    if shown.copy is not None and column is not None and column.tallied and not shown.hidden_items:
        parts = {"tally": tally_of(shown.copy.id, column)}
        return await fetch(session, f"browsing.tally_options{of_list}", {"most": most}, parts)
    made = statement(shown, noun)
    parts = made.parts() | {"value": made.values[name]}
    return await fetch(session, f"browsing.options{of_list}", made.params | {"most": most}, parts, prepare=False)


async def _counted_in_copy(
    session: AsyncSession, shown: Window, copy: FieldCopy, filters: Sequence[Filter], search: str = ""
) -> int:
    column = _tally_for(copy, filters)
    if column is None or search.strip():
        narrowed, rare = await _narrowed(session, copy, filters), await _rare(session, copy, filters)
        return await counted(session, from_copy(copy, shown, narrowed, search, rare=rare))
    over = from_tally(copy, column, filters)
    parts = {"tally": over.records, "matches": over.parts()["matches"]}
    rows = await fetch(session, "browsing.tally", over.params, parts, prepare=False)
    hidden = await counted(session, from_copy(copy, shown, filters, shown_ones=False)) if shown.hidden_items else 0
    return int(rows[0]["total"]) - hidden


def _tally_for(copy: FieldCopy, filters: Sequence[Filter]) -> Column | None:
    """The tally that answers for all of these filters: that of the one field that they are by; any where there are
    none."""
    names = {one.field for one in filters}
    if len(names) > 1:
        return None
    columns = [copy.columns.get(name) for name in names] or list(copy.columns.values())
    return next((column for column in columns if column is not None and column.tallied), None)


async def _narrowed(session: AsyncSession, copy: FieldCopy, filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """The filters, those that an index cannot answer replaced by the values that match them, if these are few."""
    narrowed = []
    for one in filters:
        column = copy.columns.get(one.field)
        slow = one.type == "list" or one.lookup in _BY_VALUE
        if column is None or not column.tallied or not slow or one.lookup is Lookup.ISNULL:
            narrowed.append(one)
            continue
        over = from_tally(copy, column, (one,))
        rows = await matching(session, copy, column, over.parts()["matches"], over.params)
        narrowed.append(one if rows is None else _one_of(one, tuple(row["value"] for row in rows)))
    return tuple(narrowed)


async def _rare(session: AsyncSession, copy: FieldCopy, filters: Sequence[Filter]) -> frozenset[Filter]:
    """Of filters by letters in a text those whose rarest piece few texts have."""
    found = set()
    for one in filters:
        column = copy.columns.get(one.field)
        by_letters = one.lookup in (Lookup.CONTAINS, Lookup.ICONTAINS)
        if column is not None and by_letters and await rare(session, copy, column, one.value):
            found.add(one)
    return frozenset(found)


def _one_of(one: Filter, values: tuple[object, ...]) -> Filter:
    """The filter that holds for exactly these values, of lists as JSON texts."""
    return Filter(one.field, "json" if one.type == "list" else one.type, Lookup.IN, values)


def _equals(filters: Sequence[Filter]) -> bool:
    """Whether an index has the items that match one after the other in order of id."""
    return len(filters) == 1 and (
        filters[0].lookup in (Lookup.EXACT, Lookup.ISNULL)
        or (filters[0].lookup is Lookup.IN and len(filters[0].value) == 1)
    )


async def _page_in_copy(
    session: AsyncSession, shown: Window, copy: FieldCopy, query: Query, total: int, params: dict[str, int]
) -> list[Row]:
    """A page of so many items that match."""
    made = from_copy(copy, shown, query.filters, query.search)
    begins: Composable = SQL("true")
    order = made.parts(query.ordering)["order"]
    downwards = [name for name, down in query.ordering if down]
    if downwards:  # those without a value come last: an index has the others in order
        parts = {"value": made.values[downwards[0]], "id": made.id}
        begins, order = composed("browsing.is_not_null", parts), SQL("{value} desc, {id} desc").format(**parts)
    if len(query.ordering) < 2 and (made.conditions or downwards) and total >= FEW:
        begin = made.parts() | {"most": Literal(BEGIN), "begins": begins, "order": order}
        rows = await fetch(session, "browsing.page_begin", made.params | params, begin, prepare=False)
        if len(rows) == params["limit"]:
            return rows
    filters = await _narrowed(session, copy, query.filters)
    made = from_copy(copy, shown, filters, query.search, rare=await _rare(session, copy, query.filters))
    parts = made.parts(query.ordering)
    if not query.ordering and made.conditions and not _equals(filters) and total < DENSE:
        # Otherwise the plan may be to read all items in order until there are enough that match.
        parts["order"] = SQL("{} + 0").format(made.id)
    return await fetch(session, "browsing.page", made.params | params, parts, prepare=False)
