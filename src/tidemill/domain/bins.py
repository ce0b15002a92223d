"""Values in order, parted at some bounds: which parts lie wholly in what a filter asks, and which must be looked at.

Part 0 is what comes before the first bound, part `n` what is at or after bound `n - 1` and before bound `n`. Texts are
in the order of their code points, as PostgreSQL's collation "C" has them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from tidemill.domain.lookups import Lookup

Span = tuple[Any | None, Any | None]
"""From this value, and up to just before that one; None: without an end."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a filter asks: `whole` parts of which it holds for every value, and `spans` in which it may hold."""

    whole: tuple[int, ...]
    spans: tuple[Span, ...]


def parted(bounds: Sequence[Any], lookup: Lookup, value: Any) -> Parts | None:
    """How a filter parts the values; None for a lookup of which order says nothing."""
    where = bisect_right(bounds, value) if lookup is not Lookup.ISNULL else 0
    match lookup:
        case Lookup.GT | Lookup.GTE:
            return Parts(tuple(range(where + 1, len(bounds) + 1)), (_span(bounds, where),))
        case Lookup.LT | Lookup.LTE:
            return Parts(tuple(range(where)), (_span(bounds, where),))
        case Lookup.STARTSWITH:
            return _starting(bounds, value, where)
        case Lookup.CONTAINS:
            return _holding(bounds, lambda prefix: value in prefix)
        case Lookup.ICONTAINS:
            small = _lowered(value)
            return _holding(bounds, lambda prefix: value.isascii() and prefix.isascii() and small in _lowered(prefix))
        case _:
            return None


def _span(bounds: Sequence[Any], part: int) -> Span:
    return (bounds[part - 1] if part else None, bounds[part] if part < len(bounds) else None)


def _starting(bounds: Sequence[str], prefix: str, where: int) -> Parts:
    last = where
    while last < len(bounds) and bounds[last].startswith(prefix):
        last += 1
    whole = tuple(n for n in range(where, last + 1) if _common(bounds, n).startswith(prefix))
    return Parts(whole, tuple(_span(bounds, n) for n in range(where, last + 1) if n not in whole))


def _holding(bounds: Sequence[str], holds: Callable[[str], bool]) -> Parts:
    """Of letters that stand in the beginning which all texts of a part have."""
    whole = tuple(n for n in range(len(bounds) + 1) if holds(_common(bounds, n)))
    spans: list[Span] = []
    for n in sorted(set(range(len(bounds) + 1)) - set(whole)):
        low, high = _span(bounds, n)
        if spans and spans[-1][1] is not None and spans[-1][1] == low:
            low = spans.pop()[0]
        spans.append((low, high))
    return Parts(whole, tuple(spans))


def _lowered(text: str) -> str:
    """ASCII as PostgreSQL writes it small, whatever its locale: but for the I, of which Turkish makes an ı."""
    return text.replace("I", "\0").lower()


def _common(bounds: Sequence[str], part: int) -> str:
    """What all texts of a part begin with: what its bounds both do, since it lies between them."""
    low, high = _span(bounds, part)
    if low is None or high is None:
        return ""
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))
