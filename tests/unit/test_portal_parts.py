"""What the portal's pages are made of: addresses of lists, metadata as it reads, Markdown, baskets."""

from __future__ import annotations

from typing import Any

import pytest
from markupsafe import escape

from tidemill.catalogue.browsing import Facet
from tidemill.domain.dataset_contents import Fault
from tidemill.domain.lookups import Lookup
from tidemill.domain.shop_window import Noun, Window
from tidemill.errors import InvalidFields
from tidemill.web import portal_basket, portal_query, portal_values
from tidemill.web.pages import portal_records
from tidemill.web.portal_basket import Declared
from tidemill.web.portal_gathering import Candidate, gathered, refused
from tidemill.web.portal_markdown import headed, html
from tidemill.web.portal_values import breakable

WINDOW = Window(
    id="scpca_id",
    item_fields={
        "diagnosis": {"type": "text", "title": "Diagnosis", "facet": True},
        "age": {"type": "number", "facet": True},
        "wild": {"type": "boolean", "title": "Wild type", "facet": True},
        "seen": {"type": "date", "facet": True},
        "tissues": {"type": "list", "facet": True},
    },
)


def filters(**pairs: Any) -> list[tuple[str, Lookup, Any]]:
    """The filters of an address, in short."""
    params = [(name, value) for name, values in pairs.items() for value in values]
    made = portal_query.filters(portal_query.asked(params), WINDOW, Noun.ITEM)
    return [(one.field, one.lookup, one.value) for one in made]


def test_values_of_a_facet_are_alternatives_and_may_have_commas() -> None:
    assert filters(diagnosis=["Glioma, low grade", "Ewing"]) == [
        ("diagnosis", Lookup.IN, ("Glioma, low grade", "Ewing"))
    ]
    assert filters(wild=["true"]) == [("wild", Lookup.IN, (True,))]
    assert filters(tissues=["Liver"]) == [("tissues", Lookup.IN, ("Liver",))]
    assert [(field, way) for field, way, _ in filters(age__gte=["3"], age__lte=["5.5"])] == [
        ("age", Lookup.GTE), ("age", Lookup.LTE),
    ]  # fmt: skip


def test_every_fault_of_an_address_is_named() -> None:
    with pytest.raises(InvalidFields) as raised:
        filters(age__gte=["old"], colour=["red"], wild=["perhaps"])
    assert set(raised.value.fields) == {"age__gte", "colour", "wild"}


def test_what_an_address_says_is_read_leniently() -> None:
    wanted = portal_query.asked(
        [("search", " a\0b "), ("page", "-3"), ("diagnosis", ""), ("diagnosis", "x"), ("diagnosis", "x"), ("key", "k")]
    )
    assert (wanted.search, wanted.page, wanted.pairs) == ("ab", 1, (("diagnosis", "x"),))
    assert portal_query.asked([("page", "9" * 30)]).page == 1
    assert portal_query.asked([("page", "12")]).text() == "page=12"


def test_a_facet_offers_what_is_there_and_what_is_chosen() -> None:
    wanted = portal_query.asked([("diagnosis", "Glioma"), ("diagnosis", "Gone"), ("page", "4")])
    facet = Facet("diagnosis", "Diagnosis", "text", [("Glioma", 3), ("A & B", 2), (None, 1)])
    made, *_ = portal_query.choices(wanted, WINDOW.item_fields, [facet])
    assert [(one.text, one.total, one.on, one.query) for one in made.values] == [
        ("Glioma", 3, True, "diagnosis=Gone"),
        ("A & B", 2, False, "diagnosis=Glioma&diagnosis=Gone&diagnosis=A+%26+B"),
        ("not given", 1, False, "diagnosis__isnull=true"),
        ("Gone", 0, True, "diagnosis=Glioma"),
    ]
    alone = Facet("wild", "Wild", "boolean", [(True, 9)])
    offered = portal_query.choices(portal_query.asked([("age__gte", "3")]), WINDOW.item_fields, [alone])
    assert [(one.title, one.span, one.low, one.high) for one in offered] == [
        ("Age", "number", "3", ""), ("Seen", "date", "", ""),
    ]  # fmt: skip


def test_filters_in_words() -> None:
    pairs = [
        ("diagnosis", "Glioma"),
        ("age__gte", "3"),
        ("wild", "true"),
        ("tissues__isnull", "true"),
        ("project", "P1"),
    ]
    made = portal_query.chosen(portal_query.asked([*pairs, ("search", "x")]), WINDOW, Noun.ITEM)
    assert [(one.title, one.text) for one in made] == [
        ("Diagnosis", "Glioma"), ("Age", "from 3"), ("Wild type", "yes"), ("Tissues", "not given"), ("Project", "P1"),
        ("Search", "“x”"),
    ]  # fmt: skip
    assert made[0].query.startswith("age__gte=3&wild=true")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("https://example.org/a?b=c", "link"), ("javascript:alert(1)", "text"), ("data:text/html,x", "text"),
        ("https://a.org/ onclick=x", "text"), ('https://a.org/"x', "text"), ("https://a.org/\u202egnp.exe", "text"),
        ("ada@example.org", "mail"), ("ada@example.org?bcc=all@example.org", "text"), (["a", 1, None], "chips"),
        ([["a"]], "data"), ({"a": 1}, "data"), (True, "text"), ("w " * 99, "long"), ([{"a": 1}], "table"),
    ],
)  # fmt: skip
def test_how_a_value_reads(value: Any, kind: str) -> None:
    assert portal_values.shown("key", value, {"type": "text"}).kind == kind


