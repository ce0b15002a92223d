"""Metadata files as rows: what is read of them, and every mistake with its file, row and column."""

from __future__ import annotations

import bz2
import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidemill.domain.collecting import collect, values_in
from tidemill.domain.fields import fits, from_text, read_as
from tidemill.domain.table_rows import Belongs, Record, Rows
from tidemill.domain.table_text import LONGEST_CELL, json_rows
from tidemill.domain.tables import Column, Faults, Parallel, Table
from tidemill.errors import InvalidInput, SiteFileError
from tidemill.pipelines.site_file import parse_site_file
from tidemill.web import record_form

NUL = "it has a NUL character in it, which the database cannot hold."
SAMPLES = Table("samples", "{project}/samples.csv", "items", "id")


def read(
    content: str | bytes, table: Table = SAMPLES, *, key: str = "P1/samples.csv", **belongs: Any
) -> tuple[list[Record], list[str]]:
    """The records of a file that comes in pieces of a few bytes, and what was wrong."""
    raw = content.encode() if isinstance(content, str) else content
    faults = Faults()
    pieces = (raw[at : at + 7] for at in range(0, len(raw), 7))
    rows = list(Rows(table, Belongs(key, **{"project": "P1", **belongs}), pieces, faults))
    assert faults.count == len(faults.first)
    return rows, [fault.told() for fault in faults.first]


def metadata(content: str | bytes, table: Table = SAMPLES, **more: Any) -> list[dict[str, Any]]:
    """The metadata of a file that has no mistake."""
    rows, wrong = read(content, table, **more)
    assert wrong == []
    return [json.loads(row.metadata) for row in rows]


def table(describes: str = "items", **more: Any) -> Table:
    columns = {name: Column(name, **{"field": name, **one}) for name, one in more.pop("columns", {}).items()}
    return Table("t", "t.csv", describes, more.pop("id", "id"), columns=columns, **more)


def test_a_row_is_a_record_under_its_id() -> None:
    rows, wrong = read("id,age,sex\r\nS1,5,M\r\nS2,NA,\r\n\r\n,,\r\n")
    assert (wrong, [(row.row, row.id, row.project) for row in rows]) == ([], [(2, "S1", "P1"), (3, "S2", "P1")])
    assert [json.loads(row.metadata) for row in rows] == [{"age": "5", "sex": "M"}, {}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_ends_of_lines_byte_order_marks_and_quotes_are_the_writers_choice(end: str, mark: str) -> None:
    content = end.join([f"{mark}id,title", 'S1,"a, ""b""\nc"', "S2,ü\u2028ß"])
    assert metadata(content) == [{"title": 'a, "b"\nc'}, {"title": "ü\u2028ß"}]


def test_tabs_separate_where_the_file_says_so() -> None:
    assert metadata("id\ttitle\nS1\ta,b\n", key="x.tsv") == [{"title": "a,b"}]
    assert metadata("id\ttitle\nS1\ta,b\n", table(format="tsv"), key="odd") == [{"title": "a,b"}]
    assert read("id\n", key="odd")[1] == [
        'odd: it ends in neither .csv, .tsv nor .json; say format = "csv" in its table.'
    ]


@pytest.mark.parametrize("cell", ["=1+1", '=HYPERLINK("http://x")', "@SUM(A1)", "+1", "-1", " =cmd|' /C calc'!A0"])
def test_cells_that_look_like_formulas_stay_what_they_are(cell: str) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    assert metadata(f"id,note\nS1,{quoted}\n") == [{"note": cell}]


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("text", " a ", " a "), ("integer", "5", 5), ("integer", " -7 ", -7), ("integer", "5.0", 5),
        ("integer", "9" * 30, int("9" * 30)), ("number", "1.5", 1.5), ("number", "1e3", 1000.0), ("number", "3", 3),
        ("boolean", "TRUE", True), ("boolean", "yes", True), ("boolean", "F", False), ("boolean", "0", False),
        ("boolean", "n", False), ("date", "2026-11-21", "2026-11-21"), ("list", "a; b ;;c", ["a", "b", "c"]),
        ("list", '["a;b", "c"]', ["a;b", "c"]), ("list", ";", None),
    ],
)  # fmt: skip
def test_a_cell_is_read_as_its_type(type_: str, text: str, value: Any) -> None:
    quoted = '"' + text.replace('"', '""') + '"'
    found = metadata(f"id,x\nS1,{quoted}\n", table(columns={"x": {"type": type_}}))
    assert found == [{} if value is None else {"x": value}]
    assert value is None or fits(value, type_)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("integer", "5.5"), ("integer", "1_000"), ("integer", "five"), ("integer", "٣"), ("number", "1,5"),
        ("number", "nan"), ("number", "1e999"), ("boolean", "maybe"), ("boolean", "2"), ("date", "21.11.2026"),
    ],
)  # fmt: skip
def test_a_cell_that_is_not_of_its_type_is_told_with_row_and_column(type_: str, text: str) -> None:
    rows, wrong = read(f'id,x\nS1,NA\nS2,"{text}"\n', table(columns={"x": {"type": type_}}))
    assert [row.id for row in rows] == ["S1"]
    assert len(wrong) == 1
    assert wrong[0].startswith(f"P1/samples.csv, row 3, column x: {text!r}; it must be ")


