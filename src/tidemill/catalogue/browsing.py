"""What there is to see in the catalogue: lists of projects, items and computed files, narrowed, counted, ordered.

The portal's API and its pages both ask here. What is declared for a noun can be filtered by, with the lookups of
`domain.lookups`, also across relations; counts are exact. Packages are in no list of items. A project that was locked
before anything was loaded of it is not shown, nor are items that stand in no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import browsing_pages
from tidemill.catalogue.browsing_sql import Statement, statement
from tidemill.catalogue.field_copy import NAMED
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.lookups import Filter, read_filters, read_ordering
from tidemill.domain.shop_window import Column, FieldCopy, Noun, Window
from tidemill.errors import NotFound

MOST_ROWS = 5000
"""Rows of one page, at most."""

MOST_OPTIONS = 10_000


@dataclass(frozen=True, slots=True)
class Query:
    """Which records are wanted. `search`: what their names or declared texts must contain; `ordering`: fields, each
    with whether it is downwards."""

    filters: tuple[Filter, ...] = ()
    search: str = ""
    ordering: tuple[tuple[str, bool], ...] = ()
    limit: int = 10
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of records, and how many there are in all; see `items`, `projects`, `computed_files` for their keys."""

    total: int
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Facet:
    """How often each value of a field occurs among records that match: the most frequent first, None for no value."""

    name: str
    title: str
    type: str
    values: list[tuple[Any, int]] = field(default_factory=list)
    more: bool = False
    """Whether there are more values than these."""


@dataclass(frozen=True, slots=True)
class Files:
    """A page of original files (`source, key, size, etag, modified_at, attributes`), how many there are, and
    their bytes."""

    total: int
    size: int
    rows: list[Row]


async def window(session: AsyncSession) -> Window:
    """What the site declares, as it is now: every call below wants it."""
    row = await fetch_one(session, "browsing.site")
    hidden = tuple(one["id"] for one in await fetch(session, "browsing.hidden", {}, {}))
    hidden_items = await fetch(session, "browsing.hidden_items", {"hidden": list(hidden)}) if hidden else []
    return replace(
        Window.of(row or {}),
        hidden=hidden,
        hidden_items=tuple(one["id"] for one in hidden_items),
        copy=await _copy(session, row or {}),
    )


def read_query(
    shown: Window,
    noun: Noun,
    pairs: Iterable[tuple[str, str]],
    *,
    search: str = "",
    ordering: str = "",
    limit: int = 10,
    offset: int = 0,
) -> Query:
    """A query from parameters as they stand in an address; see `domain.lookups`. Raises InvalidFields."""
    filters = read_filters(pairs, shown.types(noun))
    return Query(filters, search.replace("\0", ""), read_ordering(ordering, shown.types(noun)), limit, offset)


async def items(session: AsyncSession, shown: Window, query: Query) -> Listed:
    """Items: `id, name, status, metadata, revision, created_at, updated_at, projects` (`[{id, name, title}]`), and
    `computed_files` (as `computed_files` has them)."""
    total, ids = await _found(session, shown, Noun.ITEM, query)
    return Listed(total, await _items(session, shown, ids))


async def projects(session: AsyncSession, shown: Window, query: Query, *, members: bool = True) -> Listed:
    """Projects: `id, name, title, metadata, locked, created_at, items` (how many), `computed_files`; with `members`
    the names of the items in `item_names`."""
    total, ids = await _found(session, shown, Noun.PROJECT, query)
    return Listed(total, await _projects(session, shown, ids, members=members))


async def computed_files(session: AsyncSession, shown: Window, query: Query) -> Listed:
    """Current computed files: `id, package, name, store, key, size, sha256, attributes, files, created_at, updated_at,
    downloads, project` (a name), `items` (names, where the package is made per item; else None)."""
    total, ids = await _found(session, shown, Noun.COMPUTED_FILE, query)
    return Listed(total, await _computed(session, shown, ids))


async def item(session: AsyncSession, shown: Window, name: str) -> Row:
    """One item, as `items` has it. Raises NotFound."""
    found = await _one(session, "browsing.item_id", statement(shown, Noun.ITEM), name)
    if found is None:
        raise NotFound(f"There is no {shown.words.item} {name!r}.")
    return (await _items(session, shown, [found["id"]]))[0]


