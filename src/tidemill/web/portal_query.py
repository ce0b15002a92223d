"""A list's address on the portal: what it asks for, and the addresses that ask for a little more or less.

`?diagnosis=Glioma&diagnosis=Neuroblastoma&age__gte=3&search=brain&sort=-age&page=2`: values of one facet are
alternatives, everything else must hold together. Other filters are those of the API (`domain.lookups`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from tidemill.catalogue.browsing import Facet, Query
from tidemill.domain.fields import Fields
from tidemill.domain.lookups import Filter, Lookup, read_filter, read_ordering
from tidemill.domain.shop_window import Noun, Window
from tidemill.errors import InvalidFields
from tidemill.web.portal_values import plain, titled

MOST_PAIRS = 100
RANGES = frozenset({"integer", "number", "date"})
"""Types whose facets are asked for from and to, not value by value."""

FIND = "find."
"""What a parameter begins with that looks for values of a facet."""

_NONE = "__isnull"
_WORDS = {
    "gte": "from", "lte": "to", "gt": "above", "lt": "below", "icontains": "contains", "istartswith": "begins with",
    "startswith": "begins with", "in": "one of", "iexact": "", "exact": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for."""

    pairs: tuple[tuple[str, str], ...] = ()
    """Filters as they stand in the address."""
    search: str = ""
    sort: str = ""
    page: int = 1

    def text(self) -> str:
        """As the query of an address, without what need not be said."""
        more = [("search", self.search), ("sort", self.sort), ("page", str(self.page) if self.page > 1 else "")]
        return urlencode([*self.pairs, *((name, value) for name, value in more if value)])

    def with_pair(self, name: str, value: str) -> Asked:
        """With one filter more; `no value` and values of the same field exclude each other."""
        field, none = name.removesuffix(_NONE), name.endswith(_NONE)
        rest = [pair for pair in self.pairs if pair[0] != (field if none else field + _NONE)]
        return replace(self, pairs=(*rest, (name, value)), page=1)

    def without(self, name: str, value: str | None = None) -> Asked:
        """Without one filter, or all of a name."""
        rest = tuple(pair for pair in self.pairs if pair[0] != name or value not in (None, pair[1]))
        return replace(self, pairs=rest, page=1)

    def has(self, name: str, value: str) -> bool:
        return (name, value) in self.pairs


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet. `total` None: not known; `query` leads to the list with it chosen, or no longer."""

    text: str
    total: int | None
    on: bool
    query: str

    @property
    def id(self) -> str:
        """The same whenever it is offered, so that who chose it by keyboard finds themselves where they were."""
        return hashed(self.text)


def hashed(name: str) -> str:
    """What stands for a name, whatever is in it, where only letters and digits may stand."""
    return sha256(name.encode("utf-8", "replace")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Choices:
    """A facet as a page offers it: values, or a span (`low` and `high` are what is asked for)."""

    name: str
    title: str
    values: list[Choice]
    more: bool = False
    span: str = ""
    """The type of a field that is asked for from and to; empty for values."""
    low: str = ""
    high: str = ""
    find: str = ""
    """The letters that its values must have in them."""

    @property
    def id(self) -> str:
        """By which a page tells it from others: a field may have any name."""
        return hashed(self.name)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A filter that is on, in words, and the list without it."""

    title: str
    text: str
    query: str
    less: Asked


def asked(params: Iterable[tuple[str, str]]) -> Asked:
    """What the parameters of an address ask for; empty ones ask for nothing."""
    pairs: list[tuple[str, str]] = []
    said = {"search": "", "sort": "", "page": ""}
    for name, value in params:
        word = value.replace("\0", "").strip()
        if name in said:
            said[name] = word[:500]
        elif word and (name, word) not in pairs and len(pairs) < MOST_PAIRS and not _aside(name):
            pairs.append((name, word))
    number = said["page"]
    page = min(int(number), 10**6) if number.isdecimal() and len(number) < 8 else 1
    return Asked(tuple(pairs), said["search"], said["sort"], max(1, page))


def finds(params: Iterable[tuple[str, str]], names: Sequence[str]) -> dict[str, str]:
    """By facet the letters that its values are looked through for."""
    said = (
        (name.removeprefix(FIND), value.replace("\0", "").strip()[:200])
        for name, value in params
        if name.startswith(FIND)
    )
    return {name: value for name, value in said if value and name in names}


def _aside(name: str) -> bool:
    """Whether a parameter is no filter."""
    return name == "key" or name.startswith(FIND)


