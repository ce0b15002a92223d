"""A look at what changed costs what changed, not what there is; a sweep reads each item once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL
from tests.watching import Watched

from tidemill.db.database import Database, composed
from tidemill.domain.conditions import Condition
from tidemill.runner.watch import MARK
from tidemill.runner.watch_condition import predicate
from tidemill.storage.documents import DocumentStore

LARGE = {"item", "batch_item", "task", "change"}
FILL = """
set session_replication_role = replica;
insert into item (name, metadata) select 'item-' || n, jsonb_build_object('n', n) from generate_series(1, 10000) n;
insert into document (sha256, size, body) values (sha256('x'), 1, '{}');
insert into batch_item (batch_id, position, item_id) select 1, id, id from item;
insert into task (run_id, position, item_id, state, document, finished_at)
    select 1, id, id, 'done', sha256('x'), now() from item;
insert into change (kind, item_id) select 'item', id from item;
insert into change (kind, item_id, task_id) select 'task', id, id from item;
"""


@pytest.fixture
async def connection(database: Database, documents: DocumentStore, database_url: str) -> Any:
    mill = Watched(database, documents)
    await mill.pipeline("chain", ["one"])
    assert await mill.watch() == 1
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FILL.encode())
        connection.execute(b"vacuum analyze")
        connection.execute(b"set session_replication_role = origin")
        connection.execute(b"set jit = off")
        yield connection


def explained(connection: Any, name: str, condition: Condition, **params: Any) -> tuple[int, set[str]]:
    """Pages that a statement touches, and the large tables that it reads from end to end."""
    parts, values = predicate(condition)
    asked = values | {"name": "all", "batch": 1, "mark": MARK} | params
    explain = SQL("explain (analyze, buffers, timing off, format json) ") + composed(name, parts)
    (row,) = connection.execute(explain, asked).fetchall()
    plan = row[0][0]["Plan"]
    scanned = {n["Relation Name"] for n in _nodes(plan) if n["Node Type"] == "Seq Scan"} & LARGE
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], scanned


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


async def test_a_look_finds_by_index_what_changed_and_a_sweep_reads_in_order(connection: Any) -> None:
    touched, _ = explained(connection, "watch.missing", Condition(), after=0, n=2000)
    assert touched < 500
    touched, scanned = explained(connection, "watch.astray", Condition(), after=0, n=2000)
    assert not scanned
    assert touched < 60
    (seen,) = connection.execute(b"select pg_current_snapshot()::text").fetchone()
    connection.execute(b"update item set status = 'bad' where id in (7, 8, 9)")
    connection.execute(b"insert into item (name) values ('new')")
    for data in ({}, {"where": {"n": {"min": 5}}, "require": ["n"], "prefix": "item", "files": 1}):
        touched, scanned = explained(connection, "watch.changed", Condition.from_json(data), seen=seen, most=2000)
        assert not scanned
        assert touched < 150
