"""Fields whose values are gathered: a project's from its items and files, an item's from its parts and files.

What `collect` may say:

- `diagnosis`, `libraries.technology`: the values under this key; lists, and tables in lists, are looked into;
- `@modality`: the values of this attribute of the files;
- `#items`, `#files`, `#libraries`: how many items, files, or different values under this key there are;
- `@modality=BULK`, `is_xenograft=true`: whether there is this value.

The field's type decides what becomes of the values: a list (the different ones, in order), a boolean (whether one of
them is true, or is there at all), or for `#` a whole number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.domain.fields import Fields
from tidemill.errors import InvalidInput

ITEMS, FILES = "items", "files"


@dataclass(frozen=True, slots=True)
class Collect:
    """One gathered field. `keys` lead into metadata of items, or attributes of files; none: these are counted."""

    field: str
    type: str
    origin: str
    keys: tuple[str, ...] = ()
    count: bool = False
    equals: str | None = None

    @property
    def path(self) -> str | None:
        """The keys as an SQL/JSON path, which looks into lists by itself."""
        return "$." + ".".join(map(json.dumps, self.keys)) + "[*]" if self.keys else None

    def asked(self) -> dict[str, Any]:
        """What the statement that gathers needs of it."""
        return {"field": self.field, "origin": self.origin, "path": self.path}

    def value(self, values: Iterable[Any], number: int) -> Any:
        """What the field becomes: `values` are the different ones, `number` is how many items or files there are."""
        if not self.keys:
            return number
        found = sorted((one for one in values if one is not None), key=_order)
        if self.equals is not None:
            return any(_text(one) == self.equals for one in found)
        if self.count:
            return len(found)
        return found if self.type == "list" else any(one not in (False, 0, "", []) for one in found)


def collects(fields: Fields) -> list[Collect]:
    """The gathered ones of the declared fields. Raises InvalidInput as `collect` does."""
    return [collect(name, one["type"], one["collect"]) for name, one in fields.items() if one.get("collect")]


def collect(field: str, type_: str, said: str) -> Collect:
    """Read what `collect` says. Raises InvalidInput, which says what would be right."""
    word, marked, equals = said.partition("=")
    count, word = word.startswith("#"), word.removeprefix("#")
    origin = FILES if word.startswith("@") or (count and word == FILES) else ITEMS
    keys = word.removeprefix("@").split(".")
    if not all(keys) or (count and marked):
        raise InvalidInput(f"{said!r} cannot be collected.", hint='For example "diagnosis", "@modality", "#items".')
    wanted = "integer" if count else "boolean" if marked else "list or boolean"
    if type_ not in wanted.split(" or "):
        raise InvalidInput(f"collect = {said!r} gives a {wanted}, but the field's type is {type_}.")
    led = () if count and word in (ITEMS, FILES) else tuple(keys)
    return Collect(field, type_, origin, led, count, equals if marked else None)


def values_in(metadata: Mapping[str, Any], said: Collect) -> list[Any]:
    """The different values that a path of items' metadata leads to, as the statement would find them."""
    here: list[Any] = [metadata]
    for key in said.keys:
        here = [one[key] for one in _flat(here) if isinstance(one, dict) and key in one]
    return list({json.dumps(one, sort_keys=True): one for one in _flat(here)}.values())


def _flat(values: Iterable[Any]) -> list[Any]:
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float)
    return (0, value, "") if number else (1, 0, _text(value))
