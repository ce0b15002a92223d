"""What declarations select, what things are called inside packages, and the tables in them."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.domain.package_rules import (
    PackFile,
    PackItem,
    Subject,
    attribute_values,
    matches,
    name_faults,
    name_inside,
    package_name,
)
from tidemill.domain.package_tables import TableRule, cell, make_table
from tidemill.errors import InvalidInput


def file(key: str, *items: str, **attributes: Any) -> PackFile:
    return PackFile("data", key, 1, "e", attributes, items, "P1")


def test_a_list_of_values_is_any_of_them_on_either_side() -> None:
    assert matches({"diagnosis": ["a", "b"]}, {"diagnosis": "b"})
    assert matches({"diagnoses": "b"}, {"diagnoses": ["a", "b"]})
    assert matches({"diagnoses": ["c", "b"]}, {"diagnoses": ["a", "b"]})
    assert not matches({"diagnoses": ["c"]}, {"diagnoses": ["a", "b"]})
    assert matches({"cells": 3}, {"cells": 3.0})
    assert not matches({"has_bulk": True}, {"has_bulk": 1})
    assert not matches({"has_bulk": False}, {})
    assert matches({}, {})


def test_names_inside_are_made_of_what_a_file_has() -> None:
    one = file("P1/S1,S2/L1_a.rds", "S1", "S2", library="L1", merged=True)
    project = Subject("P1", ())
    assert name_inside("{items}/{library}/{name}", one, project) == "S1_S2/L1/L1_a.rds"
    assert name_inside("{item}/{name}", one, project) == "S1_S2/L1_a.rds"
    assert name_inside("{item}/{name}", one, Subject("P1", ("S2",))) == "S2/L1_a.rds"
    assert name_inside("{project}/{merged}", one, project) == "P1/True"
    with pytest.raises(InvalidInput, match=r"into has \{stage\}, which the file P1/S1,S2/L1_a.rds does not have"):
        name_inside("{stage}/{name}", one, project)
    with pytest.raises(InvalidInput, match=r"into has \{item\}, which the file P1/bulk does not have"):
        name_inside("{item}/{name}", file("P1/bulk"), project)


def test_file_names_of_packages_are_such() -> None:
    assert package_name("{project}_ALL.zip", Subject("a/b:c", ())) == "a_b_c_ALL.zip"
    assert package_name("{items}_M.zip", Subject("P1", ("S1", "S2"))) == "S1-S2_M.zip"
    with pytest.raises(InvalidInput, match="at most 200"):
        package_name("{items}.zip", Subject(None, tuple(f"SAMPLE{n:04}" for n in range(40))))
    with pytest.raises(InvalidInput, match="which this package does not have"):
        package_name("{project}_{item}.zip", Subject(None, ("S1",)))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a/x", "A/X"], "key a/x and key A/X have names inside that differ only in their case: 'A/X'."),
        (["a/x", "a/x"], "key a/x and key a/x have the same name inside: 'a/x'."),
        (["é", "e\u0301"], "differ only in their case"),
        (["straße", "STRASSE"], "differ only in their case"),
        (["a", "A/b"], "key a would be the file 'a' inside, and key A/b makes a folder of that name."),
        (["manifest.SHA256"], "the manifest and key manifest.SHA256"),
        (["a/../b"], "which leads out of the folder"),
        (["a//b"], "which leads out of the folder"),
        (["/a"], "an absolute path"),
        (["c:\\a"], "an absolute path"),
        (["a\tb"], "a control character"),
        (["a\n\x1b[31mb"], r"key a\n\x1b[31mb would be called 'a\n\x1b[31mb' inside, which has a control character"),
        (["a\u2028b"], "a control character"),
        (["x" * 256], "too long"),
        (["x/" * 600 + "é" * 500], "too long"),
    ],
)
def test_names_that_cannot_be(names: list[str], told: str) -> None:
    faults = list(name_faults([(name, f"key {name}") for name in names]))
    assert len(faults) == 1
    assert told in faults[0]


def test_names_that_can_be() -> None:
    names = [
        "README.md",
        "a/b",
        "a/c",
        "ab",
        "日本/ü '\"`$.txt",
        "k" * 255,
        "x/" * 900 + "x",
        "..a",
        "a../b",
        "-rf",
        "~",
    ]
    assert list(name_faults([(name, name) for name in names])) == []


def test_attributes_are_said_or_looked_up() -> None:
    items = [
        PackItem("S1", {"cell_line": False, "libraries": [{"version": "v1"}, {"version": "v2"}]}),
        PackItem("S2", {"cell_line": True, "libraries": [{"version": "v1"}]}),
    ]
    said = {
        "format": "ANN_DATA",
        "has_bulk": "{project.has_bulk}",
        "nothing": "{project.nothing}",
        "versions": "{item.libraries.version}",
        "cell_lines": "{item.cell_line}",
        "bulk": {"has": {"modality": "BULK"}},
        "spatial": {"has": {"modality": ["SPATIAL", "SLICE"]}},
    }
    assert attribute_values(said, {"has_bulk": True}, items, [file("x", modality="BULK")]) == {
        "format": "ANN_DATA",
        "has_bulk": True,
        "nothing": None,
        "versions": ["v1", "v2"],
        "cell_lines": True,
        "bulk": True,
        "spatial": False,
    }


ITEMS = [
    PackItem("S10", {"diagnosis": "b", "libraries": [{"library_id": "L2", "cells": 5}]}, ("P1",)),
    PackItem(
        "S1",
        {
            "diagnosis": "a",
            "age": None,
            "libraries": [{"library_id": "L9", "unit": "cell", "cells": 7}, {"library_id": "L1", "unit": "spot"}],
        },
        ("P1", "P2"),
    ),
    PackItem("S2", {"diagnosis": "only bulk"}, ("P1",)),
]


def test_one_row_for_each_item_and_part() -> None:
    rule = TableRule("libraries", project_column="project", item_column="sample", first=["library_id"])
    assert make_table(rule, ITEMS, {}, "P1").text == (
        "project\tsample\tlibrary_id\tage\tcells\tdiagnosis\tunit\n"
        "P1\tS1\tL1\tNA\tNA\ta\tspot\n"
        "P1\tS1\tL9\tNA\t7\ta\tcell\n"
        "P1\tS10\tL2\tNA\t5\tb\tNA\n"
        "P1\tS2\tNA\tNA\tNA\tonly bulk\tNA\n"
    )


def test_rows_and_columns_that_are_asked_for() -> None:
    rule = TableRule(
        "libraries",
        columns=["scpca_id", "library_id", "pi", "project"],
        where={"unit": ["cell", "spot"]},
        item_column="scpca_id",
    )
    projects = {"P1": {"pi": "A. Nobody"}, "P2": {"pi": "B. Body"}}
    table = make_table(rule, ITEMS, projects, None)
    assert table.text == ("scpca_id\tlibrary_id\tpi\tproject\nS1\tL1\tA. Nobody\tP1;P2\nS1\tL9\tA. Nobody\tP1;P2\n")
    assert table.rows == 2
    assert make_table(TableRule(where={"diagnosis": "x"}), ITEMS, {}, None).rows == 0


def test_the_order_of_items_does_not_matter() -> None:
    rule = TableRule("libraries")
    assert make_table(rule, ITEMS, {}, "P1") == make_table(rule, ITEMS[::-1], {}, "P1")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "NA"),
        ("", "NA"),
        ([], "NA"),
        (True, "true"),
        (0, "0"),
        (0.1, "0.1"),
        ("a\tb\r\nc\u2028d", "a b  c d"),
        (["a", "b", None], "a;b;NA"),
        ([{"name": "A", "email": "a@b"}], '[{"email": "a@b", "name": "A"}]'),
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("-2.5", "-2.5"),
        ("+1e-3", "+1e-3"),
        ("-", "-"),
        (-3, "-3"),
        (["=x"], "'=x"),
    ],
)
def test_cells_are_one_line_and_no_formula(value: Any, shown: str) -> None:
    assert cell(value) == shown
