"""Layout rules: what a pattern matches, and what a rule makes of a key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.domain.keys import is_path, printable
from tidemill.domain.layout import Layout, LayoutRule, compile_pattern
from tidemill.errors import InvalidInput

PIECES = st.lists(
    st.sampled_from(["a", "/", ".h5", "*", "**", "{item}", "{x}", "{y:a{1,2}}", "{z:[}b]*}", "}"]), max_size=6
)
KEYS = st.text(alphabet="ab/}.h5", max_size=10)


@given(PIECES, KEYS)
def test_a_rule_takes_just_the_keys_that_its_pattern_matches(pieces: list[str], key: str) -> None:
    """Keys are looked at by their ends before the pattern is tried: that must never decide otherwise."""
    rule = LayoutRule("".join(pieces), attributes={"role": "any"})
    try:
        pattern = compile_pattern(rule)
    except InvalidInput:
        return
    try:
        placed = Layout([rule]).place(key) is not None
    except LookupError:
        placed = False
    assert placed == (pattern.fullmatch(key) is not None)


@pytest.mark.parametrize(
    ("rule", "key", "place"),
    [
        ({"pattern": "{project}/{item}.h5", "split": ","}, "P/a,b,,a.h5", (("a", "b"), "P", {}, False)),
        ({"pattern": "{item}.h5", "project": "one"}, "a,b.h5", (("a,b",), "one", {}, False)),
        ({"pattern": "{project}.lock", "lock": True}, "P.lock", ((), "P", {}, True)),
        ({"pattern": "{x}/{x}.{y}", "attributes": {"n": 1}}, "a/a.b", ((), None, {"n": 1, "x": "a", "y": "b"}, False)),
        ({"pattern": "{item:(?P<side>A)?b}"}, "b", (("b",), None, {}, False)),
        ({"pattern": "**/*.tmp", "ignore": True}, "a/b/c.tmp", None),
    ],
)  # fmt: skip
def test_what_a_rule_makes_of_a_key(rule: dict[str, Any], key: str, place: Any) -> None:
    found = Layout.from_json({"rules": [rule]}).place(key)
    assert (found if found is None else tuple(found)) == place


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"pattern": ""}, "An empty pattern"),
        ({"pattern": "*.h5"}, "does not say what a file belongs to"),
        ({"pattern": "{item}.h5", "lock": True}, "locks, but names no project"),
        ({"pattern": "{project}.h5", "split": ","}, "no {item} to split"),
        ({"pattern": "{project}.h5", "project": "P"}, "names the project as well"),
        ({"pattern": "{Item}"}, "is not a name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Layout.from_json({"rules": [rule]})
    assert said in refused.value.message


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", ".", "../a", "a/..", "a/./b", "a\0", "é" * 513])
def test_keys_that_are_no_paths(key: str) -> None:
    assert not is_path(key)


@pytest.mark.parametrize("key", ["a", ".a/..b/c.", "a b/ c", "a\x01", "é" * 512])
def test_keys_that_are_paths(key: str) -> None:
    assert is_path(key)


def test_keys_are_shown_without_moving_the_cursor() -> None:
    assert printable("a\x1b[2J\n\u202eü b") == "a\\x1b[2J\\n\\u202e\\xfc b"
    assert printable("über ß") == "über ß"
