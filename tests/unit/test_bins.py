"""Values parted at bounds: every filter holds for all of a whole part, and for nothing out of the spans."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.domain.bins import parted
from tidemill.domain.lookups import Lookup

TEXTS = ["", "a", "ab", "abc", "abcd", "abd", "b", "ba", "baa", "bab", "bb", "Ba", "c", "é", "éa", "zz"]
HOLDS: dict[Lookup, Any] = {
    Lookup.GT: lambda have, given: have > given,
    Lookup.GTE: lambda have, given: have >= given,
    Lookup.LT: lambda have, given: have < given,
    Lookup.LTE: lambda have, given: have <= given,
    Lookup.STARTSWITH: lambda have, given: have.startswith(given),
    Lookup.CONTAINS: lambda have, given: given in have,
    Lookup.ICONTAINS: lambda have, given: given.lower() in have.lower(),
}


@pytest.mark.parametrize("bounds", [[], ["b"], ["a", "abc", "b", "bb"], ["abc", "abcd", "abd", "ba", "baa", "bab"]])
@pytest.mark.parametrize("lookup", HOLDS)
def test_parts_are_true(bounds: list[str], lookup: Lookup) -> None:
    for given in [*TEXTS, "A", "B", "abce", "abca", "É"]:
        parts = parted(bounds, lookup, given)
        assert parts is not None
        for have in TEXTS:
            part = sum(bound <= have for bound in bounds)
            holds = HOLDS[lookup](have, given)
            if part in parts.whole:
                assert holds, (given, have)
            elif holds:
                assert any((low is None or low <= have) and (high is None or have < high) for low, high in parts.spans)


def test_what_all_begin_with_is_known_without_looking() -> None:
    bounds = [f"Sample {n:03}" for n in range(100)]
    parts = parted(bounds, Lookup.ICONTAINS, "AMPLE")
    assert parts is not None
    assert parts.whole == tuple(range(1, 100))
    assert parts.spans == ((None, "Sample 000"), ("Sample 099", None))
    assert parted(bounds, Lookup.ISNULL, True) is None


def test_letters_that_are_written_small_otherwise_in_some_locale_are_looked_at() -> None:
    bounds = [f"Item {n:03}" for n in range(100)]
    for given, known in (("item", 0), ("Item", 99), ("TEM", 99), ("ITEM", 99)):
        parts = parted(bounds, Lookup.ICONTAINS, given)
        assert parts is not None
        assert len(parts.whole) == known, given