async def project(session: AsyncSession, shown: Window, name: str) -> Row:
    """One project, as `projects` has it. Raises NotFound."""
    found = await _one(session, "browsing.project_id", statement(shown, Noun.PROJECT), name)
    if found is None:
        raise NotFound(f"There is no {shown.words.project} {name!r}.")
    return (await _projects(session, shown, [found["id"]], members=True))[0]


async def project_items(session: AsyncSession, shown: Window, name: str) -> list[Row]:
    """All items of a project, in order of name, as `items` has them."""
    made = statement(shown, Noun.ITEM, (shown.in_project(name),))
    found = await fetch(session, "browsing.page", made.params | {"limit": None, "offset": 0}, made.parts())
    rows = await _items(session, shown, [row["id"] for row in found])
    return sorted(rows, key=lambda row: str(row["name"]))


async def computed_file(session: AsyncSession, shown: Window, number: int) -> Row:
    """One current computed file, as `computed_files` has it. Raises NotFound."""
    made = statement(shown, Noun.COMPUTED_FILE, (shown.numbered(number),))
    found = await fetch(session, "browsing.page", made.params | {"limit": 1, "offset": 0}, made.parts())
    if not found:
        raise NotFound(f"There is no computed file {number}.")
    return (await _computed(session, shown, [number]))[0]


async def facets(
    session: AsyncSession,
    shown: Window,
    noun: Noun,
    query: Query,
    *,
    names: Sequence[str] | None = None,
    most: int = 50,
) -> list[Facet]:
    """How often each value occurs, for every field declared a facet (or those of these names). A facet's own filters
    do not narrow it, so that a person sees what else there is to choose."""
    fields = shown.fields(noun).items()
    wanted = [name for name, said in fields if (said.get("facet") if names is None else name in names)]
    by_bits = await browsing_pages.facets_rows(session, shown, noun, query, wanted, most + 1)
    found = []
    for name in wanted:
        rows = by_bits.get(name)
        if rows is None:
            rows = await browsing_pages.facet_rows(session, shown, noun, without(query, name), name, most + 1)
        found.append(_facet(shown, noun, name, rows, most))
    return found


async def facet(
    session: AsyncSession, shown: Window, noun: Noun, query: Query, name: str, *, contains: str = "", most: int = 50
) -> Facet:
    """The same for one declared field, of any type; `contains`: of those values only in which these letters stand,
    whatever their case, for where there are more than a page can offer. Raises NotFound for what is not declared."""
    if name not in shown.fields(noun):
        raise NotFound(f"There is no field {name[:60]!r}.")
    letters = contains.replace("\0", "").strip()
    by_bits = await browsing_pages.facets_rows(session, shown, noun, query, [name], most + 1, letters)
    rows = by_bits.get(name)
    if rows is None:
        rows = await browsing_pages.facet_rows(session, shown, noun, without(query, name), name, most + 1, letters)
    return _facet(shown, noun, name, rows, most)


async def options(session: AsyncSession, shown: Window, noun: Noun, names: Sequence[str]) -> dict[str, list[Any]]:
    """The distinct values that these fields have, in order; of lists, those that are in them."""
    found: dict[str, list[Any]] = {}
    for name in names:
        rows = await browsing_pages.option_rows(session, shown, noun, name, MOST_OPTIONS)
        found[name] = [_plain(row["value"]) for row in rows]
    return found


async def totals(session: AsyncSession, shown: Window) -> Row:
    """How much there is in all: `projects, items, computed_files, size_in_bytes, downloads`."""
    row = await fetch_one(session, "browsing.totals", {"hidden": list(shown.hidden)})
    return {**(row or {}), "items": await browsing_pages.all_items(session, shown)}


async def item_files(session: AsyncSession, row: Row, *, limit: int = 1000, offset: int = 0) -> Files:
    """The original files of an item that `item` gave, in order of key."""
    return await _files(session, "item", row["id"], limit, offset)


async def project_files(session: AsyncSession, row: Row, *, limit: int = 1000, offset: int = 0) -> Files:
    """The original files of a project that `project` gave, those of its items among them."""
    return await _files(session, "project", row["id"], limit, offset)