def query_of(wanted: Asked, shown: Window, noun: Noun, size: int) -> Query:
    """The query that it makes, a page of `size`. Raises InvalidFields."""
    ordering = read_ordering(wanted.sort or default_sort(shown, noun), shown.types(noun))
    return Query(filters(wanted, shown, noun), wanted.search, ordering, size, (wanted.page - 1) * size)


def default_sort(shown: Window, noun: Noun) -> str:
    return "name" if noun is Noun.COMPUTED_FILE else shown.id


def filters(wanted: Asked, shown: Window, noun: Noun) -> tuple[Filter, ...]:
    """Its filters: several values of one field are alternatives. Raises InvalidFields, with all faults."""
    types, found, faults = shown.types(noun), list[Filter](), dict[str, list[str]]()
    for name in dict.fromkeys(name for name, _ in wanted.pairs):
        values = [value for key, value in wanted.pairs if key == name]
        try:
            if name in shown.fields(noun) and name in types:
                found.append(_one_of(name, types[name], values, types))
            else:
                found.extend(read_filter(name, value, types) for value in values)
        except ValueError as error:
            faults[name] = [str(error)]
    if faults:
        raise InvalidFields(faults)
    return tuple(found)


def choices(
    wanted: Asked, fields: Fields, found: Sequence[Facet], finds: Mapping[str, str] | None = None
) -> list[Choices]:
    """The facets as a page offers them, in the order of the declared fields: values that there is something to choose
    between, spans of what has an order. `finds`: the letters that values of a facet were looked through for."""
    letters = finds or {}
    made, counted = [], {facet.name: facet for facet in found}
    for name, declared in fields.items():
        title = declared.get("title") or titled(name)
        if declared.get("facet") and declared["type"] in RANGES:
            low, high = (_said(wanted, f"{name}__{way}") for way in ("gte", "lte"))
            made.append(Choices(name, title, [], span=declared["type"], low=low, high=high))
        elif facet := counted.get(name):
            find = letters.get(name, "")
            values = _values(wanted, facet)
            if find or len(values) > 1 or any(one.on for one in values):
                made.append(Choices(name, title, values, facet.more, find=find))
    return made


def counted_facets(fields: Fields) -> list[str]:
    """The facets whose values are offered one by one."""
    return [name for name, said in fields.items() if said.get("facet") and said["type"] not in RANGES]


def chosen(wanted: Asked, shown: Window, noun: Noun) -> list[Chosen]:
    """The filters that are on, in words, the search among them."""
    made = [_chosen(name, value, wanted, shown, noun) for name, value in wanted.pairs]
    if wanted.search:
        less = replace(wanted, search="", page=1)
        made.append(Chosen("Search", f"“{wanted.search}”", less.text(), less))
    return made


def _chosen(name: str, value: str, wanted: Asked, shown: Window, noun: Noun) -> Chosen:
    types, less = shown.types(noun), wanted.without(name, value)
    field, _, way = (name, "", "") if name in types else name.rpartition("__")
    declared = shown.fields(noun).get(field) or {}
    title = declared.get("title") or titled(field.removesuffix(f"__{shown.id}"))
    if way == Lookup.ISNULL:
        return Chosen(title, "not given" if value.lower() in ("true", "1", "yes") else "given", less.text(), less)
    word = _WORDS.get(way, way)
    text = {"true": "yes", "false": "no"}.get(value, value) if declared.get("type") == "boolean" else value
    return Chosen(title, f"{word} {text}".strip(), less.text(), less)


def _one_of(name: str, type_: str, values: Sequence[str], types: dict[str, str]) -> Filter:
    """What one facet's values ask for: any of them. Each is read alone: it may have a comma in it."""
    if type_ in ("text", "list", "date"):
        return Filter(name, type_, Lookup.IN, tuple(values))
    return Filter(name, type_, Lookup.IN, tuple(read_filter(name, value, types).value for value in values))


def _values(wanted: Asked, facet: Facet) -> list[Choice]:
    made = [_choice(wanted, facet.name, value, total) for value, total in facet.values]
    there = {_word(value) for value, _ in facet.values if value is not None}
    for name, value in wanted.pairs:
        if name == facet.name and value not in there:
            made.append(Choice(value, None if facet.more else 0, True, wanted.without(name, value).text()))
    return made


def _choice(wanted: Asked, name: str, value: Any, total: int) -> Choice:
    key, word = (name + _NONE, "true") if value is None else (name, _word(value))
    on = wanted.has(key, word)
    change: Callable[[str, str], Asked] = wanted.without if on else wanted.with_pair
    return Choice("not given" if value is None else plain(value), total, on, change(key, word).text())


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _said(wanted: Asked, name: str) -> str:
    return next((value for key, value in wanted.pairs if key == name), "")