def test_declared_fields_give_columns_their_types() -> None:
    assert metadata("id,age\nS1,5\n", table(types={"age": "integer"})) == [{"age": 5}]


def test_columns_have_other_keys_separators_allowed_and_missing_values() -> None:
    columns: dict[str, Any] = {
        "a": {"field": "age", "type": "integer", "missing": frozenset({"-"})},
        "sex": {"values": frozenset({"M", "F"})},
        "tags": {"type": "list", "separator": "|", "values": frozenset({"x", "y"})},
        "must": {"required": True},
    }
    shape = table(columns=columns, ignore=frozenset({"noise"}))
    assert metadata("id,a,sex,tags,must,noise\nS1,-,M,x|y,1,zzz\n", shape) == [
        {"sex": "M", "tags": ["x", "y"], "must": "1"}
    ]
    assert read("id,a,sex,tags,must\nS1,,X,x|z,NA\n", shape)[1] == [
        "P1/samples.csv, row 2, column a: ''; it must be a whole number.",
        "P1/samples.csv, row 2, column sex: 'X' is not one of: F, M.",
        "P1/samples.csv, row 2, column tags: 'z' is not one of: x, y.",
        "P1/samples.csv, row 2, column must: there must be a value.",
    ]
    assert read("id,sex\nS1,M\n", shape)[1] == ["P1/samples.csv, row 1: there is no column 'must'; there are: id, sex."]


