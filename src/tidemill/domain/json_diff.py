"""What differs between two JSON values: keys added, removed and changed, numbers by how much; long lists in one line.

A path reads `process[fit].output.amplitude` or `channels[3]`: objects in a list are matched by their `name` or `id`
where each has one of its own, else by their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MOST = 300
"""Differences that are told of at most; all are counted."""

LONG = 12
"""From so many elements on a list of plain values is told of in one line."""

DEEP = 200
"""Levels below which values are compared as a whole."""

VOLATILE = frozenset({"timestamp", "appProfiling", "runningTime", "hwFetch"})
"""Keys that differ each time, as MMIF has them: a difference in them alone is told, and is not a different result."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`kind`: `added`, `removed`, `changed`, or `list` (a long one: `old` and `new` are sentences about it).

    `relative`: of numbers, how much the new one differs, as a share of the larger of the two (0 to 2).
    """

    path: str
    kind: str
    old: Any = None
    new: Any = None
    relative: float | None = None
    volatile: bool = False


@dataclass(slots=True)
class Comparison:
    """`differences`: the first ones; `count`: all. `volatile`: those of them in keys that differ each time."""

    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    volatile: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    """The largest relative change of a number by key, as a path without places: `process[].output.amplitude`."""

    @property
    def equal(self) -> bool:
        """Whether nothing differs but what differs each time."""
        return self.count == self.volatile


def compare(old: Any, new: Any) -> Comparison:
    """All differences between two JSON values, in the order of the keys."""
    found = Comparison()
    for one, key in _walk("", "", old, new, False, 0):
        found.count += 1
        found.volatile += one.volatile
        if len(found.differences) < MOST:
            found.differences.append(one)
        if one.relative is not None and not one.volatile:
            found.largest[key] = max(one.relative, found.largest.get(key, 0.0))
    return found


Found = Iterator[tuple[Difference, str]]
"""Differences, each with its path without places."""


def _walk(path: str, key: str, old: Any, new: Any, volatile: bool, depth: int) -> Found:
    if depth < DEEP and type(old) is type(new) and isinstance(old, dict):
        yield from _objects(path, key, old, new, volatile, depth + 1)
    elif depth < DEEP and type(old) is type(new) and isinstance(old, list):
        yield from _lists(path, key, old, new, volatile, depth + 1)
    elif not _same(old, new):
        yield Difference(path, "changed", old, new, relative(old, new), volatile), key


def _objects(path: str, key: str, old: dict[str, Any], new: dict[str, Any], volatile: bool, depth: int) -> Found:
    for name in dict.fromkeys((*old, *new)):
        below = f"{path}.{name}" if path else name
        below_key = f"{key}.{name}" if key else name
        varies = volatile or name in VOLATILE
        if name not in new:
            yield Difference(below, "removed", old=old[name], volatile=varies), below_key
        elif name not in old:
            yield Difference(below, "added", new=new[name], volatile=varies), below_key
        else:
            yield from _walk(below, below_key, old[name], new[name], varies, depth)


def _lists(path: str, key: str, old: list[Any], new: list[Any], volatile: bool, depth: int) -> Found:
    below = f"{key}[]"
    if max(len(old), len(new)) >= LONG and all(map(_plain, old)) and all(map(_plain, new)):
        yield from _long(path, below, old, new, volatile)
        return
    label = _labels(old, new)
    before = {label(place, one): one for place, one in enumerate(old)}
    after = {label(place, one): one for place, one in enumerate(new)}
    for name in dict.fromkeys((*before, *after)):
        at = f"{path}[{name}]"
        if name not in after:
            yield Difference(at, "removed", old=before[name], volatile=volatile), below
        elif name not in before:
            yield Difference(at, "added", new=after[name], volatile=volatile), below
        else:
            yield from _walk(at, below, before[name], after[name], volatile, depth)


def _labels(old: list[Any], new: list[Any]) -> Callable[[int, Any], object]:
    """How elements are matched: by a name of their own, or by place."""
    for name in ("name", "id"):
        if all(_named(part, name) for part in (old, new)):
            return lambda _, one: one[name]
    return lambda place, _: place


def _named(part: list[Any], key: str) -> bool:
    names = [one.get(key) for one in part if isinstance(one, dict)]
    return len(names) == len(part) and all(isinstance(n, str | int) for n in names) and len(set(names)) == len(names)


def _long(path: str, key: str, old: list[Any], new: list[Any], volatile: bool) -> Found:
    pairs = list(zip(old, new, strict=False))
    differ = [(a, b) for a, b in pairs if not _same(a, b)]
    if not differ and len(old) == len(new):
        return
    shares = [share for a, b in differ if (share := relative(a, b)) is not None]
    if len(old) != len(new):
        before, after = f"{len(old):,} elements", f"{len(new):,} elements"
    else:
        before, after = f"{len(old):,} elements", f"{len(differ):,} of them differ"
    yield Difference(path, "list", before, after, max(shares, default=None), volatile), key


def _plain(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _same(old: Any, new: Any) -> bool:
    if _number(old) and _number(new):
        return bool(old == new)
    try:
        return type(old) is type(new) and old == new
    except RecursionError:  # nested without end: what cannot be compared counts as different
        return False


def relative(old: Any, new: Any) -> float | None:
    """How much two numbers differ, as a share of the larger; None where one of them is no number."""
    if not (_number(old) and _number(new)):
        return None
    larger = max(abs(old), abs(new))
    if larger == 0 or math.isinf(larger):
        return None
    return float(abs(new - old) / larger)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
