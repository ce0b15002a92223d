"""Rules for records: names and suffixes, what the database can hold, rows in files, what an import may write."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.domain.couchdb_document import taken
from tidemill.domain.fields import from_text
from tidemill.domain.item_edits import Edit, Record, apply, check_name, same
from tidemill.domain.item_rows import rows
from tidemill.domain.layout import Layout, LayoutRule
from tidemill.domain.stored_json import DEEPEST, stored
from tidemill.domain.takeover import Base, take_over
from tidemill.errors import InvalidInput

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
METADATA = st.dictionaries(st.sampled_from("abcd"), VALUES.filter(lambda value: value is not None), max_size=4)


def record(metadata: dict[str, Any], status: str = "good") -> Record:
    return Record(1, "a", status, "", dict(metadata), 1)


@pytest.mark.parametrize("name", ["foot", "x", "root", "torroot.tor", "o.t.o"])
def test_a_suffix_is_taken_off_whole_and_nothing_else(name: str) -> None:
    """`'x.root'.strip('.root')` takes letters off both ends: `foot.root` became `f`."""
    place = Layout([LayoutRule("{item}.root")]).place(f"{name}.root")
    assert place is not None
    assert place.items == (name,)
    document = taken({"_id": f"{name}.root", "original_file": f"{name}.root"})
    assert (document.name, document.metadata) == (f"{name}.root", {"original_file": f"{name}.root"})


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\x7f", ".", "..", "é" * 251, "\ud800"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name)


@pytest.mark.parametrize("name", ["a/b", "...", "a b", "é" * 250, "_design", "\\u0000", "%2e", "名前"])
def test_what_is_a_name(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("value", ["\0", ["\\\0"], {"\0": 1}, "\udc00", float("inf"), {1, 2}, dt.date.today()])
def test_what_the_database_cannot_hold(value: Any) -> None:
    with pytest.raises(InvalidInput):
        stored(value)


def test_what_it_can_hold_stays_as_it_is() -> None:
    for value in ("\\u0000", "\\\\u0000", 10**400, '"[[[' * 60, [[]] * 300):
        assert json.loads(stored(value)) == value
    assert stored(json.loads("[" * DEEPEST + "]" * DEEPEST))
    with pytest.raises(InvalidInput, match="nested"):
        stored(json.loads("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)))


def test_a_person_types_what_the_field_is() -> None:
    fields = {"n": {"type": "integer"}, "x": {"type": "number"}, "b": {"type": "boolean"}, "d": {"type": "date"}}
    assert [from_text(*pair, fields) for pair in (("n", " 7 "), ("x", "1e-3"), ("b", "No"), ("d", "2026-11-21"))] == [
        7, 0.001, False, "2026-11-21",
    ]  # fmt: skip
    assert from_text("free", " 007 ", fields) == " 007 "
    for key, text in (("n", "7.5"), ("x", "nan"), ("b", "2"), ("d", "21.11.2026")):
        with pytest.raises(InvalidInput, match=f"^{key} is "):
            from_text(key, text, fields)


def test_rows_come_in_three_forms() -> None:
    same = {"name": "a", "metadata": {"x": "1"}}
    for text in (
        '{"name": "a", "metadata": {"x": "1"}}\n',
        '[{"name": "a", "metadata": {"x": "1"}}]',
        '{\n "name": "a",\n "metadata": {"x": "1"}\n}',
        "name,x\na,1\n",
        "x;name\r\n1;a\r\n",
        "metadata.x\tname\n1\ta",
    ):
        assert [row for _, row in rows(text.splitlines(keepends=True), {})] == [same], text
    assert list(rows([], {})) == []
    for text in ("x,y\n1,2\n", "name,name\n", "[1, 2", "[1"):
        with pytest.raises(InvalidInput):
            list(rows(text.splitlines(keepends=True), {}))
    found = [row for _, row in rows(["name,x\n", 'a,"open\n', "b,1\n"], {})]
    assert isinstance(found[0], InvalidInput)


@given(METADATA, st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4))
def test_an_edit_names_what_it_changes(metadata: dict[str, Any], edit: dict[str, Any]) -> None:
    one = record(metadata)
    apply(Edit("a", metadata=edit), one)
    wanted = {key: value for key, value in {**metadata, **edit}.items() if value is not None}
    assert one.metadata == wanted
    assert {key: value for key, value in {**metadata, **one.put}.items() if key not in one.removed} == wanted
    assert one.edited == bool(one.put or one.removed)
    again = record(one.metadata)
    apply(Edit("a", metadata=edit), again)
    assert not again.edited


@given(METADATA, METADATA, METADATA)
def test_an_import_never_writes_over_an_edit_made_here(
    base: dict[str, Any], here: dict[str, Any], new: dict[str, Any]
) -> None:
    one = record(here)
    kept = take_over(one, Base("good", base), "good", "", new)
    edited = {key for key in "abcd" if not same(here.get(key), base.get(key))}
    for key in "abcd":
        if key in edited:
            assert one.metadata.get(key) == here.get(key)
        else:
            assert one.metadata.get(key) == new.get(key)
            assert key not in kept


def test_a_document_says_what_it_can() -> None:
    document = taken(
        {"_id": "a", "_rev": "3-x", "status": 4, "x": None, "_conflicts": ["2-y"],
         "process": [{"step": "copy", "finished_at": "2013-05-01"}, {"name": 7}, "tape", None]}
    )  # fmt: skip
    assert (document.status, document.rev, document.metadata) == ("4", "3-x", {})
    assert [entry.name for entry in document.process] == ["copy", "unnamed", "tape", "unnamed"]
    assert document.process[0].finished_at == dt.datetime(2013, 5, 1, tzinfo=dt.UTC)
    assert "2-y" in document.note
    for wrong in ({}, {"_id": 7}, {"_id": "a", "status": []}, {"_id": "a", "status": "x" * 101}):
        with pytest.raises(InvalidInput):
            taken(wrong)