def test_lists_in_step_become_a_list_of_tables() -> None:
    shape = table(parallel=[Parallel("contacts", {"name": "names", "email": "mails"})])
    content = "id,names,mails\nP1,Ann;Bob,a@x;\nP2,,\nP3,Carl,\nP4,NA,c@x\n"
    assert metadata(content, shape) == [
        {"contacts": [{"name": "Ann", "email": "a@x"}, {"name": "Bob"}]}, {}, {"contacts": [{"name": "Carl"}]},
        {"contacts": [{"email": "c@x"}]},
    ]  # fmt: skip
    assert read("id,names,mails\nP1,Ann;Bob,a@x\n", shape)[1] == [
        "P1/samples.csv, row 2, column names, mails: these are lists in step, separated by ';', "
        "but names has 2, mails has 1."
    ]
    assert read("id,names\nP1,Ann\n", shape)[1] == [
        "P1/samples.csv, row 1: there is no column 'mails', which goes with 'names'."
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "P1/samples.csv: it is empty."),
        ("\n\n", "P1/samples.csv: it is empty."),
        ("\ufeff", "P1/samples.csv: it is empty."),
        ("id,age\n", "P1/samples.csv: it has headings and no rows."),
        ("id,age\n,,\n", "P1/samples.csv: it has headings and no rows."),
        ("ID,age\nS1,5\n", "P1/samples.csv, row 1: there is no column 'id'; did you mean 'ID'?"),
        ("sample;age\nS1;5\n", "P1/samples.csv, row 1: there is no column 'id'; "
         "the columns seem to be separated by ';', not by ','."),
        ("id,age,sex,age\nS1,5,M,6\n", "P1/samples.csv, row 1: columns 2 and 4 are both named 'age'."),
        ("id,age\nS1\n", "P1/samples.csv, row 2: it has 1 cell, but there are 2 columns."),
        ("id,age\nS1,5,6\n", "P1/samples.csv, row 2: it has 3 cells, but there are 2 columns."),
        ("id,\nS1,5\n", "P1/samples.csv, row 2: column 2 has no name, but '5' stands in it."),
        ("id,age\n,5\n", "P1/samples.csv, row 2, column id: there is no id."),
        ("id,age\nS1\x01,5\n", "P1/samples.csv, row 2, column id: the name 'S1\\x01' has a control character in it."),
        ("id,age\nS1,a\x00b\n", f"P1/samples.csv, row 2, column age: {NUL}"),
        ('id,age\nS1,"5\nS2,6\n',
         "P1/samples.csv, row 2: a quotation mark opens here, or further up, and never closes."),
        ('id,age\nS1,"5"x\n', "P1/samples.csv, row 2: after a closing quotation mark must come ','; "
         'one within quotation marks is written "".'),
        ("id,age\nS1,5\n".encode("utf-16"), "P1/samples.csv: it is UTF-16 text; save it as UTF-8."),
        ("id,age\nS1,5\n".encode("utf-16-le"), "P1/samples.csv: it is UTF-16 text; save it as UTF-8."),
        ("id,age\nS1,5\n".encode("utf-16-be"), "P1/samples.csv: it is UTF-16 text; save it as UTF-8."),
        ("id,age\nS1,5\n".encode("utf-32"), "P1/samples.csv: it is UTF-32 text; save it as UTF-8."),
        (b"PK\x03\x04\x14\x00\x06\x00", "P1/samples.csv: it is a spreadsheet (.xlsx, .ods) or another zip archive; "
         "save the sheet as CSV (UTF-8)."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "P1/samples.csv: it is an old Excel file (.xls); "
         "save the sheet as CSV (UTF-8)."),
        (gzip.compress(b"id,age\nS1,5\n", mtime=0), "P1/samples.csv: it is compressed (gzip); unpack it."),
        (bz2.compress(b"id,age\nS1,5\n"), "P1/samples.csv: it is compressed (bzip2); unpack it."),
        (b"PAR1\x15\x04\x15\x10", "P1/samples.csv: it is a Parquet file; save it as CSV."),
        ("id,age\n \u00a0,5\n", "P1/samples.csv, row 2, column id: there is no id."),
        ("id,age\nS\u200b1,5\n", "P1/samples.csv, row 2, column id: 'S\\u200b1' has a character in it that nobody "
         "sees: '\\u200b'."),
        ("id\ne\u0301\n\u00e9\n", "P1/samples.csv, row 3, column id: '\\xe9' looks like the id of row 2, 'e\\u0301', "
         "and is made of other characters."),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(content: str | bytes, told: str) -> None:
    assert read(content)[1] == [told]


@pytest.mark.parametrize("heading", ["PAR1 reads", "BZh score", "BZh9", "%PDFs"])
def test_a_heading_may_begin_with_the_letters_that_other_files_begin_with(heading: str) -> None:
    assert metadata(f"{heading},id\n7,S1\n") == [{heading: "7"}]


def test_unnamed_columns_without_anything_in_them_are_no_mistake() -> None:
    assert metadata("id,age,,\nS1,5,,\n") == [{"age": "5"}]


def test_every_mistake_is_told_and_the_sound_rows_are_read() -> None:
    shape = table(columns={"age": {"type": "integer"}})
    rows, wrong = read("id,age\n" + "".join(f"S{n},{n if n % 2 else 'x'}\n" for n in range(1500)), shape)
    assert (len(rows), len(wrong)) == (750, 750)
    faults = Faults()
    list(Rows(shape, Belongs("f.csv"), [b"id,age\n" + b"S1,x\n" * 1500], faults))
    assert (faults.count, len(faults.first)) == (1500, 1000)