def test_a_sheet_has_what_is_declared_first_and_leaves_out_what_is_empty() -> None:
    fields = {"b": {"type": "text"}, "a": {"type": "text", "title": "First"}, "none": {"type": "text"}}
    metadata = {"a": "x", "b": "y " * 80, "none": None, "stray": 0, "parts": [{"n": 1, "part_id": "p"}, {"m": 2}]}
    made = portal_values.sheet(metadata, fields)
    assert [one.title for one in made.facts] == ["First"]
    assert [one.title for one in made.prose] == ["B"]
    assert [(one.key, one.value, one.declared) for one in made.further] == [("stray", "0", False)]
    (table,) = made.tables
    assert table.columns == ["Part id", "N", "M"]
    assert [[cell.value for cell in row] for row in table.value] == [["p", "1", ""], ["", "", "2"]]


def test_a_table_has_its_columns_in_the_order_of_their_declaration_and_is_headed_as_fields_are() -> None:
    accessions = [{"url": "u", "has_raw": True, "accession": "a"}]
    libraries = [{"z": 1, "seq_unit": "cell", "library_id": "L1", "technology": "10x"}]
    window = Window.of(
        {
            "fields": {"seq_unit": {"type": "text", "title": "Sequenced"}},
            "tables": [
                {"name": "projects", "describes": "projects", "id": "id", "parallel": [
                    {"into": "accessions", "columns": {"accession": "ac", "url": "link", "has_raw": "raw", "none": "n"}}
                ]},
                {"name": "parts", "describes": "parts", "id": "library_id", "into": "libraries",
                 "columns": {"tech": {"field": "technology"}, "seq_unit": {}}},
            ],
        }
    )  # fmt: skip
    made = portal_values.sheet({"accessions": accessions, "libraries": libraries}, {}, portal_records.heads(window))
    assert [one.columns for one in made.tables] == [
        ["Accession", "Url", "Has raw"], ["Library id", "Technology", "Sequenced", "Z"]
    ]  # fmt: skip
    assert [cell.value for cell in made.tables[0].value[0]] == ["a", "u", "yes"]


def test_names_that_would_hide_their_letters_show_it() -> None:
    assert portal_values.visible("a\u202egnp.exe\0\n") == "a\ufffdgnp.exe\ufffd\ufffd"


def test_long_words_may_break_and_short_ones_stay_whole() -> None:
    assert breakable("Acute myeloid leukemia") == "Acute myeloid leukemia"
    assert breakable("SCPCP1/S_1 <b>.rds") == "SCPCP1/<wbr>S_<wbr>1 &lt;b&gt;.rds"
    assert breakable("x" * 50) == f"{'x' * 20}<wbr>{'x' * 20}<wbr>{'x' * 10}"
    for text in ("", " a\n b", "/_/", "___x", "é" * 30 + "&<>"):
        assert breakable(text).replace("<wbr>", "") == escape(text)


def test_markdown_is_harmless_and_stays_at_home() -> None:
    made = html(
        "# T\n\n<script>x</script> [a](javascript:x) [b](//evil.org) [c](/portal/terms) [d](https://e.org) "
        "![p](https://e.org/p.png)\n\n|a|\n|:-:|\n|1|\n"
    )
    assert "<h2>T</h2>" in made
    assert "<script" not in made
    assert "<img" not in made
    assert "style=" not in made
    assert 'href="javascript' not in made
    assert 'href="//' not in made
    assert '<a href="/portal/terms" rel="noopener noreferrer">c</a>' in made


def test_a_text_that_begins_with_a_heading_gives_it_to_the_page() -> None:
    assert headed("Terms of *use*\n===\n\nBe kind. <b>") == ("Terms of use", "<p>Be kind. &lt;b&gt;</p>\n")
    assert headed("# <script>\n\n# Two") == ("<script>", "<h2>Two</h2>\n")
    for text in ("", "#", "Be kind.\n\n# Later", "## Second"):
        assert headed(text) == ("", html(text))


PACKAGES = [
    {"name": "r", "per": "project", "attributes": {"modality": "CELL", "format": "R"},
     "files": [{"of": "project", "attributes": {"modality": "BULK"}}, {"attributes": {"modality": "CELL"}}]},
    {"name": "m", "per": "project", "attributes": {"modality": "CELL", "format": "R", "includes_merged": True}},
    {"name": "ir", "per": "item", "attributes": {"modality": "CELL", "format": "R"}},
    {"name": "ih", "per": "item", "attributes": {"modality": "CELL", "format": "H"}},
    {"name": "is", "per": "item", "attributes": {"modality": "SPOT", "format": "S"}},
    {"name": "all", "per": "site", "attributes": {"format": "X"}},
]  # fmt: skip