def _facet(shown: Window, noun: Noun, name: str, rows: Sequence[Row], most: int) -> Facet:
    declared = shown.fields(noun)[name]
    values = [(_plain(row["value"]), row["total"]) for row in rows]
    return Facet(name, declared.get("title") or name, declared["type"], values[:most], len(values) > most)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


async def _found(session: AsyncSession, shown: Window, noun: Noun, query: Query) -> tuple[int, list[int]]:
    return await browsing_pages.found(session, shown, noun, query, min(query.limit, MOST_ROWS))


async def _copy(session: AsyncSession, site: Row) -> FieldCopy | None:
    """The copy of the declared fields, as far as it has them as they are declared now."""
    row = await fetch_one(session, "browsing.copy")
    if row is None:
        return None
    declared = {name: one["type"] for name, one in (site.get("fields") or {}).items()}
    bits = row["bits"] or {}
    columns = [Column(**column, **bits.get(column["column"], {})) for column in row["columns"]]
    good = [one for one in columns if declared.get(one.field) == one.type and one.field not in row["long"]]
    named = replace(NAMED, **bits[NAMED.column]) if NAMED.column in bits else None
    return FieldCopy(row["id"], {one.field: one for one in good}, named)


async def _one(session: AsyncSession, name: str, made: Statement, wanted: str) -> Row | None:
    if "\0" in wanted:
        return None
    return await fetch_one(session, name, made.params | {"name": wanted}, made.parts())


async def _items(session: AsyncSession, shown: Window, ids: Sequence[int]) -> list[Row]:
    rows = await fetch(session, "browsing.items", {"ids": list(ids), "hidden": list(shown.hidden)})
    params = {"ids": list(ids), "per_item": list(shown.per_item)}
    owned = await fetch(session, "browsing.computed_of_items", params) if shown.per_item else []
    return _ordered(ids, rows, await _owned(session, shown, owned))


async def _projects(session: AsyncSession, shown: Window, ids: Sequence[int], *, members: bool) -> list[Row]:
    rows = await fetch(session, "browsing.projects", {"ids": list(ids)})
    params = {"ids": list(ids), "others": [*shown.per_item, "dataset"]}
    owned = await _owned(session, shown, await fetch(session, "browsing.computed_of_projects", params))
    found = _ordered(ids, rows, owned)
    if members:
        names: dict[int, list[str]] = {id_: [] for id_ in ids}
        for row in await fetch(session, "browsing.members", {"projects": list(ids)}):
            names[row["project_id"]].append(row["name"])
        found = [row | {"item_names": names[row["id"]]} for row in found]
    return found


async def _owned(session: AsyncSession, shown: Window, owned: Sequence[Row]) -> dict[int, list[Row]]:
    """Computed files by whose they are."""
    ids = list(dict.fromkeys(row["id"] for row in owned))
    by_id = {row["id"]: row for row in await _computed(session, shown, ids)} if ids else {}
    found: dict[int, list[Row]] = {}
    for row in owned:
        found.setdefault(row["owner"], []).append(by_id[row["id"]])
    return found


async def _computed(session: AsyncSession, shown: Window, ids: Sequence[int]) -> list[Row]:
    params = {"ids": list(ids), "per_item": list(shown.per_item)}
    return _ordered(ids, await fetch(session, "browsing.computed_files", params))


def _ordered(ids: Sequence[int], rows: Sequence[Row], owned: Mapping[int, list[Row]] | None = None) -> list[Row]:
    by_id = {row["id"]: row for row in rows}
    found = [by_id[id_] for id_ in ids if id_ in by_id]
    return found if owned is None else [row | {"computed_files": owned.get(row["id"], [])} for row in found]


async def _files(session: AsyncSession, of: str, number: int, limit: int, offset: int) -> Files:
    weight = await fetch_one(session, f"browsing.weight_of_{of}", {"id": number})
    params = {"id": number, "limit": min(limit, MOST_ROWS), "offset": offset}
    rows = await fetch(session, f"browsing.files_of_{of}", params)
    assert weight is not None
    return Files(weight["files"], weight["size"], rows)


def without(query: Query, name: str) -> Query:
    """The query without its filters by one field."""
    return replace(query, filters=tuple(one for one in query.filters if one.field != name))
