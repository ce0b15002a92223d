"""The narrow copy of declared fields: always what the items say, made while people write, gone where none needs it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.portal_catalogue import FIELDS, lay

from tidemill.catalogue import browsing, browsing_pages, field_bits, field_index
from tidemill.db.database import Database, Row
from tidemill.domain.shop_window import Noun

FILL = """insert into item (name, metadata)
          select 'N' || n, jsonb_build_object('age', n % 7, 'diagnosis', 'D' || n % 3,
                                              'technologies', '["a", "b"]'::jsonb)
          from generate_series(1, 500) n"""


async def sql(database: Database, *statements: str) -> list[Row]:
    connection = await database.connect()
    async with connection:
        for statement in statements:
            cursor = await connection.execute(statement.encode(), prepare=False)
        return await cursor.fetchall() if cursor.description else []


async def asked(database: Database, query: str = "", **more: Any) -> tuple[int, list[str]]:
    """What the copy answers; asserts that there is one, and that the items themselves say the same."""
    pairs: Any = [part.split("=", 1) for part in query.split("&") if part]
    async with database.begin() as session:
        shown = await browsing.window(session)
        assert shown.copy is not None
        wanted = browsing.read_query(shown, Noun.ITEM, pairs, **{"limit": 1000} | more)
        found = await browsing.items(session, shown, wanted)
        await _same_without(session, shown, wanted, found)
    return found.total, [row["name"] for row in found.rows]


async def _same_without(session: Any, shown: Any, wanted: browsing.Query, found: browsing.Listed) -> None:
    from dataclasses import replace

    plain = await browsing.items(session, replace(shown, copy=None), wanted)
    assert plain == found


async def columns(database: Database) -> list[list[str]]:
    rows = await sql(database, "select columns from field_table order by id")
    return [[column["field"] for column in row["columns"] if column["field"]] for row in rows]


@pytest.fixture
async def shop(database: Database) -> Database:
    await lay(database)
    await sql(database, "delete from project_item", "update project set locked = false", FILL)
    await field_index.tend(database, least=0)
    return database


async def test_it_follows_every_edit(shop: Database) -> None:
    assert (await asked(shop, "age=4"))[0] == 73
    edits = (
        "update item set metadata = metadata || '{\"age\": 400}' where name in ('N1', 'S4')",
        "update item set metadata = metadata - 'age' where name = 'N2'",
        'update item set metadata = \'{"age": "old", "technologies": "x"}\' where name = \'N3\'',
        "update item set name = 'M4', status = 'odd' where name = 'N4'",
        "update item set status = 'odd', metadata = metadata || '{\"other\": 1}' where name < 'N3'",
        "delete from item where name = 'N5'",
        'insert into item (name, metadata) values (\'new\', \'{"age": 400, "diagnosis": "D1"}\')',
        "insert into item (name, kind, metadata) values ('p.zip', 'package', '{\"age\": 400}')",
        "insert into item (name) values ('N6') on conflict (name) do update set metadata = '{\"age\": 401}'",
    )
    for edit in edits:
        await sql(shop, edit)
        for query in ("", "age__isnull=true", "age=400", "age__gt=4", "diagnosis__icontains=d1", "diagnosis=D1&age=1",
                      "technologies=a", "technologies__isnull=false", "id__icontains=m"):  # fmt: skip
            await asked(shop, query.replace("id__", "scpca_id__"))
    assert await asked(shop, "age__gte=400") == (4, ["S4", "N1", "N6", "new"])


async def test_a_page_is_found_among_the_first_or_by_the_index(shop: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for few, begin in ((0, 10), (0, 1000), (10_000, 10)):
        monkeypatch.setattr(browsing_pages, "FEW", few)
        monkeypatch.setattr(browsing_pages, "BEGIN", begin)
        for ordering in ("", "age", "-age", "diagnosis", "-diagnosis", "-age,diagnosis", "-scpca_id"):
            for offset, query in (
                (0, ""),
                (3, "age=3"),
                (60, "age=3"),
                (500, ""),
                (0, "diagnosis__icontains=D"),
                (0, "weight=1.5"),
            ):
                await asked(shop, query, ordering=ordering, limit=7, offset=offset)


async def test_a_search_looks_at_the_copy_too(shop: Database) -> None:
    for query, search in (
        ("", "D1"),
        ("age=3", "d1 b"),
        ("", "GANGLIO ana"),
        ("", "spat"),
        ("", "N1"),
        ("", "none of it"),
    ):
        await asked(shop, query, search=search)
    assert (await asked(shop, "age=3", search="d1"))[0] < (await asked(shop, "age=3"))[0]


async def test_tallies_are_added_up_and_stay_exact(shop: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await asked(shop, "age__gte=3")
    for _ in range(5):
        await sql(shop, "update item set metadata = metadata || '{\"age\": 90}' where name = 'N1'")
        await sql(shop, "update item set metadata = metadata || '{\"age\": 1}' where name = 'N1'")
    [row] = await sql(shop, "select count(*) as rows from tidemill_fields.tally_1_c1")
    monkeypatch.setattr(field_index, "CROWDED", 0)
    await field_index.tend(shop, least=0)
    [folded] = await sql(shop, "select count(*) as rows from tidemill_fields.tally_1_c1")
    assert folded["rows"] < row["rows"]
    assert await asked(shop, "age__gte=3") == before


async def test_other_fields_are_copied_anew_and_used_once_that_is_whole(shop: Database) -> None:
    assert await columns(shop) == [list(FIELDS)]
    odd = """(fields::jsonb - 'weight' || '{"odd": {"type": "integer"}}')::json"""
    await sql(shop, f"update site set fields = {odd}")
    async with shop.begin() as session:
        shown = await browsing.window(session)
        query = browsing.read_query(shown, Noun.ITEM, [("odd", "1")])
        assert [row["name"] for row in (await browsing.items(session, shown, query)).rows] == ["S1"]
    await asked(shop, "age=4")
    await field_index.tend(shop, least=0)
    assert await asked(shop, "odd=1") == (1, ["S1"])
    await sql(shop, "update field_table set ready_at = ready_at - interval '1 hour'")
    await field_index.tend(shop, least=0)
    assert len(await columns(shop)) == 1
    await asked(shop, "odd=1&age=4")
    await sql(shop, "update site set fields = '{}'")
    await field_index.tend(shop, least=0)
    left = "select relname from pg_class where relnamespace = 'tidemill_fields'::regnamespace"
    assert await sql(shop, left) == []
    assert await sql(shop, "select tgname from pg_trigger where tgname like 'fields_%'") == []
    assert await columns(shop) == []


async def test_a_value_that_is_too_long_for_an_index_is_found_all_the_same(shop: Database) -> None:
    long = "x" * 3000 + "glioma"
    await sql(shop, f'insert into item (name, metadata) values (\'long\', \'{{"diagnosis": "{long}", "age": 9}}\')')
    assert await asked(shop, "diagnosis__icontains=XGLIOMA") == (1, ["long"])
    assert await asked(shop, "diagnosis__isnull=true") == (2, ["S4", "S5"])
    assert await asked(shop, "age=9") == (1, ["long"])
    await field_index.tend(shop, least=0)
    assert len(await columns(shop)) == 1, "what is known to be too long is no reason to begin again"
    await sql(shop, "update site set fields = (fields::jsonb - 'weight')::json")
    await field_index.tend(shop, least=0)
    await field_index.tend(shop, least=0)
    assert [("diagnosis" in names) for names in await columns(shop)] == [True, False]
    assert await asked(shop, "diagnosis__icontains=XGLIOMA&age=9") == (1, ["long"])


async def test_who_writes_while_it_is_made_is_in_it(database: Database) -> None:
    await lay(database)
    await sql(database, "delete from project_item", "update project set locked = false", FILL)
    done = asyncio.Event()

    async def write(n: int) -> None:
        round_ = 0
        while not done.is_set():
            round_ += 1
            await sql(
                database,
                f"insert into item (name, metadata) values ('W{n}-{round_}', '{{\"age\": {n}}}')",
                f"update item set metadata = metadata || '{{\"age\": {round_}}}' where name = 'N{n + round_ % 50}'",
                f"delete from item where name = 'N{100 + 10 * n + round_ % 10}'",
            )

    writers = [asyncio.create_task(write(n)) for n in range(3)]
    await asyncio.gather(field_index.tend(database, least=0), field_index.tend(database, least=0))
    done.set()
    await asyncio.gather(*writers)
    assert len(await columns(database)) == 1
    for query in ("", "age__gte=0", "age=3", "age__isnull=true", "diagnosis__in=D1,D2&age__lt=3"):
        assert (await asked(database, query))[0] > 0


async def test_where_a_writer_and_the_copy_wait_for_each_other_the_writer_goes_on(shop: Database) -> None:
    [row] = await sql(shop, "select id, columns, bits from field_table")
    await sql(shop, "delete from tidemill_fields.record_1")
    writer, copier = await shop.connect(), await shop.connect()
    waits = f"""select 1 from pg_stat_activity
               where pid = {copier.info.backend_pid} and wait_event_type = 'Lock' and state = 'active'"""
    edit = "update item set metadata = metadata || '{\"age\": 50}' where name = %s"
    async with writer, copier:
        async with writer.transaction():
            await writer.execute(edit, ["N450"])
            copying = asyncio.create_task(field_index._take(copier, field_index._copy(row), 0))
            while not await sql(shop, waits):
                await asyncio.sleep(0.01)
            await writer.execute(edit, ["N3"])
        await copying
    assert await asked(shop, "age=50") == (2, ["N3", "N450"])
    await asked(shop)


async def test_who_works_is_not_waited_for_long(shop: Database) -> None:
    await sql(shop, "update site set fields = (fields::jsonb - 'weight')::json")
    connection = await shop.connect()
    async with connection, connection.transaction():
        await connection.execute("update item set status = 'odd' where name = 'N1'")
        await field_index.tend(shop, least=0)
        [row] = await sql(shop, "select count(*) filter (where ready_at is not null) as ready from field_table")
        assert row["ready"] == 1
    await field_index.tend(shop, least=0)
    assert "weight" not in (await columns(shop))[-1]


async def test_one_that_was_left_unfinished_is_begun_anew(shop: Database) -> None:
    await sql(shop, "update field_table set ready_at = null")
    async with shop.begin() as session:
        assert (await browsing.window(session)).copy is None
    await field_index.tend(shop, least=0)
    assert len(await columns(shop)) == 1
    assert (await asked(shop, "diagnosis=D1"))[0] == 167


async def test_a_process_of_the_release_before_and_this_one_bear_each_others_copies(shop: Database) -> None:
    [row] = await sql(shop, "select columns from field_table")
    assert {key for column in row["columns"] for key in column} <= {"field", "type", "column", "tallied", "lower"}
    bits = "select string_agg(oid::regclass::text, ', ') as names from pg_class where relname ~ '^(bits|stale)_1[^.]*$'"
    [found] = await sql(shop, f"{bits} and relkind = 'r'")
    await sql(shop, f"drop table {found['names']}", "update field_table set bits = null")
    assert (await asked(shop, "age=4&diagnosis=D1"))[0] == 24
    await field_index.tend(shop, least=0)
    whole = await sql(shop, "select bits is not null as whole from field_table order by id")
    assert [row["whole"] for row in whole] == [False, True]
    assert (await asked(shop, "age=4&diagnosis=D1"))[0] == 24


BITS = """with copy as (select * from field_table where ready_at is not null order by id desc limit 1)
          select c ->> 'field' as field, (c -> 'tallied')::bool as tallied,
                 (y.bits -> (c ->> 'column') -> 'bits')::int as bits, a.attstorage::text as storage
          from copy y cross join jsonb_array_elements(y.columns) c
          left join pg_class t on t.relname = format('bits_%s_%s', y.id, c ->> 'column')
          left join pg_attribute a on a.attrelid = t.oid and a.attname = 'bits'"""


async def bits(database: Database) -> dict[str, tuple[bool, int | None, str | None]]:
    """Of each field in the newest copy: whether it is tallied, its number of values if these have bits, and how the
    bits of values or of parts are stored."""
    return {row["field"]: (row["tallied"], row["bits"], row["storage"]) for row in await sql(database, BITS)}


async def test_fields_that_get_many_values_after_they_were_copied_are_copied_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_bits, "PRESSED", 4)
    monkeypatch.setattr(field_bits, "MOST_VALUES", 12)
    monkeypatch.setattr(field_bits, "QUIET", 0.0)
    await lay(database)
    await sql(database, "delete from item", "insert into item (name) select 'N' || n from generate_series(1, 500) n")
    await field_index.tend(database, least=0, most_values=100)
    assert (await bits(database))["diagnosis"] == (True, 1, "p")
    await sql(
        database,
        """update item set metadata = jsonb_build_object(
                               'diagnosis', name, 'age', id % 10, 'weight', id % 50, 'is_xenograft', id % 2 = 0)""",
    )
    await field_index.tend(database, least=0, most_values=100)
    [filled] = await sql(database, "select count(*) as rows from tidemill_fields.bits_1_c0")
    assert filled["rows"] == 1, "no bits are made of what has so many values"
    found = await bits(database)
    assert found["diagnosis"] == (False, None, "m")
    assert found["weight"] == (True, None, "m")
    assert found["age"] == (True, 10, "m")
    assert found["is_xenograft"] == (True, 2, "p")
    for query in ("age=4&diagnosis__startswith=N1", "weight__gt=30&age=3", "is_xenograft=true&weight=4"):
        assert (await asked(database, query))[0] > 0
    await field_index.tend(database, least=0, most_values=100)
    assert len(await columns(database)) == 2


async def test_a_sample_that_misses_most_values_makes_no_circle(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_index, "SAMPLE", 10)
    await lay(database)
    await sql(database, FILL, "update item set metadata = jsonb_build_object('diagnosis', name, 'age', id)")
    made = []
    for _ in range(4):
        await field_index.tend(database, least=0, most_values=100)
        made.append(len(await columns(database)))
    assert made == [1, 2, 2, 2]
    assert (await bits(database))["age"] == (False, None, "m")


async def test_small_sites_and_those_that_declare_nothing_have_none(database: Database) -> None:
    await lay(database)
    await field_index.tend(database)
    assert await columns(database) == []
    await sql(database, "update site set fields = '{}'")
    await field_index.tend(database, least=0)
    assert await columns(database) == []
    assert await sql(database, "select from pg_namespace where nspname = 'tidemill_fields'") == []
