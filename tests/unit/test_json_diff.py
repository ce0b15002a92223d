"""What differs between two documents, told so that a person sees it."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.domain.json_diff import MOST, compare


def told(old: Any, new: Any) -> list[tuple[str, str, Any, Any]]:
    return [(one.path, one.kind, one.old, one.new) for one in compare(old, new).differences]


@pytest.mark.parametrize(
    ("old", "new", "differences"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": True}, {"a": 1}, [("a", "changed", True, 1)]),
        ({"a": 1}, {"b": 1}, [("a", "removed", 1, None), ("b", "added", None, 1)]),
        ({"a": None}, {}, [("a", "removed", None, None)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, [("a.b", "changed", 1, 3)]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, [("a[1]", "changed", 2, 3), ("a[2]", "added", None, 4)]),
        ({"a": {}}, {"a": []}, [("a", "changed", {}, [])]),
        (1, "1", [("", "changed", 1, "1")]),
    ],
)
def test_keys_and_places(old: Any, new: Any, differences: list[Any]) -> None:
    assert told(old, new) == differences
    assert compare(old, new).equal is (not differences)


def test_objects_in_a_list_are_matched_by_their_name() -> None:
    old = {"process": [{"name": "copy", "n": 1}, {"name": "fit", "n": 2}]}
    new = {"process": [{"name": "check", "n": 0}, {"name": "copy", "n": 1}, {"name": "fit", "n": 3}]}
    assert told(old, new) == [
        ("process[fit].n", "changed", 2, 3),
        ("process[check]", "added", None, {"name": "check", "n": 0}),
    ]


def test_objects_with_one_name_are_matched_by_their_place() -> None:
    old, new = [{"name": "x", "n": 1}, {"name": "x", "n": 2}], [{"name": "x", "n": 1}, {"name": "x", "n": 3}]
    assert told(old, new) == [("[1].n", "changed", 2, 3)]


def test_numbers_say_by_how_much() -> None:
    found = compare({"a": [{"e": 100}, {"e": 100}]}, {"a": [{"e": 99}, {"e": 110.0}]})
    assert [one.relative for one in found.differences] == [0.01, pytest.approx(10 / 110)]
    assert found.largest == {"a[].e": pytest.approx(10 / 110)}
    assert compare({"a": 0}, {"a": 5}).largest == {"a": 1.0}


def test_a_long_list_is_one_line() -> None:
    old = list(range(5000))
    new = [*old[:-2], 0, 4999.5]
    (one,) = compare({"pulses": old}, {"pulses": new}).differences
    assert (one.path, one.kind, one.old, one.new, one.relative) == (
        "pulses", "list", "5,000 elements", "2 of them differ", 1.0,
    )  # fmt: skip
    assert told({"p": old}, {"p": old[:3000]}) == [("p", "list", "5,000 elements", "3,000 elements")]
    assert told(old, list(old)) == []


def test_a_time_stamp_alone_is_no_other_result() -> None:
    found = compare({"m": {"timestamp": "1", "v": 1}}, {"m": {"timestamp": "2", "v": 1}})
    assert (found.count, found.volatile, found.equal) == (1, 1, True)
    assert not compare({"m": {"timestamp": "1", "v": 1}}, {"m": {"timestamp": "2", "v": 2}}).equal


def test_all_are_counted_and_the_first_are_told() -> None:
    found = compare({str(n): n for n in range(1000)}, {})
    assert (found.count, len(found.differences)) == (1000, MOST)


def test_a_deep_document_is_compared_as_well() -> None:
    old: Any = 1
    new: Any = 2
    for _ in range(900):
        old, new = {"a": old}, {"a": new}
    assert compare(old, new).count == 1
