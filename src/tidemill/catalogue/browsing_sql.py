"""From filters to the parts of the statements in `queries/browsing.sql`. Values are parameters, never text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal, Placeholder

from tidemill.catalogue.field_copy import records_of, tally_of
from tidemill.db.database import composed
from tidemill.domain.lookups import Filter, Lookup
from tidemill.domain.shop_window import Column, FieldCopy, Noun, Window

Values = Mapping[str, Composable]
"""Where a record has each thing that can be asked of it, by the name of its filter."""

MOST_WORDS = 10
"""Words of a search that are looked for."""

_RECORDS = {Noun.ITEM: "item", Noun.PROJECT: "project", Noun.COMPUTED_FILE: "computed_file"}
_ALIAS = {Noun.ITEM: "i", Noun.PROJECT: "p", Noun.COMPUTED_FILE: "c"}
_PIECES = {"integer": "number", "number": "number", "boolean": "boolean", "list": "list"}
_CASTS = {"text": "text", "date": "text", "time": "timestamptz", "integer": "numeric", "number": "numeric",
          "boolean": "boolean", "json": "jsonb"}  # fmt: skip
_ALWAYS = frozenset({"created_at", "updated_at"})
"""What every record has, unless a declared field is called so."""
_COLUMNS = {"size_in_bytes": "size"}
_PLAIN = {Lookup.IEXACT: "exact", Lookup.ICONTAINS: "contains", Lookup.ISTARTSWITH: "startswith"}
"""The lookups that look at small letters, and what they are where these are at hand."""

_RELATIONS = {
    (Noun.ITEM, Noun.PROJECT): "browsing.items_of_projects",
    (Noun.PROJECT, Noun.ITEM): "browsing.projects_of_items",
    (Noun.COMPUTED_FILE, Noun.PROJECT): "browsing.files_of_projects",
    (Noun.COMPUTED_FILE, Noun.ITEM): "browsing.files_of_items",
}


@dataclass(slots=True)
class Statement:
    """A choice of records: the parts and the parameters that the statements want."""

    noun: Noun
    records: Composable
    id: Composable
    values: Values
    lower: Values = field(default_factory=dict)
    """Where texts are in small letters, if they are."""
    rare: frozenset[Filter] = frozenset()
    """Filters by letters that so few texts have that an index finds them."""
    alias: str = "r"
    """What the statement calls a record."""
    conditions: list[Composable] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)

    def parts(self, ordering: Sequence[tuple[str, bool]] = ()) -> dict[str, Composable]:
        """What stands in the braces of `count`, `page`, `facet` and `options`."""
        return {
            "records": self.records,
            "id": self.id,
            "alias": Identifier(self.alias),
            "matches": all_of(self.conditions),
            "order": self._order(ordering),
        }

    def _order(self, ordering: Sequence[tuple[str, bool]]) -> Composable:
        """By these fields, then by id: upwards, or downwards where the last field is."""
        pieces = []
        for name, downwards in ordering:
            direction = SQL("desc" if downwards else "asc")
            own = name in _ALWAYS and self.values[name] == Identifier(self.alias, name)
            # What is never null is ordered without a word about it, as its index is.
            pieces.append(SQL("{} {}{}").format(self.values[name], direction, SQL("" if own else " nulls last")))
        last = SQL("{} desc") if ordering and ordering[-1][1] else SQL("{}")
        return SQL(", ").join([*pieces, last.format(self.id)])

    def keep(self, value: Any, cast: str) -> Composable:
        """A parameter for this value."""
        name = f"given{len(self.params)}"
        self.params[name] = value
        return SQL("{}::{}").format(Placeholder(name), SQL(cast))


def statement(shown: Window, noun: Noun, filters: Sequence[Filter] = (), search: str = "") -> Statement:
    """Those records of a noun that are shown and for which all filters hold."""
    alias = _ALIAS[noun]
    made = Statement(noun, _named(noun, alias), Identifier(alias, "id"), _values(shown, noun), alias=alias)
    made.conditions += _shown(shown, noun)
    made.conditions += _conditions(made, made.values, [one for one in filters if one.field in made.values])
    _relate(made, shown, filters)
    _search(made, shown, search)
    return made


def from_copy(
    copy: FieldCopy,
    shown: Window,
    filters: Sequence[Filter],
    search: str = "",
    *,
    shown_ones: bool = True,
    rare: frozenset[Filter] = frozenset(),
    params: dict[str, Any] | None = None,
) -> Statement:
    """The same of items, from the copy of their fields; or of those that are not shown. Filters by fields that it has
    not are none of its. `params`: where to keep parameters."""
    values: dict[str, Composable] = {shown.id: Identifier("f", "name")}
    values |= {name: Identifier("f", column.column) for name, column in copy.columns.items()}
    lower = {one.field: Identifier("f", one.lower) for one in copy.columns.values() if one.lower is not None}
    records, id_ = SQL("{} f").format(records_of(copy.id)), Identifier("f", "item_id")
    made = Statement(Noun.ITEM, records, id_, values, lower, rare, alias="f", params={} if params is None else params)
    if shown.hidden_items or not shown_ones:
        piece = "browsing.shown_items" if shown_ones else "browsing.hidden_among"
        made.conditions.append(composed(piece, {"hidden": Literal(list(shown.hidden_items)), "id": made.id}))
    made.conditions += _conditions(made, values, [one for one in filters if one.field in values])
    _relate(made, shown, filters)
    _search(made, shown, search)
    return made


def conditions_of(
    shown: Window, copy: FieldCopy, filters: Sequence[Filter], keeper: Statement, value: Composable | None = None
) -> Composable:
    """What filters ask of an item of the copy, or of a value of their field, if that is given; their parameters are
    kept by another statement."""
    if value is None:
        return all_of(from_copy(copy, shown, filters, params=keeper.params).conditions[bool(shown.hidden_items) :])
    over = Statement(Noun.ITEM, SQL(""), value, {one.field: value for one in filters}, alias="t", params=keeper.params)
    return all_of(_conditions(over, over.values, filters))


def from_tally(copy: FieldCopy, column: Column, filters: Sequence[Filter]) -> Statement:
    """Values of a field for which all filters, which are by that field, hold."""
    tally = tally_of(copy.id, column)
    made = Statement(Noun.ITEM, tally, Identifier("t", "value"), {column.field: Identifier("t", "value")}, alias="t")
    made.conditions += _conditions(made, made.values, filters)
    return made


def _named(noun: Noun, alias: str) -> Composable:
    return SQL("{} {}").format(Identifier(_RECORDS[noun]), Identifier(alias))


def all_of(conditions: Sequence[Composable]) -> Composable:
    """That all of these hold; true where there are none."""
    return SQL("({})").format(SQL(") and (").join(conditions)) if conditions else SQL("true")


def _search(made: Statement, shown: Window, search: str) -> None:
    """Narrow a choice to records in whose texts each word stands."""
    texts = [value for name, value in made.values.items() if searched(shown, made.noun, name)]
    for word in search.split()[:MOST_WORDS]:
        parts = {"values": SQL(", ").join(texts), "given": made.keep(word, "text")}
        made.conditions.append(composed("browsing.name_search", parts))


def _relate(made: Statement, shown: Window, filters: Sequence[Filter]) -> None:
    """Narrow a choice by filters across relations."""
    for other, some in _related(shown, made.noun, filters).items():
        inner = _conditions(made, _values(shown, other), some)
        parts = {"matches": all_of([*_shown(shown, other), *inner]), "id": made.id}
        if other is Noun.ITEM and made.noun is Noun.COMPUTED_FILE:
            parts["per_item"] = made.keep(list(shown.per_item), "text[]")
        made.conditions.append(composed(_RELATIONS[made.noun, other], parts))


def _shown(shown: Window, noun: Noun) -> list[Composable]:
    """What holds for whatever is shown at all."""
    if noun is Noun.COMPUTED_FILE:
        return [composed("browsing.shown_files", {})]
    base: list[Composable] = [composed("browsing.all_items", {})] if noun is Noun.ITEM else []
    if not shown.hidden:
        return base
    if noun is Noun.ITEM:
        parts = {"hidden": Literal(list(shown.hidden_items)), "id": Identifier("i", "id")}
        return [*base, composed("browsing.shown_items", parts)] if shown.hidden_items else base
    return [composed("browsing.shown_projects", {"hidden": Literal(list(shown.hidden))})]


def _values(shown: Window, noun: Noun) -> dict[str, Composable]:
    """Where a record has what."""
    alias = _ALIAS[noun]
    values: dict[str, Composable] = {}
    for name, type_ in shown.own(noun).items():
        column = "name" if name == shown.id and noun is not Noun.COMPUTED_FILE else _COLUMNS.get(name, name)
        plain = Identifier(alias, column)
        values[name] = SQL('({} collate "C")').format(plain) if type_ == "text" else plain
    record = Identifier(alias, "attributes" if noun is Noun.COMPUTED_FILE else "metadata")
    for name, declared in shown.fields(noun).items():
        if name != shown.id:
            piece = f"browsing.{_PIECES.get(declared['type'], 'text')}_value"
            if noun is Noun.COMPUTED_FILE and declared["type"] == "boolean":
                piece = "browsing.yes_value"
            values[name] = composed(piece, {"record": record, "key": Literal(name)})
    return values


def _related(shown: Window, noun: Noun, filters: Iterable[Filter]) -> dict[Noun, list[Filter]]:
    """The filters across relations, by the noun that they look at, each as a filter of that noun."""
    found: dict[Noun, list[Filter]] = {}
    for one in filters:
        for path, other in shown.relations(noun).items():
            if one.field == path or one.field.startswith(f"{path}__"):
                name = one.field.removeprefix(path).removeprefix("__") or shown.id
                found.setdefault(other, []).append(Filter(name, one.type, one.lookup, one.value))
                break
    return found


def _conditions(made: Statement, values: Values, filters: Iterable[Filter]) -> list[Composable]:
    return [_condition(made, values[one.field], one) for one in filters]


def _condition(made: Statement, value: Composable, one: Filter) -> Composable:
    if one.lookup is Lookup.ISNULL:
        return composed("browsing.is_null" if one.value else "browsing.is_not_null", {"value": value})
    if one.type == "list":
        return _list_condition(made, value, one)
    cast = _CASTS[one.type]
    many = one.lookup is Lookup.IN
    if one in made.rare:
        made.conditions.append(_grams(made, one))
    if one.lookup in _PLAIN and one.field in made.lower:
        small = composed("browsing.lowered", {"value": made.keep(one.value, cast)})
        return composed(f"browsing.{_PLAIN[one.lookup]}", {"value": made.lower[one.field], "given": small})
    given = made.keep(list(one.value) if many else one.value, f"{cast}[]" if many else cast)
    return composed(f"browsing.{one.lookup}", {"value": value, "given": given})


def _grams(made: Statement, one: Filter) -> Composable:
    """What must hold where a text contains these letters, and can be looked up."""
    return composed("browsing.has_grams", {"value": made.lower[one.field], "given": made.keep(one.value, "text")})


def _list_condition(made: Statement, value: Composable, one: Filter) -> Composable:
    if isinstance(one.value, tuple):
        piece = "list_in" if one.lookup is Lookup.IN else "list_all"
        return composed(f"browsing.{piece}", {"value": value, "given": made.keep(list(one.value), "text[]")})
    given = made.keep(one.value, "text")
    inner = composed(f"browsing.{one.lookup}", {"value": SQL("e.value"), "given": given})
    return composed("browsing.list_any", {"value": value, "matches": inner})


def searched(shown: Window, noun: Noun, name: str) -> bool:
    """Whether a search looks at this: at names, titles, and what is declared as text."""
    fields = shown.fields(noun)
    return fields[name]["type"] in ("text", "list") if name in fields else name in (shown.id, "title", "name")


def cast_of(type_: str) -> str:
    """What a field's values are in SQL."""
    return "jsonb" if type_ == "list" else _CASTS[type_]