def test_bytes_that_are_no_utf_8_are_told_with_row_column_and_place() -> None:
    raw = "id,name\nS1,Müller\nS2,plain\nS3,Ü and ß\n".encode("latin-1")
    assert [raw[12:13], raw[30:31], raw[36:37]] == [b"\xfc", b"\xdc", b"\xdf"]
    right = 'is no UTF-8; if the file is Latin-1, say encoding = "latin-1" in its table.'
    rows, wrong = read(raw)
    assert wrong == [
        f"P1/samples.csv, row 2, column name: 0xFC (byte 12 of the file, counted from 0) {right}",
        f"P1/samples.csv, row 4, column name: 0xDC (byte 30 of the file, counted from 0) {right}",
    ]
    assert [row.id for row in rows] == ["S2"]
    found = metadata(raw, table(encoding="latin-1"))
    assert [one["name"] for one in found] == ["Müller", "plain", "Ü and ß"]
    assert "row 1, column n\\udce4me: 0xE4 (byte 4" in read(b"id,n\xe4me\nS1,x\n")[1][0].replace("?", "\\udce4")


def test_a_byte_that_the_declared_encoding_has_not_is_told_too() -> None:
    assert read(b"id,x\nS1,\x81\n", table(encoding="cp1252"))[1] == [
        "P1/samples.csv, row 2, column x: 0x81 (byte 8 of the file, counted from 0) is no CP1252."
    ]


def test_json_is_a_list_an_object_or_one_after_another() -> None:
    shape = table(types={"n": "integer"})
    rows = '{"id": "S1", "n": "5", "deep": {"a": [1, null]}}', '{"id": "S2", "n": 7.0, "no": null, "yes": true}'
    want: list[dict[str, Any]] = [{"n": 5, "deep": {"a": [1, None]}}, {"n": 7, "yes": True}]
    for content in (f"[{rows[0]},\n {rows[1]}]\n", "\n".join(rows), f"\ufeff {rows[0]}{rows[1]}"):
        assert metadata(content, shape, key="x.json") == want
    assert metadata(rows[0], shape, key="x.json") == want[:1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "x.json: it is empty."),
        ("[]", "x.json: it is empty."),
        ("[1]", "x.json: line 1: here must be an object, {…}, not '1'."),
        ('{"id": "S1",\n"x": }', "x.json: line 2: this is no JSON: Expecting value."),
        ('[{"id": "S1"}\n{"id": "S2"}]', "x.json: line 2: here must be ',', not '{'."),
        ('[{"id": "S1"}', "x.json: line 1: the list never ends; here must be ',' or ']'."),
        ('[{"id": "S1"}] x', "x.json: line 1: there is more after the end of the list."),
        ('{"id": "S1", "x": 1, "x": 2}', "x.json: line 1: an object has 'x' twice."),
        ('{"id": "S1", "x": NaN}', "x.json: line 1: NaN is no JSON number."),
        ('{"ID": "S1"}', "x.json, row 1: there is no 'id'; there are: ID."),
        ('{"id": ["S1"]}', "x.json, row 1, column id: ['S1'] is no id."),
        ('{"id": "S1", "n": [1]}', "x.json, row 1, column n: '[1]'; it must be a whole number."),
        ('{"id": "S1", "x": "\\u0000"}', f"x.json, row 1, column x: {NUL}"),
        ('{"id": "S1", "x": "\\ud800"}',
         "x.json, row 1, column x: it has half a surrogate pair in it, which is no text."),
        (b'{"id": "S1", "x": "\xe4"}',
         "x.json, row 1, column x: 0xE4 (byte 19 of the file, counted from 0) is no UTF-8; "
         'if the file is Latin-1, say encoding = "latin-1" in its table.'),
    ],
)  # fmt: skip
def test_a_mistake_of_json_is_told_with_its_place(content: str | bytes, told: str) -> None:
    assert read(content, table(types={"n": "integer"}), key="x.json")[1] == [told]


def test_parts_name_their_items_by_a_column_by_the_key_or_by_both() -> None:
    shape = table("parts", item="sample", into="libraries")
    rows, wrong = read('id,sample,tech\nL1,S1,x\nL2,"S1, S2",y\nL3,,z\n', shape)
    assert [row.items for row in rows] == [("S1",), ("S1", "S2")]
    assert json.loads(rows[0].metadata) == {"id": "L1", "tech": "x"}
    assert wrong == ["P1/samples.csv, row 4, column sample: it names no item."]
    rows, wrong = read('{"id": "L1", "sample": ["S2", "S1"]}', shape, key="l.json", items=("S1", "S2"))
    assert (wrong, rows[0].items) == ([], ("S2", "S1"))
    assert read('{"id": "L1", "sample": "S9"}', shape, key="l.json", items=("S1",))[1] == [
        "l.json, row 1, column sample: it names S9, but the file's key S1."
    ]
    rows, wrong = read('{"tech": "x"}', table("parts", id="{library}", into="libraries"), key="l.json", items=("S1",),
                       named={"library": "L7"})  # fmt: skip
    assert (wrong, rows[0].id, rows[0].items) == ([], "L7", ("S1",))


