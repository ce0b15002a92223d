"""What pages show of a document, whatever an app made of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tidemill.web.mmif_view import PAGE, Place, pretty, tree

FRAME = "http://mmif.clams.ai/vocabulary/TimeFrame/v5"


def mmif(*views: Any, documents: Any = ()) -> bytes:
    return orjson.dumps({"metadata": {"mmif": "1"}, "documents": list(documents), "views": list(views)})


def frames(count: int) -> dict[str, Any]:
    annotations = [{"@type": FRAME, "properties": {"id": f"tf_{n}", "start": n}} for n in range(count)]
    return {"id": "v_0", "metadata": {"app": "a"}, "annotations": annotations}


def test_annotations_are_grouped_by_type_and_paged() -> None:
    document = mmif(frames(PAGE * 2 + 1))
    first = tree(document)
    assert first is not None
    group = first.views[0].groups[0]
    assert (group.type, group.count, group.page, group.pages) == ("TimeFrame", PAGE * 2 + 1, 1, 3)
    assert group.columns == ["id", "start"]
    assert len(group.rows) == PAGE
    last = tree(document, Place("v_0", "TimeFrame", 99))
    assert last is not None
    assert last.views[0].groups[0].rows == [[f"tf_{PAGE * 2}", str(PAGE * 2)]]


def test_an_error_view_shows_its_message_and_trace() -> None:
    view = {"id": "v_0", "metadata": {"app": "a", "error": {"message": "torn", "stackTrace": "line 1"}}}
    found = tree(mmif(view | {"annotations": []}))
    assert found is not None
    assert (found.views[0].error, found.views[0].trace) == ("torn", "line 1")


@pytest.mark.parametrize(
    "view",
    [
        {"id": 3, "metadata": None, "annotations": None},
        {"metadata": {"warnings": "one", "parameters": []}, "annotations": [None, 4, {"@type": 7}]},
        {"id": "v_0", "annotations": [{"@type": FRAME, "properties": [1]}]},
        {"id": "v_0", "annotations": [{"@type": FRAME, "properties": {"id": {"a": [1]}, "n": None}}]},
    ],
)
def test_odd_views_still_make_a_tree(view: Any) -> None:
    assert tree(mmif(view, None, documents=[None, {"@type": None}])) is not None


@pytest.mark.parametrize("document", [b"", b"[]", b'{"item": "x"}', b"not json"])
def test_what_is_not_mmif_has_no_tree_but_can_be_read(document: bytes) -> None:
    assert tree(document) is None
    assert isinstance(pretty(document)[0], str)
