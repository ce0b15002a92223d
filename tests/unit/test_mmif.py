"""MMIF: types in their dialects, the document that a chain starts from, and what makes an answer good or bad."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.domain import mmif
from tidemill.domain.mmif import Dialect, Media
from tidemill.errors import InvalidInput, PipelineMismatch

NEW, OLD = "http://clams.ai/vocabulary/type/", "http://mmif.clams.ai/vocabulary/"


def app(name: str, inputs: list[Any], outputs: list[str]) -> dict[str, Any]:
    def entry(one: Any) -> Any:
        return [entry(each) for each in one] if isinstance(one, list) else {"@type": one}

    return {"name": name, "input": [entry(one) for one in inputs], "output": [{"@type": uri} for uri in outputs]}


@pytest.mark.parametrize(
    ("uri", "name", "version", "dialect"),
    [
        (NEW + "VideoDocument/v2", "VideoDocument", "v2", Dialect.NEW),
        (OLD + "VideoDocument/v1", "VideoDocument", "v1", Dialect.OLD),
        ("https://mmif.clams.ai/vocabulary/TimeFrame/v5/", "TimeFrame", "v5", Dialect.OLD),
        ("http://mmif.clams.ai/0.4.0/vocabulary/TimeFrame/", "TimeFrame", "v1", Dialect.OLD),
        ("http://vocab.lappsgrid.org/Token", "Token", "v1", Dialect.LAPPS),
        ("http://vocab.lappsgrid.org/Date", "http://vocab.lappsgrid.org/Date", "", Dialect.OTHER),
        ("http://example.org/types/Slate", "http://example.org/types/Slate", "", Dialect.OTHER),
    ],
)
def test_types_are_read_in_every_dialect(uri: str, name: str, version: str, dialect: Dialect) -> None:
    type_ = mmif.parse_type(uri)
    assert (type_.name, type_.version, type_.dialect) == (name, version, dialect)


@pytest.mark.parametrize(
    ("offered", "wanted", "found"),
    [
        (NEW + "TimeFrame/v6", NEW + "TimeFrame/v6", True),
        (NEW + "TimeFrame/v5", NEW + "TimeFrame/v6", True),
        (OLD + "TimeFrame/v6", NEW + "TimeFrame/v6", True),
        (NEW + "TimeFrame/v6", OLD + "TimeFrame/v6", False),
        (NEW + "TimePoint/v5", NEW + "TimeFrame/v6", False),
        ("http://vocab.lappsgrid.org/Token", OLD + "Token/v1", True),
        ("http://example.org/Slate", "http://example.org/Slate", True),
        ("http://example.org/Slate", "http://example.net/Slate", False),
    ],
)
def test_an_old_app_is_blind_to_the_new_dialect(offered: str, wanted: str, found: bool) -> None:
    assert mmif.readable(mmif.parse_type(offered), mmif.parse_type(wanted)) is found


def test_the_source_is_new_unless_an_app_reads_only_the_old_dialect() -> None:
    new = app("new", [NEW + "VideoDocument/v2"], [NEW + "TimeFrame/v6"])
    old = app("old", [OLD + "VideoDocument/v1"], [OLD + "TimeFrame/v5"])
    both = app("both", [[NEW + "VideoDocument/v2", OLD + "VideoDocument/v1"]], [NEW + "TimeFrame/v6"])
    assert mmif.dialect_for([]) is Dialect.NEW
    assert mmif.dialect_for([new, both]) is Dialect.NEW
    assert mmif.dialect_for([new, old]) is Dialect.OLD
    assert mmif.dialect_for([old, new]) is Dialect.OLD


def test_an_old_app_after_a_new_one_whose_annotations_it_needs_is_refused_by_name() -> None:
    new = app("bars", [NEW + "VideoDocument/v2"], [NEW + "TimeFrame/v6"])
    old = app("reader", [OLD + "VideoDocument/v1", OLD + "TimeFrame/v5"], [OLD + "TextDocument/v1"])
    with pytest.raises(PipelineMismatch, match=r"reader \(step 2\).*bars \(step 1\) writes TimeFrame"):
        mmif.dialect_for([new, old])
    old["input"][1]["required"] = False
    assert mmif.dialect_for([new, old]) is Dialect.OLD
    older = app("older bars", [OLD + "VideoDocument/v1"], [OLD + "TimeFrame/v5"])
    old["input"][1]["required"] = True
    assert mmif.dialect_for([new, older, old]) is Dialect.OLD


def test_needs_are_read_off_the_metadata() -> None:
    reader = app("r", [NEW + "VideoDocument/v2", [NEW + "TimeFrame/v6", NEW + "TimePoint/v5"]], [])
    reader["input"].append({"@type": NEW + "TextDocument/v2", "required": False})
    video, times, text = mmif.inputs_of(reader)
    assert (video.required, times.required, text.required) == (True, True, False)
    assert str(times) == "TimeFrame or TimePoint"
    assert times.met_by([mmif.parse_type(OLD + "TimePoint/v4")])
    assert not times.met_by([mmif.parse_type(NEW + "BoundingBox/v5")])
    assert mmif.inputs_of({}) == []
    assert mmif.outputs_of({"output": "nonsense"}) == []


def test_the_source_names_each_medium_by_its_kind_and_place() -> None:
    media = [
        Media("/data/tape 1 (50%).mp4"),
        Media("https://media.example.org/tape 2.wav?key=a%20b"),
        Media("file:///data/a%20note.txt"),
        Media("/data/slate", "image/png"),
        Media("/data/master.MXF"),
    ]
    document = orjson.loads(mmif.source_document("tape", media, Dialect.NEW))
    assert document["metadata"] == {"mmif": "http://mmif.clams.ai/1.2.0"}
    assert document["views"] == []
    found = [(one["@type"], one["properties"]["id"], one["properties"]["location"]) for one in document["documents"]]
    assert found == [
        # mmif-python opens the path as it stands: a percent-encoded space would be a file with %20 in its name.
        (NEW + "VideoDocument/v2", "d1", "file:///data/tape 1 (50%).mp4"),
        (NEW + "AudioDocument/v2", "d2", "https://media.example.org/tape%202.wav?key=a%20b"),
        (NEW + "TextDocument/v2", "d3", "file:///data/a note.txt"),
        (NEW + "ImageDocument/v2", "d4", "file:///data/slate"),
        (NEW + "VideoDocument/v2", "d5", "file:///data/master.MXF"),
    ]
    assert document["documents"][1]["properties"]["mime"] == "audio/x-wav"


def test_the_old_dialect_has_old_types_and_the_old_version() -> None:
    document = orjson.loads(mmif.source_document("tape", [Media("/data/a.mp4")], Dialect.OLD))
    assert document["metadata"]["mmif"] == "http://mmif.clams.ai/1.1.0"
    assert document["documents"][0]["@type"] == OLD + "VideoDocument/v1"


def test_the_same_input_gives_the_same_bytes() -> None:
    media = [Media("/data/a.mp4"), Media("/data/b.wav")]
    assert mmif.source_document("x", media, Dialect.NEW) == mmif.source_document("x", list(media), Dialect.NEW)


@pytest.mark.parametrize(
    ("media", "words"),
    [
        ([], "no media"),
        ([Media("/data/a#1.mp4")], "cuts a file's location"),
        ([Media("/data/why?.mp4")], "cuts a file's location"),
        ([Media("data/a.mp4")], "not an absolute path"),
        ([Media("s3://bucket/a.mp4")], "apps cannot read s3://"),
        ([Media("/data/a.xyz")], "neither video, audio, image nor text"),
    ],
)
def test_media_that_no_app_could_read_are_refused(media: list[Media], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        mmif.source_document("tape-7", media, Dialect.NEW)


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

VIEW = {
    "id": "v_0",
    "metadata": {
        "app": "http://apps.clams.ai/bars/v1",
        "timestamp": "2026-01-01T00:00:00",
        "contains": {OLD + "TimeFrame/v5": {"timeUnit": "ms"}, OLD + "Gone/v1": {}},
        "parameters": {"labels": "bars"},
    },
    "annotations": [
        {"@type": OLD + "TimeFrame/v5", "properties": {"id": "tf1", "frameType": "bars", "start": 0}},
        {"@type": OLD + "TimeFrame/v5", "properties": {"id": "tf2", "frameType": "bars", "start": 9}},
        {"@type": OLD + "TextDocument/v1", "properties": {"id": "td1", "text": {"@value": "SLATE 12"}}},
        {"@type": OLD + "Alignment/v1", "properties": {"id": "al1", "source": "tf1", "target": "td1"}},
        {"@type": "http://vocab.lappsgrid.org/Token", "properties": {"id": "t1", "word": "SLATE"}},
    ],
}
# What mmif-python 1.5.4 makes of that view when it reads it and writes it out again.
REWRITTEN = {
    "id": "v_0",
    "metadata": {
        "app": "http://apps.clams.ai/bars/v1",
        "timestamp": "2026-01-01T00:00:00",
        "contains": {OLD + "TimeFrame/v5": {"timeUnit": "ms", "label": "bars"}},
        "parameters": {"labels": "bars"},
    },
    "annotations": [
        {"@type": OLD + "TimeFrame/v5", "properties": {"start": 0, "id": "v_0:tf1"}},
        {"@type": OLD + "TimeFrame/v5", "properties": {"start": 9, "id": "v_0:tf2"}},
        {"@type": NEW + "TextDocument/v1", "properties": {"text": {"@value": "SLATE 12"}, "id": "v_0:td1"}},
        {"@type": OLD + "Alignment/v1", "properties": {"source": "v_0:tf1", "target": "v_0:td1", "id": "v_0:al1"}},
        {"@type": NEW + "Token/v1", "properties": {"text": "SLATE", "id": "v_0:t1"}},
    ],
}
NEXT = {"id": "v_1", "metadata": {"app": "http://apps.clams.ai/next/v2.0", "contains": {}}, "annotations": []}


def document(*views: Any) -> dict[str, Any]:
    source: dict[str, Any] = orjson.loads(mmif.source_document("tape", [Media("/data/a.mp4")], Dialect.OLD))
    source["views"] = copy.deepcopy(list(views))
    return source


def check(before: dict[str, Any], after: dict[str, Any]) -> mmif.Answer:
    return mmif.check_answer(orjson.dumps(before), orjson.dumps(after))


def test_a_new_view_beside_the_old_ones_is_good() -> None:
    answer = check(document(VIEW), document(VIEW, NEXT))
    assert answer.problem is None
    assert answer.new_views == ("v_1",)
    assert answer.apps == ("http://apps.clams.ai/next/v2.0",)
    assert answer.app_version == "v2.0"
    assert answer.log == ""


def test_what_mmif_python_writes_in_another_form_counts_as_unchanged() -> None:
    answer = check(document(VIEW), document(REWRITTEN, NEXT))
    assert answer.problem is None
    assert "same meaning" in answer.log


def test_properties_added_to_a_document_may_land_in_an_earlier_view() -> None:
    more = copy.deepcopy(VIEW)
    more["annotations"].append(
        {"@type": NEW + "Annotation/v6", "properties": {"id": "an1", "document": "d1", "fps": 25}}
    )
    answer = check(document(VIEW), document(more, NEXT))
    assert answer.problem is None
    assert "added 1 properties of documents" in answer.log


def _without_annotation(view: dict[str, Any]) -> None:
    del view["annotations"][3]


def _other_start(view: dict[str, Any]) -> None:
    view["annotations"][1]["properties"]["start"] = 10


def _other_text(view: dict[str, Any]) -> None:
    view["annotations"][2]["properties"]["text"]["@value"] = "SLATE 13"


def _other_app(view: dict[str, Any]) -> None:
    view["metadata"]["app"] = "http://apps.clams.ai/impostor/v1"


def _one_more(view: dict[str, Any]) -> None:
    view["annotations"].append({"@type": NEW + "TimeFrame/v6", "properties": {"id": "tf9"}})


@pytest.mark.parametrize("base", [VIEW, REWRITTEN])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_annotation, "1 of its 5 annotations are gone (al1"),
        (_other_start, "annotation tf2: start was 9 and is 10"),
        (_other_text, "annotation td1: text was"),
        (_other_app, "app was 'http://apps.clams.ai/bars/v1'"),
        (_one_more, "1 annotations were added to it (tf9)"),
    ],
)
def test_a_changed_view_is_found_and_described(base: dict[str, Any], spoil: Any, words: str) -> None:
    spoiled = copy.deepcopy(base)
    spoil(spoiled)
    answer = check(document(VIEW), document(spoiled, NEXT))
    assert answer.problem is not None
    assert "changed the view v_0 (by http://apps.clams.ai/bars/v1)" in answer.problem
    assert words in answer.problem
    assert not answer.retry


def test_a_changed_document_is_found() -> None:
    after = document(VIEW, NEXT)
    after["documents"][0]["properties"]["location"] = "file:///etc/passwd"
    answer = check(document(VIEW), after)
    assert answer.problem is not None
    assert "changed the document d1: location was 'file:///data/a.mp4'" in answer.problem


def test_lost_views_and_no_new_view_are_problems() -> None:
    assert "lost the view v_0" in str(check(document(VIEW), document(NEXT)).problem)
    assert "added no view" in str(check(document(VIEW), document(VIEW)).problem)
    assert "two views with the id v_1" in str(check(document(VIEW), document(VIEW, NEXT, NEXT)).problem)


def test_an_error_view_speaks_for_itself() -> None:
    error = {"message": "<class 'ValueError'>: moov atom not found", "stackTrace": "File …, line 3"}
    failed = {"id": "v_1", "metadata": {"app": "http://apps.clams.ai/next/v2.0", "error": error}, "annotations": []}
    answer = check(document(VIEW), document(VIEW, failed))
    assert answer.app_failed
    assert answer.problem == "The app failed: ValueError: moov atom not found"
    assert "line 3" in answer.log
    assert answer.retry


def test_an_error_of_an_earlier_step_is_not_this_apps() -> None:
    failed = {"id": "v_0", "metadata": {"app": "http://apps.clams.ai/x/v1", "error": {"message": "old"}}}
    assert check(document(failed), document(failed, NEXT)).problem is None


def test_warnings_are_told_without_the_apps_own_file_names() -> None:
    noise = "{message : UserWarning('version difference detected'), category : 'UserWarning', filename : '/x.py'}"
    view = {"id": "v_1", "metadata": {"app": "a", "warnings": [noise, "nothing found"]}, "annotations": []}
    answer = check(document(), document(view))
    assert answer.problem is None
    assert answer.log == "warning: version difference detected\nwarning: nothing found"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty body"),
        (b"<html>", "HTML page"),
        (b'{"metadata": ', "cut short or broken JSON"),
        (b'{"metadata": {"mmif": NaN}}', "cut short or broken JSON"),
        (b"[1, 2]", "a list where an object should be"),
        (b'{"metadata": {"mmif": "x"}}', "lacks documents, views"),
        (b'{"metadata": {"mmif": 1}, "documents": [], "views": []}', "wrong shape"),
        (b'{"metadata": {"mmif": "x"}, "documents": [], "views": [7]}', "View number 1 of the answer has no id"),
        (b"Traceback (most recent call last)", "text, not MMIF: Traceback"),
        ('{"metadata": "é"}'.encode("latin-1"), "not UTF-8"),
    ],
)
def test_what_is_no_mmif_is_named(body: bytes, words: str) -> None:
    answer = mmif.check_answer(orjson.dumps(document(VIEW)), body)
    assert answer.problem is not None
    assert words in answer.problem


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "metadata", "x"]), inner),
    max_leaves=8,
)


@given(views=_json, documents=_json, metadata=_json)
def test_judging_never_raises_whatever_an_app_answers(views: Any, documents: Any, metadata: Any) -> None:
    after = {"metadata": metadata, "documents": documents, "views": views}
    for shape in (after, {"metadata": {"mmif": "x"}, "documents": [documents], "views": [views, NEXT]}):
        assert mmif.check_answer(orjson.dumps(document(VIEW)), orjson.dumps(shape)).problem is not None


def test_texts_are_all_that_the_apps_read_in_order() -> None:
    second = copy.deepcopy(NEXT)
    second["annotations"] = [
        {"@type": NEW + "TextDocument/v2", "properties": {"id": "x", "text": {"@value": " CREDITS\n"}}}
    ]
    assert mmif.texts(document(VIEW, second)) == ["SLATE 12", "CREDITS"]
    assert mmif.texts(orjson.dumps(document(VIEW))) == ["SLATE 12"]
    assert mmif.texts({"views": [None, {"annotations": [3, {"@type": 1}]}]}) == []
