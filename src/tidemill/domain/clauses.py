"""The clauses of a condition: each explains itself for an item, and names its predicate in `queries/condition.sql`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

_INDEX = re.compile(r"[+-]?[0-9]{1,9}")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Facts:
    """What an item is, as far as conditions ask. `projects`: whether each is locked. Numbers of `metadata` as int or
    Decimal (see `exact`), so that they compare as in the database."""

    name: str
    status: str
    reason: str
    metadata: Mapping[str, Any]
    projects: Mapping[str, bool]
    files: int


class Clause(Protocol):
    """One thing that must hold."""

    def missed(self, item: Facts) -> str | None:
        """Why it does not hold for this item, in words; None: it does."""
        ...

    def asked(self) -> tuple[str, dict[str, Any]]:
        """The name of its predicate in `queries/condition.sql`, and the predicate's parameters."""
        ...

    def in_words(self) -> str: ...


def value_at(metadata: Any, path: str) -> Any:
    """What a path leads to, as PostgreSQL's `#>` finds it; `...` where there is nothing."""
    here = metadata
    for part in path.split("."):
        if isinstance(here, Mapping):
            here = here.get(part, _MISSING)
        elif isinstance(here, Sequence) and not isinstance(here, str) and _INDEX.fullmatch(part):
            at = int(part)
            here = here[at] if -len(here) <= at < len(here) else _MISSING
        else:
            here = _MISSING
    return ... if here is _MISSING else here


@dataclass(frozen=True, slots=True)
class StatusIs:
    allowed: tuple[str, ...]

    def missed(self, item: Facts) -> str | None:
        if item.status in self.allowed:
            return None
        why = f" ({item.reason})" if item.reason else ""
        return f"status is {item.status}{why}, must be {_either(self.allowed)}"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "status_is", {"allowed": list(self.allowed)}

    def in_words(self) -> str:
        return f"status is {_either(self.allowed)}"


@dataclass(frozen=True, slots=True)
class Unlocked:
    def missed(self, item: Facts) -> str | None:
        locked = sorted(name for name, is_locked in item.projects.items() if is_locked)
        return (
            f"project {_either(_quoted(locked), ' and ')} {'is' if len(locked) == 1 else 'are'} locked"
            if locked
            else None
        )

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "unlocked", {}

    def in_words(self) -> str:
        return "no project of it is locked"


@dataclass(frozen=True, slots=True)
class InProject:
    names: tuple[str, ...]

    def missed(self, item: Facts) -> str | None:
        if set(self.names) & set(item.projects):
            return None
        here = (
            f"is in project {_either(_quoted(sorted(item.projects)), ' and ')}" if item.projects else "is in no project"
        )
        return f"{here}, must be in {_either(_quoted(self.names))}"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "in_project", {"names": list(self.names)}

    def in_words(self) -> str:
        return f"in project {_either(_quoted(self.names))}"


@dataclass(frozen=True, slots=True)
class NameBegins:
    prefix: str

    def missed(self, item: Facts) -> str | None:
        return None if item.name.startswith(self.prefix) else f"name is {item.name}, must begin with `{self.prefix}`"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "name_begins", {"pattern": like(self.prefix + "*", wild=False)}

    def in_words(self) -> str:
        return f"name begins with `{self.prefix}`"


@dataclass(frozen=True, slots=True)
class HasFiles:
    least: int

    def missed(self, item: Facts) -> str | None:
        return None if item.files >= self.least else f"has {_files(item.files)}, must have at least {self.least}"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "has_files", {"least": self.least}

    def in_words(self) -> str:
        return f"at least {_files(self.least)}"


@dataclass(frozen=True, slots=True)
class Has:
    path: str

    def missed(self, item: Facts) -> str | None:
        return f"no `{self.path}`" if value_at(item.metadata, self.path) in (None, ...) else None

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "has", {"path": self.path.split(".")}

    def in_words(self) -> str:
        return f"has `{self.path}`"


