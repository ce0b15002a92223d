"""Bits of the copy of declared fields: they say what the items say, also just after somebody wrote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.integration.test_field_index import FILL, asked, sql
from tests.portal_catalogue import lay

from tidemill.catalogue import browsing, field_bits, field_index
from tidemill.db.database import Database
from tidemill.domain.shop_window import Noun

ASKED = (
    ("age=4&diagnosis=D1", {}),
    ("age__gte=3&diagnosis__icontains=d", {}),
    ("age__lt=5&age__gt=1&technologies=a,b", {}),
    ("diagnosis__isnull=true&is_xenograft__isnull=true", {}),
    ("diagnosis__startswith=D1&scpca_id__istartswith=n4", {}),
    ("scpca_id__icontains=n&age=3", {}),
    ("scpca_id__gt=N3&weight__isnull=true&technologies__icontains=A", {}),
    ("project__title__isnull=true&age=3", {}),
    ("age=3&weight__lte=2", {}),
    ("age__isnull=false", {"search": "d1"}),
    ("", {"search": "b n4"}),
    ("", {"search": "N12", "ordering": "-age"}),
    ("age__gte=2&diagnosis=D1", {"ordering": "diagnosis,-age", "offset": 3, "limit": 5}),
    ("age__gte=2&diagnosis=D1", {"offset": 190, "limit": 30}),
    ("age__gte=2&diagnosis=D1", {"offset": 300}),
    ("age__gte=2&diagnosis=D1", {"ordering": "-created_at", "offset": 2, "limit": 9}),
    ("age=3", {"ordering": "created_at", "limit": 9}),
    ("", {"ordering": "-created_at", "limit": 9}),
)  # fmt: skip


async def _facets_are_true(database: Database, query: str, search: str) -> None:
    pairs: Any = [part.split("=", 1) for part in query.split("&") if part]
    async with database.begin() as session:
        shown = await browsing.window(session)
        wanted = browsing.read_query(shown, Noun.ITEM, pairs, search=search)
        names = ["age", "diagnosis", "is_xenograft", "technologies", "weight"]
        found = await browsing.facets(session, shown, Noun.ITEM, wanted, names=names)
        plain = await browsing.facets(session, replace(shown, copy=None), Noun.ITEM, wanted, names=names)
        assert found == plain
        listed = next(one for one in plain if one.name == "technologies")
        some = await browsing.facet(session, shown, Noun.ITEM, wanted, "technologies", contains="B")
        assert some.values == [(value, n) for value, n in listed.values if value and "b" in value.lower()]


@pytest.mark.parametrize("most_values", [5_000, 3])
async def test_bits_say_what_items_say(database: Database, monkeypatch: pytest.MonkeyPatch, most_values: int) -> None:
    monkeypatch.setattr(field_bits, "QUIET", 0.0)
    await lay(database)
    await sql(database, f"select setval(pg_get_serial_sequence('item', 'id'), {field_bits.SPAN - 250})", FILL)
    await field_index.tend(database, least=0, most_values=most_values)
    edits = ("update item set metadata = metadata || '{\"age\": 4, \"diagnosis\": \"D1\"}' where name like 'N1%'",
             "delete from item where name like 'N30%'")  # fmt: skip
    for edit in (None, *edits):
        if edit is not None:
            await sql(database, edit)
        for stale in (True, False):
            notes = await sql(database, "select stretch from tidemill_fields.stale_1")
            assert bool(notes) == (stale and edit is not None)
            for query, more in ASKED:
                await asked(database, query, **more)
                await _facets_are_true(database, query, str(more.get("search", "")))
            await field_index.tend(database, least=0, most_values=most_values)


async def test_where_many_have_just_written_items_are_looked_at(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_bits, "CROWDED", 3)
    await lay(database)
    await sql(database, FILL)
    await field_index.tend(database, least=0)
    for n in range(9):
        await sql(database, f"update item set metadata = metadata || '{{\"age\": {n}}}' where name = 'N7'")
    assert await asked(database, "age=8&diagnosis=D1") == (1, ["N7"])
    await field_index.tend(database, least=0)
    notes = await sql(database, "select stretch from tidemill_fields.stale_1")
    assert len(notes) == 1
    await sql(database, "insert into tidemill_fields.stale_1 (stretch) select n from generate_series(1, 20) n")
    assert await asked(database, "age=8&diagnosis=D1") == (1, ["N7"])


async def test_bits_are_made_anew_when_what_was_written_has_been_there_for_a_while(database: Database) -> None:
    await lay(database)
    await sql(database, FILL)
    await field_index.tend(database, least=0)
    edit = "update item set metadata = metadata || '{\"age\": 60}' where name = 'N7'"
    notes, earlier = (
        "select seen from tidemill_fields.stale_1",
        "update tidemill_fields.stale_1 set seen = seen - interval '1 h'",
    )
    await sql(database, edit)
    await field_index.tend(database, least=0)
    assert len(await sql(database, notes)) == 1, "however long its transaction took, it is new here"
    await sql(database, earlier, edit.replace("60", "61"))
    await field_index.tend(database, least=0)
    assert len(await sql(database, notes)) == 2
    await sql(database, earlier)
    await field_index.tend(database, least=0)
    assert await sql(database, notes) == []
    assert await asked(database, "age=61&diagnosis=D1") == (1, ["N7"])


async def test_lists_may_have_numbers_of_any_length(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_bits, "MOST_VALUES", 2)
    await lay(database)
    numbers = """update item set metadata = metadata || '{"technologies": [123456789012345678901234567890, "10Xv4"]}'
                 where name = 'N7'"""
    decimals = """update item set metadata = metadata || '{"technologies": [0.12345678901234567890123456789]}'
                  where name = 'N10'"""
    await sql(database, FILL, numbers, decimals)
    await field_index.tend(database, least=0)
    for query in ("technologies=10Xv4", "technologies__icontains=890123456789"):
        found = ["N7"] if query.endswith("4") else ["N10", "N7"]
        assert sorted((await asked(database, query))[1]) == found
        assert sorted((await asked(database, f"{query}&diagnosis=D1"))[1]) == found
        await _facets_are_true(database, f"{query}&age__gte=0", "")
