"""Which changes a reader of the feed wants: by what changed, and by the item's record as it is now."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.errors import InvalidInput

KINDS = ("task", "run", "item", "package", "project", "app")
NOTHING_DONE = "none"
"""Stands for the last step of an item to which nothing was done yet."""

MOST_VALUES = 1000
MOST_ALTERNATIVES = 64


@dataclass(frozen=True, slots=True)
class Filter:
    """Every part narrows; several values of one part are alternatives.

    `kinds` and `run` look at the change itself; the others at the record of its item as it is when it is read, so a
    change of anything but an item or its tasks does not pass them, nor one of a package unless `items` names it or
    `kinds` asks for packages. `last_steps`: exact names, or `none`. `fields`: pairs of a metadata key (with dots also:
    a key within a key) and its value as text. Raises InvalidInput.
    """

    kinds: tuple[str, ...] = ()
    run: int | None = None
    items: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    last_steps: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise InvalidInput(f"There are no changes of {kind!r}.", hint=f"A change is of {', '.join(KINDS)}.")
        words = (*self.items, *self.projects, *self.statuses, *self.last_steps, *itertools.chain(*self.fields))
        if any("\0" in word for word in words):
            raise InvalidInput("A filter cannot hold a NUL character.")
        if len(words) > MOST_VALUES:
            raise InvalidInput(
                f"The filter has {len(words):,} values; at most {MOST_VALUES:,} can be asked for at once."
            )
        _objects(self.fields)

    @property
    def of_records(self) -> bool:
        """Whether it looks at items' records."""
        return bool(self.items or self.projects or self.statuses or self.last_steps or self.fields)

    @property
    def looks_up(self) -> bool:
        """Whether an index can say which records match: by all parts but the last step."""
        return bool(self.items or self.projects or self.statuses or self.fields)

    def params(self) -> dict[str, Any]:
        """For the statements of `queries/feed.sql`."""
        return {
            "kinds": list(self.kinds) or None,
            "run": self.run,
            "names": list(self.items) or None,
            "projects": list(self.projects) or None,
            "statuses": list(self.statuses) or None,
            "packages": bool(self.items) or "package" in self.kinds,
            "last_steps": ["" if step == NOTHING_DONE else step for step in self.last_steps] or None,
            "fields": [orjson.dumps(one).decode() for one in _objects(self.fields)] or None,
        }


def fields_of(pairs: Iterable[tuple[str, str]], prefix: str = "field.") -> tuple[tuple[str, str], ...]:
    """The fields among a query's parameters: `field.NAME=value`."""
    return tuple((name.removeprefix(prefix), value) for name, value in pairs if name.startswith(prefix))


def _objects(fields: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """The JSON objects one of which a record's metadata must hold: one for each way that the values can be meant."""
    ways: dict[str, list[Mapping[str, Any]]] = {}
    for name, value in fields:
        if not name:
            raise InvalidInput("A field has no name.", hint="Write field.NAME=value.")
        ways.setdefault(name, []).extend(way for one in _meant(value) for way in _placed(name, one))
    found: list[dict[str, Any]] = []
    for chosen in itertools.product(*ways.values()) if ways else ():
        if len(found) == MOST_ALTERNATIVES:
            raise InvalidInput("The filter asks for too many fields at once.", hint="Ask for fewer fields or values.")
        whole: dict[str, Any] = {}
        for part in chosen:
            _merge(whole, part)
        found.append(whole)
    return found


def _meant(value: str) -> list[Any]:
    """What a value as text can mean: itself, and the number, truth or null that it spells."""
    try:
        read = orjson.loads(value)
    except orjson.JSONDecodeError:
        return [value]
    return [value] if isinstance(read, str | list | dict) else [value, read]


def _placed(name: str, value: Any) -> list[dict[str, Any]]:
    """Where a name with dots can mean: that key, and a key within keys."""
    nested = value
    for key in reversed(name.split(".")):
        nested = {key: nested}
    return [{name: value}, nested] if "." in name else [{name: value}]


def _merge(into: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = deepcopy(value)