def test_wide_files_are_read() -> None:
    columns = [f"c{n}" for n in range(10_000)]
    content = ",".join(["id", *columns]) + "\n" + "".join(f"S{n}," + ",".join(["v"] * 10_000) + "\n" for n in range(5))
    assert [len(one) for one in metadata_in_blocks(content.encode())] == [10_000] * 5


def metadata_in_blocks(raw: bytes) -> list[dict[str, Any]]:
    faults = Faults()
    blocks = (raw[at : at + 65536] for at in range(0, len(raw), 65536))
    found = [json.loads(row.metadata) for row in Rows(SAMPLES, Belongs("w.csv"), blocks, faults)]
    assert not faults.count
    return found


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_memory_does_not_grow_with_the_rows(kind: str) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"id,a,b\n" if kind == "csv" else b"["
        for n in range(40):
            lines = [f"S{n}-{m},x,y" if kind == "csv" else f'{{"id":"S{n}-{m}","a":"x"}},' for m in range(500)]
            yield ("\n".join(lines) + "\n").encode()
        yield b'{"id":"S"}]' if kind == "json" else b""

    faults = Faults()
    tracemalloc.start()
    try:
        rows = sum(1 for _ in Rows(SAMPLES, Belongs(f"x.{kind}"), blocks(), faults))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert (rows, faults.count) == (20_000 + (kind == "json"), 0)


def test_a_json_object_that_never_ends_is_given_up() -> None:
    with pytest.raises(InvalidInput, match="line 1"):
        list(json_rows(iter(['{"a": "' + "x" * 2_000_000] + ["x" * 1_000_000] * 5)))


def test_a_list_is_a_type_of_fields() -> None:
    assert from_text("tags", "a; b", {"tags": {"type": "list"}}) == ["a", "b"]
    assert from_text("tags", '["a", 1]', {"tags": {"type": "list"}}) == ["a", 1]
    assert fits([1], "list")
    assert not fits("a", "list")
    assert read_as("list", "[a|b]", "|") == ["[a", "b]"]


def test_what_is_collected_is_gathered_from_lists_and_tables() -> None:
    item = {"diagnosis": "Glioma", "libraries": [{"tech": "b", "n": 2}, {"tech": ["a", "b"]}, {"n": 10}]}
    tech = collect("t", "list", "libraries.tech")
    assert tech.path == '$."libraries"."tech"[*]'
    assert tech.value(values_in(item, tech), 0) == ["a", "b"]
    numbers = collect("t", "list", "libraries.n")
    assert numbers.value(values_in(item, numbers), 0) == [2, 10]
    assert collect("t", "integer", "#libraries").value(values_in(item, collect("t", "integer", "#libraries")), 0) == 3
    assert collect("t", "integer", "#items").value([], 7) == 7
    assert collect("t", "boolean", "libraries.tech=a").value(["a", "b"], 0) is True
    assert collect("t", "boolean", "@bulk").value([False], 0) is False
    for type_, said in (("text", "diagnosis"), ("list", "#items"), ("integer", "a=b"), ("list", ""), ("list", "a..b")):
        with pytest.raises(InvalidInput):
            collect("t", type_, said)


