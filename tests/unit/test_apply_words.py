"""What apply shows of a difference: short ones on a line, long ones part by part, so that a person can read them."""

from __future__ import annotations

from tidemill.pipelines.apply_words import difference

LONG = "x" * 300


def test_a_short_difference_is_one_line() -> None:
    assert difference("title", "Riverside", "Hill") == ['title: "Riverside" → "Hill"']
    assert difference("title", None, "Hill") == ['title: "Hill"']


def test_of_a_list_of_tables_only_those_that_differ_are_shown() -> None:
    before = [{"name": "a", "readme": LONG}, {"name": "b", "readme": LONG}, {"name": "c", "readme": LONG}]
    after = [{"name": "a", "readme": LONG}, {"name": "b", "readme": LONG, "title": "B"}, {"name": "d", "per": "item"}]
    lines = ["packages:", "  ~ b:", '    + title: "B"', '  + d: {"per":"item"}', "  - c"]
    assert difference("packages", before, after) == lines


def test_a_long_text_is_shortened() -> None:
    (line,) = difference("welcome", None, LONG)
    assert line == f'welcome: "{LONG[:109]}…'


def test_of_long_texts_the_place_is_shown_where_they_begin_to_differ() -> None:
    (line,) = difference("readme", LONG + "cats" + LONG, LONG + "dogs" + LONG)
    before, _, after = line.removeprefix("readme: …").partition(" → …")
    assert (before[20:24], after[20:24]) == ("cats", "dogs")
    assert len(line) < 180


def test_layout_rules_are_told_apart_by_their_patterns() -> None:
    rules = [{"pattern": f"{name}/{{item}}.mp4", "attributes": {"a": LONG}} for name in "ab"]
    first, _, *rest = difference("layout", {"rules": rules[:1]}, {"rules": rules})
    assert first == "layout:"
    assert [line.split(":")[0] for line in rest] == ["    + b/{item}.mp4"]


def test_another_order_of_fields_is_told_as_such() -> None:
    fields = {name: {"type": "text", "title": LONG} for name in "ab"}
    assert difference("fields", fields, dict(reversed(fields.items()))) == ["fields: in another order"]
