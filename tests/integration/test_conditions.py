"""Conditions: what the SQL lets in and what the words say agree, and mistakes are told where they are."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.db.database import composed
from tidemill.db.queries import sql
from tidemill.domain.conditions import Condition, Facts, exact
from tidemill.errors import InvalidInput
from tidemill.runner.watch_condition import predicate

KEYS = ["a", "b", "0", "-1", "kind"]
TEXTS = st.text(alphabet="ab%_\\*?.é\n\"'{}01", max_size=4)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.1, 0.10000000000000001, 1.0, 2.50, -0.0, 1e300, 12345678901234567890, 0.1 + 0.2]),
)
PLAIN = st.one_of(TEXTS, NUMBERS, st.booleans())
VALUES = st.recursive(
    st.one_of(PLAIN, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)),
    max_leaves=6,
)
METADATA = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
PATHS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(".".join)
TESTS = st.one_of(
    PLAIN,
    st.lists(PLAIN, min_size=1, max_size=3),
    st.builds(lambda value: {"min": value}, st.one_of(NUMBERS, TEXTS)),
    st.builds(lambda value: {"max": value}, st.one_of(NUMBERS, TEXTS)),
    st.builds(lambda value: {"prefix": value}, TEXTS.filter(bool)),
    st.builds(lambda value: {"pattern": value}, TEXTS.filter(bool)),
    st.builds(lambda low, high: {"min": low, "max": high}, NUMBERS, NUMBERS),
)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.lists(st.sampled_from(["good", "bad"]), max_size=2),
        "project": st.lists(st.sampled_from(["p", "q"]), min_size=1, max_size=2),
        "require": st.lists(PATHS, max_size=2),
        "where": st.dictionaries(PATHS, TESTS, max_size=2),
        "prefix": TEXTS.filter(lambda text: text and "*" not in text),
        "files": st.integers(0, 2),
    },
)


@pytest.fixture
def connection(database_url: str) -> Any:
    with psycopg.connect(database_url) as connection:
        connection.execute(b"insert into source (name, url) values ('s', '/s')")
        connection.execute(b"insert into file (source_id, key, size) select 1, n, 1 from generate_series(1, 2) n")
        yield connection


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    condition=CONDITIONS,
    metadata=METADATA,
    name=TEXTS,
    status=st.sampled_from(["good", "bad"]),
    projects=st.dictionaries(st.sampled_from(["p", "q"]), st.booleans()),
    files=st.integers(0, 2),
)
def test_the_sql_and_the_explanation_agree(connection: Any, **given: Any) -> None:
    condition = Condition.from_json(given["condition"])
    stored, item, matches = _in_the_database(connection, condition, given)
    missed = stored.missed(item)
    assert matches is (not missed), missed
    assert bool(condition.missed(item)) is bool(missed)
    assert Condition.from_json(condition.as_json()) == condition


def _in_the_database(connection: Any, condition: Condition, given: Any) -> tuple[Condition, Facts, bool]:
    """The condition and the item as they come back from the tables, and what the predicate says."""
    with connection.transaction(force_rollback=True):
        text = json.dumps(given["metadata"])
        (item,) = connection.execute(
            "insert into item (name, status, metadata) values (%s, %s, %s::jsonb) returning id",
            [given["name"], given["status"], text],
        ).fetchone()
        for project, locked in given["projects"].items():
            connection.execute(
                "with made as (insert into project (name, locked) values (%s, %s) returning id) "
                "insert into project_item select id, %s from made",
                [project, locked, item],
            )
        connection.execute("insert into item_file select %s, id from file order by id limit %s", [item, given["files"]])
        parts, params = predicate(condition)
        rows = connection.execute(composed("watch.matching", parts), params | {"items": [item]}).fetchall()
        found = connection.execute(sql("watch.facts").encode(), {"items": [item]}).fetchone()
        (told,) = connection.execute("select %s::jsonb::text", [json.dumps(condition.as_json())]).fetchone()
        facts = Facts(found[1], found[2], found[3], exact(found[4]), found[5], found[6])
        return Condition.stored(told), facts, bool(rows)


ITEM = Facts("run-7", "bad", "dead channel", {"conditions": {"temperature": 0.4}}, {"x": True, "y": False}, 0)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ({}, ["status is bad (dead channel), must be good", "project `x` is locked"]),
        ({"status": ["bad"], "project": ["z"]}, ["project `x` is locked", "is in project `x` and `y`, must be in `z`"]),
        ({"status": [], "files": 1}, ["project `x` is locked", "has 0 files, must have at least 1"]),
        (
            {"status": [], "require": ["conditions.volts", "conditions"]},
            ["project `x` is locked", "no `conditions.volts`"],
        ),
        (
            {"status": [], "where": {"conditions": {"temperature": {"max": 0.1}}, "kind": "physics"}},
            [
                "project `x` is locked",
                "conditions.temperature is 0.4, must be at most 0.1",
                'no `kind`, must be "physics"',
            ],
        ),
        ({"status": [], "prefix": "test"}, ["project `x` is locked", "name is run-7, must begin with `test`"]),
    ],
)
def test_every_reason_is_told_in_words(condition: Any, told: list[str]) -> None:
    assert Condition.from_json(condition).missed(ITEM) == told


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"statuss": "good"}, "'statuss' is no part of a condition; there are: status, project, require"),
        ({"where": {"t": {"mim": 1}}}, "where: t has 'mim', which is no test; did you mean min?"),
        ({"where": {"t": {"min": 1, "x": 2}}}, "where: t has 'x', which is no test; there are: equals"),
        ({"where": {"t": {"min": True}}}, "where: t: min must be a number or a text."),
        ({"where": {"t": {"max": float("nan")}}}, "where: t: max must be a number or a text."),
        ({"where": {"t": {"one_of": []}}}, "where: t: one_of must be a list of texts, numbers, true or false."),
        ({"where": {"t": None}}, "where: t: must be a text, a number, true or false"),
        ({"where": "t = 1"}, "where must be a table of tests"),
        ({"require": ["a..b"]}, "require: 'a..b' is no path"),
        ({"require": ["a\0"]}, "require must be a text or a list of texts"),
        ({"prefix": "ma*"}, "prefix must be the beginning of the item's name, without *"),
        ({"files": -1}, "files must be a whole number"),
        ({"status": [1]}, "status must be a text or a list of texts"),
    ],
)
def test_what_makes_no_sense_is_refused(condition: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Condition.from_json(condition)
    assert message in refused.value.message