def file(modality: str, form: str, **more: Any) -> dict[str, Any]:
    return {"package": "p", "attributes": {"modality": modality, "format": form} | more}


def test_what_packages_say_of_baskets() -> None:
    known = portal_basket.declared(PACKAGES)
    assert known.formats == ["H", "R", "S"]
    assert known.words == {"CELL": ["MERGED"]}
    assert known.own == ["bulk"]
    assert portal_basket.fits([file("CELL", "R")], "CELL", "R", known)
    assert not portal_basket.fits([file("CELL", "R")], "CELL", "H", known)
    assert portal_basket.fits([file("SPOT", "S")], "SPOT", "R", known), "a part in one format comes in that one"
    assert portal_basket.fits([], "MAP", "R", known), "where nothing tells, the dataset's own check does"
    assert portal_basket.parts_in([file("CELL", "R"), file("", "", metadata_only=True)]) == ["CELL"]


def test_what_a_project_has_of_its_own() -> None:
    files = [file("CELL", "R", includes_merged=True, has_bulk_data=False), file("SPOT", "S", includes_merged=False)]
    assert portal_basket.had_as_one(files, "CELL") == ["MERGED"]
    assert portal_basket.had_as_one(files, "SPOT") == []
    assert not portal_basket.has_own(files, "bulk")
    assert portal_basket.has_own(files, "maps"), "nothing says that it has none"


def test_what_a_dataset_refuses_is_left_out_of_many() -> None:
    files = [file("SINGLE_CELL", "ANN_DATA")]
    some = [
        Candidate(name, [project], files) for name, project in (("S1", "P1"), ("S2", "P1"), ("S3", "P2"), ("S4", "P10"))
    ]
    faults = [
        Fault("P1", "has nothing of it as ANN_DATA.", "SINGLE_CELL", "S2"),
        Fault("P2", "The readme cannot be made.", "SINGLE_CELL"),
    ]
    left = refused(some, faults)
    assert [one.why for one in left] == ["", "has nothing of it as ANN_DATA", "The readme cannot be made", ""]
    made = gathered(
        {"P1": {"SINGLE_CELL": ["S1"]}}, left, ["SINGLE_CELL"], "ANN_DATA", Declared(["ANN_DATA"], {}, {}, [])
    )
    assert (made.came, made.there, list(made.cannot)) == (["S4"], ["S1"], ["S2", "S3"])
    assert made.contents == {"P1": {"SINGLE_CELL": ["S1"]}, "P10": {"SINGLE_CELL": ["S4"]}}
    assert made.told("sample", "samples") == (
        "1 sample came into your basket. 1 sample was in it already. 1 sample cannot be had (has nothing of it as "
        "ANN_DATA): S2. 1 sample cannot be had (The readme cannot be made): S3. It has 2 things in it now."
    )
    assert gathered(
        {"P1": {"SINGLE_CELL": "MERGED"}}, some[:1], ["SINGLE_CELL"], "", Declared([], {}, {}, [])
    ).there == ["S1"]


def test_a_fault_forbids_whom_it_tells_of_and_nobody_of_a_like_name() -> None:
    places = (("Brain", "A"), ("Brain 1", "A"), ("Brain", "A.B"), ("Brain 1", "A.B"))
    some = [Candidate(name, [project], []) for name, project in places]
    left = refused(some, [Fault("A", "has nothing of it.", "RNA", "Brain 1")])
    assert [one.why for one in left] == ["", "has nothing of it", "", ""]
    left = refused(some, [Fault("A.B", "is locked.")])
    assert [one.why for one in left] == ["", "", "is locked", "is locked"]


def test_a_basket_fills_and_empties() -> None:
    data = portal_basket.with_items({}, "P1", "CELL", ["b", "a"])
    data = portal_basket.with_items(data, "P1", "CELL", ["a", "c"])
    data = portal_basket.with_value(data, "P2", "CELL", "MERGED")
    data = portal_basket.with_value(data, "P2", "includes_bulk", True)
    assert data == {"P1": {"CELL": ["a", "b", "c"]}, "P2": {"CELL": "MERGED", "includes_bulk": True}}
    assert portal_basket.count(data) == 4
    assert [(line.project, line.word) for some in portal_basket.lines(data).values() for line in some] == [
        ("P1", ""), ("P2", "MERGED"),
    ]  # fmt: skip
    assert portal_basket.without(data, "P2", "CELL") == {
        "P1": {"CELL": ["a", "b", "c"]},
        "P2": {"includes_bulk": True},
    }
    for item in "abc":
        data = portal_basket.without(data, "P1", "CELL", item)
    assert portal_basket.without(data, "P2") == {}