@dataclass(frozen=True, slots=True)
class Tested:
    """A test of one metadata value."""

    path: str
    value: Any

    def missed(self, item: Facts) -> str | None:
        found = value_at(item.metadata, self.path)
        if found is ...:
            return f"no `{self.path}`, {self.must()}"
        return None if self.holds(found) else f"{self.path} is {shown(found)}, {self.must()}"

    def in_words(self) -> str:
        return f"{self.path} {self.must()}"

    def holds(self, found: Any) -> bool:
        raise NotImplementedError

    def must(self) -> str:
        raise NotImplementedError

    def asked(self) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def _path(self) -> dict[str, Any]:
        return {"path": self.path.split(".")}


@dataclass(frozen=True, slots=True)
class OneOf(Tested):
    """`value`: a list."""

    def holds(self, found: Any) -> bool:
        return any(_same(found, value) for value in self.value)

    def must(self) -> str:
        return f"must be {_either([shown(value) for value in self.value])}"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "one_of", Tested._path(self) | {"values": [shown(value) for value in self.value]}


@dataclass(frozen=True, slots=True)
class Least(Tested):
    def holds(self, found: Any) -> bool:
        return _alike(found, self.value) and _exact(found) >= _exact(self.value)

    def must(self) -> str:
        return f"must be at least {shown(self.value)}"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "at_least", Tested._path(self) | {"value": shown(self.value)}


@dataclass(frozen=True, slots=True)
class Most(Tested):
    def holds(self, found: Any) -> bool:
        return _alike(found, self.value) and _exact(found) <= _exact(self.value)

    def must(self) -> str:
        return f"must be at most {shown(self.value)}"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "at_most", Tested._path(self) | {"value": shown(self.value)}


@dataclass(frozen=True, slots=True)
class Begins(Tested):
    def holds(self, found: Any) -> bool:
        return isinstance(found, str) and found.startswith(self.value)

    def must(self) -> str:
        return f"must begin with {shown(self.value)}"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "is_like", Tested._path(self) | {"pattern": like(self.value + "*", wild=False)}


@dataclass(frozen=True, slots=True)
class Looks(Tested):
    """`value`: a pattern in which `*` is any number of characters and `?` is one."""

    def holds(self, found: Any) -> bool:
        pieces = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in self.value)
        return isinstance(found, str) and re.fullmatch("".join(pieces), found, re.DOTALL) is not None

    def must(self) -> str:
        return f"must look like {shown(self.value)}"

    def asked(self) -> tuple[str, dict[str, Any]]:
        return "is_like", Tested._path(self) | {"pattern": like(self.value)}


def metadata_test(path: str, test: str, value: Any) -> Tested:
    match test:
        case "equals":
            return OneOf(path, [value])
        case "one_of":
            return OneOf(path, value)
        case "min":
            return Least(path, value)
        case "max":
            return Most(path, value)
        case "prefix":
            return Begins(path, value)
    return Looks(path, value)


def like(pattern: str, *, wild: bool = True) -> str:
    """A pattern in LIKE's terms. `wild` False: only its last character is a sign."""
    body, last = (pattern, "") if wild else (pattern[:-1], "%")
    signs = {"*": "%", "?": "_"} if wild else {}
    return "".join(signs.get(c) or (f"\\{c}" if c in "\\%_" else c) for c in body) + last


def shown(value: Any) -> str:
    """A value as JSON, its numbers as they came."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return (
        str(value) if isinstance(value, int | float | Decimal) else json.dumps(value, ensure_ascii=False, default=str)
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: a number is never a truth value, 1 is 1.0."""
    return isinstance(one, bool) is isinstance(other, bool) and _exact(one) == _exact(other)


def _exact(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


def _alike(found: Any, bound: Any) -> bool:
    if isinstance(bound, str):
        return isinstance(found, str)
    return isinstance(found, int | Decimal | float) and not isinstance(found, bool)


def _either(words: Sequence[str], joined: str = " or ") -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + joined + words[-1]


def _quoted(names: Sequence[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _files(number: int) -> str:
    return f"{number} file" if number == 1 else f"{number} files"