ANOTHER = '[[tables]]\nname = "u"\nfile = '
SITE = """
[[sources]]
name = "inputs"
url = "bucket"
layout = [{ pattern = "{project}/{item}/*" }]
[fields.age]
type = "integer"
[[tables]]
name = "t"
file = "{project}/t.csv"
describes = "items"
id = "id"
"""


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('columns.a.field = "age"\ncolumns.age.type = "integer"', "column 'age' becomes 'age', as column 'a' does"),
        ('columns.age.type = "text"', "column 'age' is 'text', but 'age' is declared as 'integer'"),
        ('columns.a.values = ["x"]\ncolumns.a.type = "integer"', "column 'a': 'x'; it must be a whole number"),
        ('columns.a.separator = ""', "column 'a' has an empty separator"),
        ('ignore = ["a"]\ncolumns.a.type = "list"', "column 'a' is also ignored; one of the two"),
        ('encoding = "utf-16"', "'utf-16' is no encoding that is read here"),
        ('encoding = "klingon"', "'klingon' is no encoding that is read here"),
        ('into = "x"', "describes items; only parts have into"),
        ('project = "p"', "has {project} in its pattern, and a column for the project as well"),
        ('parallel = [{ into = "a", columns = { x = "y" } }, { into = "a", columns = { x = "z" } }]',
         "that becomes 'a'"),
        ('parallel = [{ into = "age", columns = { x = "y" } }]', "is declared as 'integer'; it must be a list"),
        (ANOTHER + '"u.csv"\ndescribes = "parts"\nid = "{x}"', "there is no {x} in its pattern"),
        (ANOTHER + '"u.csv"\ndescribes = "parts"\nid = "i"', "does not say which item a part belongs to"),
        (ANOTHER + '"{item}.csv"\ndescribes = "parts"\nid = "i"', "under which key of the item"),
        (ANOTHER + '"u.xlsx"\ndescribes = "items"\nid = "i"', "end in neither .csv, .tsv nor .json"),
        (ANOTHER + '"u.csv"\ndescribes = "items"\nid = "i"\nrequired = true', "nothing says which project"),
        (ANOTHER + '"{u.csv"\ndescribes = "items"\nid = "i"', "never closes it"),
        ('[project_fields.n]\ntype = "text"\ncollect = "age"', "gives a list or boolean, but the field's type is text"),
        ('[fields.n]\ntype = "list"\ncollect = "age"', "gathers from items"),
    ],
)  # fmt: skip
def test_what_a_site_file_cannot_say_of_tables(lines: str, told: str) -> None:
    assert parse_site_file(SITE, Path("site.toml")).content.tables[0].name == "t"
    with pytest.raises(SiteFileError) as error:
        parse_site_file(SITE + lines, Path("site.toml"))
    assert told in error.value.message


def test_lists_are_edited_in_the_form_of_a_record_and_stay_as_they_are_when_nobody_does() -> None:
    fields = {"tags": {"type": "list"}, "libraries": {"type": "list"}}
    metadata = {"tags": ["a", "b"], "libraries": [{"id": "L1", "n": 1}]}
    form = record_form.drawn({"revision": 1, "status": "good", "status_reason": "", "metadata": metadata}, fields)
    typed = {"began": form.began, "status": "good", "reason": "", "rest": form.rest}
    typed |= {f"field.{field['key']}": field["value"] for field in form.fields}
    assert record_form.patch(typed, fields)["metadata"] == {}
    assert record_form.patch(typed | {"field.tags": "a; c"}, fields)["metadata"] == {"tags": ["a", "c"]}


def test_lists_in_step_have_types_too() -> None:
    shape = table(parallel=[Parallel("links", {"url": "urls", "raw": "raws"}, types={"raw": "boolean"})])
    assert metadata("id,urls,raws\nS1,a;b,yes;no\n", shape) == [
        {"links": [{"url": "a", "raw": True}, {"url": "b", "raw": False}]}
    ]
    assert read("id,urls,raws\nS1,a;b,yes;maybe\n", shape)[1] == [
        "P1/samples.csv, row 2, column urls, raws: 'maybe'; it must be true or false."
    ]


def test_a_cell_that_is_too_long_is_told_and_nothing_behind_it_is_lost() -> None:
    longest = "y" * LONGEST_CELL
    faults = Faults()
    rows = Rows(SAMPLES, Belongs("s.csv", "P1"), [f"id,x\nS1,{longest}y\nS2,z\n".encode()], faults)
    assert [row.id for row in rows] == ["S2"]
    assert [fault.told() for fault in faults.first] == [
        "s.csv, row 2: a cell has more than 4,194,304 characters; "
        "or a quotation mark opens here, or further up, and never closes."
    ]
