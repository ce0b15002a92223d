"""Filters over declared fields as Django's REST framework writes them: `age__gte=3`, `diagnoses=Glioma`.

A filter is a field's name, or a path over a relation (`project__title`), then perhaps `__` and a lookup. Which lookups
a field takes is a matter of its type; a list is looked at value by value, and commas between values mean that it must
have all of them.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from tidemill.errors import InvalidFields


class Lookup(StrEnum):
    EXACT = "exact"
    IEXACT = "iexact"
    CONTAINS = "contains"
    ICONTAINS = "icontains"
    STARTSWITH = "startswith"
    ISTARTSWITH = "istartswith"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    ISNULL = "isnull"


_LETTERS = (
    Lookup.EXACT, Lookup.IEXACT, Lookup.CONTAINS, Lookup.ICONTAINS, Lookup.STARTSWITH, Lookup.ISTARTSWITH,
)  # fmt: skip
_ORDERED = (Lookup.GT, Lookup.GTE, Lookup.LT, Lookup.LTE)
LOOKUPS: Mapping[str, Sequence[Lookup]] = {
    "text": (*_LETTERS, *_ORDERED, Lookup.IN, Lookup.ISNULL),
    "date": (*_LETTERS, *_ORDERED, Lookup.IN, Lookup.ISNULL),
    "integer": (Lookup.EXACT, *_ORDERED, Lookup.IN, Lookup.ISNULL),
    "number": (Lookup.EXACT, *_ORDERED, Lookup.IN, Lookup.ISNULL),
    "time": (Lookup.EXACT, *_ORDERED, Lookup.IN, Lookup.ISNULL),
    "boolean": (Lookup.EXACT, Lookup.IN, Lookup.ISNULL),
    "list": (*_LETTERS, Lookup.IN, Lookup.ISNULL),
}
"""What each type of field can be asked. `time`: a moment of the record itself, such as `created_at`."""

MOST_FILTERS = 50
MOST_VALUES = 1000
LONGEST = 2000

_WORDS = frozenset(Lookup)
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


@dataclass(frozen=True, slots=True)
class Filter:
    """One thing that must hold. `value`: text, Decimal, bool or datetime by the field's type; a tuple of them for `in`
    and, of texts, for what a list must have; a bool for `isnull`."""

    field: str
    type: str
    lookup: Lookup
    value: Any


def read_filters(pairs: Iterable[tuple[str, str]], types: Mapping[str, str]) -> tuple[Filter, ...]:
    """The filters among a query's parameters; `types` has the type of each field that there is.

    Raises InvalidFields, which has every fault under the parameter's name.
    """
    found: list[Filter] = []
    faults: dict[str, list[str]] = {}
    for name, text in pairs:
        try:
            found.append(read_filter(name, text, types))
        except ValueError as error:
            faults.setdefault(name, []).append(str(error))
    if len(found) > MOST_FILTERS:
        faults["detail"] = [f"These are {len(found)} filters; {MOST_FILTERS} at once is the most."]
    if faults:
        raise InvalidFields(faults)
    return tuple(found)


def read_filter(name: str, text: str, types: Mapping[str, str]) -> Filter:
    """One filter. Raises ValueError with what would be right."""
    field, lookup = _split(name, types)
    type_ = types[field]
    if lookup not in LOOKUPS[type_]:
        raise ValueError(f"A field of type {type_} has no {lookup}; it has {', '.join(LOOKUPS[type_])}.")
    if "\0" in text or len(text) > LONGEST:
        raise ValueError(f"A value has at most {LONGEST:,} characters, and no NUL among them.")
    if lookup is Lookup.ISNULL:
        return Filter(field, type_, lookup, _value("boolean", text))
    many = lookup is Lookup.IN or (type_ == "list" and lookup in (Lookup.EXACT, Lookup.CONTAINS))
    if not many:
        return Filter(field, type_, lookup, _value(type_, text))
    words = [word for word in text.split(",") if word or type_ in ("text", "list")]
    if not words or len(words) > MOST_VALUES:
        raise ValueError(f"Give between one and {MOST_VALUES:,} values with commas between them.")
    return Filter(field, type_, lookup, tuple(_value(type_, word) for word in words))


def read_ordering(text: str, types: Mapping[str, str]) -> tuple[tuple[str, bool], ...]:
    """Fields to order by, each with whether it is downwards: `-age,name`. Raises InvalidFields."""
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name = word.removeprefix("-")
        if name not in types or "__" in name:
            raise InvalidFields({"ordering": [f"There is no field {name!r} to order by. {_known(name, types)}"]})
        found.append((name, word.startswith("-")))
    return tuple(found)


def _split(name: str, types: Mapping[str, str]) -> tuple[str, Lookup]:
    if name in types:
        return name, Lookup.EXACT
    field, _, word = name.rpartition("__")
    if field in types:
        if word in _WORDS:
            return field, Lookup(word)
        raise ValueError(f"There is no lookup {word!r}; {field} has {', '.join(LOOKUPS[types[field]])}.")
    raise ValueError(f"There is no filter {name!r}. {_known(name, types)}")


def _known(name: str, types: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, types, n=1, cutoff=0.75)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(types) or 'none'}."


def _value(type_: str, text: str) -> Any:
    word = text.strip()
    if type_ in ("integer", "number"):
        return _number(word, type_)
    if type_ == "boolean":
        if word.lower() in _TRUE | _FALSE:
            return word.lower() in _TRUE
        raise ValueError(f"{text!r} is neither true nor false.")
    if type_ == "time":
        return _time(word)
    return word if type_ == "date" else text


def _time(word: str) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(word.replace(" ", "+") if word.count(" ") == 1 and "T" in word else word)
    except ValueError:
        raise ValueError(f"{word!r} is no time; write 2026-11-21 or 2026-11-21T09:30:00Z.") from None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _number(word: str, type_: str) -> Decimal:
    try:
        number = Decimal(word)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or abs(number.adjusted()) > 400 or "_" in word:
        raise ValueError(f"{word!r} is no {'whole number' if type_ == 'integer' else 'number'}.")
    if type_ == "integer" and number != number.to_integral_value():
        raise ValueError(f"{word!r} is no whole number.")
    return number
