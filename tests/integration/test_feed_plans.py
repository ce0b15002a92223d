"""The feed's statements find their rows by index among 200,000 changes of 40,000 items, and touch few pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.conftest import TEMPLATE, _with_database
from tests.integration.test_query_plans import explain, nodes

OPTIONS = "-c plan_cache_mode=force_custom_plan -c enable_seqscan=off -c timezone=UTC -c jit=off"
"""As `feed.plan` sets it."""

ITEMS, RUNS, BAD = 40_000, 2, 50
_FILL = f"""
set session_replication_role = replica;
insert into item (name, status, metadata)
    select 'item-' || n, case when n % {ITEMS // BAD} = 0 then 'bad' else 'good' end, jsonb_build_object('number', n)
    from generate_series(1, {ITEMS}) n;
insert into project (name) values ('rare'), ('all');
insert into project_item (project_id, item_id) select 1, n from generate_series(1, {ITEMS}, 400) n;
insert into project_item (project_id, item_id) select 2, n from generate_series(1, {ITEMS}) n;
insert into app (name, kind, url, version_id) values ('f', 'python', 'python:f', 1);
insert into app_version (app_id, version, digest) values (1, '1', '');
insert into pipeline (name, version_id) values ('p', 1);
insert into pipeline_version (pipeline_id, number) values (1, 1);
insert into step (pipeline_version_id, position, name, app_id) values (1, 0, 'a', 1), (1, 1, 'b', 1), (1, 2, 'c', 1);
insert into batch (name) values ('b');
insert into run (batch_id, pipeline_version_id, steps, total) select 1, 1, 3, {ITEMS} from generate_series(1, {RUNS}) n;
insert into task (run_id, position, item_id, step, state, fence, document, finished_at)
    select 1, n, n, 2, 'done', 3, '', now() from generate_series(1, {ITEMS}) n;
insert into task (run_id, position, item_id, step, state, fence, document, finished_at)
    select 2, n, n, 1, 'failed', 2, '', now() from generate_series(1, 20) n;
insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, finished_at, input, output)
    select n, f, f - 1, 1, '{{}}', 'done', now(), now() - interval '1 h' + make_interval(secs => f), '', ''
    from generate_series(1, {ITEMS}) n, generate_series(1, 3) f;
insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, input, output)
    select {ITEMS} + n, 1, 0, 1, '{{}}', 'done', now(), '', '' from generate_series(1, 20) n;
insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', 1, n, n, n, f - 1, 'done' from generate_series(1, 5) f, generate_series(1, {ITEMS}) n;
insert into change (kind, state) select 'app', null from generate_series(1, 5) n;
"""
LARGE = {"item", "task", "attempt", "change", "project_item"}
ALL = {"xid": "0", "id": 0, "to_xid": "9" * 18, "to_id": 0}
OFF: dict[str, Any] = dict.fromkeys(("kinds", "run", "names", "projects", "statuses", "last_steps", "fields"))
MATCHING = OFF | {"after": 0, "most": 20_001}

PLANS: dict[str, tuple[str, dict[str, Any], int]] = {
    # what: (statement, parameters, pages that it may touch)
    "a page": ("feed.read", ALL | OFF | {"limit": 100}, 800),
    "a page near the end": ("feed.read", ALL | OFF | {"limit": 100, "id": 204_900}, 800),
    "where a stretch ends": ("feed.chunk", ALL | {"most": 4000}, 400),
    "what is to come": ("feed.pending", ALL | {"most": 10_000}, 500),
    "the horizon": ("feed.now", {"elsewhere": ["7"]}, 30),
    "items with a rare status": ("feed.few", MATCHING | {"statuses": ["bad"]}, 100),
    "items by field": ("feed.few", MATCHING | {"fields": ['{"number": 77}', '{"number": "77"}']}, 60),
    "items by name": ("feed.few", MATCHING | {"names": ["item-5", "item-9", "nobody"]}, 40),
    "records of a snapshot": ("feed.matching", MATCHING | {"statuses": ["good"], "most": 1000}, 2500),
    "items of a small project": ("feed.few", MATCHING | {"projects": [1]}, 700),
    "changes of a few items": ("feed.among", ALL | OFF | {"ids": list(range(800, 40_000, 800)), "limit": 20}, 1500),
    "changes of an item far back": ("feed.among", ALL | OFF | {"ids": [39_999], "limit": 100}, 120),
    "records with their last step": ("feed.records", {"ids": list(range(1, 101))}, 4000),
    "processes": ("feed.processes", {"ids": list(range(1, 101))}, 4000),
    "items that may be at a step": ("views.candidates", {"names": ["a"], "most": 5001}, 100),
    "items at a rare step": ("views.carriers", {"name": "a", "after": 0, "most": 500, "statuses": None}, 1500),
    "items at the step that all have done": (
        "views.carriers", {"name": "c", "after": 20_000, "most": 100, "statuses": None}, 5000),
    "items at no step there is": ("views.carriers", {"name": "z", "after": 0, "most": 50, "statuses": None}, 20),
}  # fmt: skip


pytestmark = pytest.mark.xdist_group("feed plans")  # so that one process alone fills a database


@pytest.fixture(scope="module")
def filled(server: str) -> Iterator[psycopg.Connection[Any]]:
    name = f"feed_plans_{id(server):x}"
    admin = _with_database(server, "postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
    with psycopg.connect(_with_database(server, name), autocommit=True) as connection:
        connection.execute(_FILL.encode())
        connection.execute(b"vacuum analyze")
    with psycopg.connect(_with_database(server, name), options=OPTIONS) as connection:
        yield connection
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.mark.parametrize("what", PLANS)
def test_a_statement_of_the_feed_uses_its_indexes(filled: psycopg.Connection[Any], what: str) -> None:
    name, params, most = PLANS[what]
    plan = explain(filled, name, params)
    scans = [node for node in nodes(plan) if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE]
    assert not scans, f"{name} reads all of {', '.join(sorted({node['Relation Name'] for node in scans}))}"
    touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert touched <= most, f"{name} touched {touched} pages"


def test_a_stretch_in_which_nothing_matches_costs_what_one_costs_in_which_all_do(
    filled: psycopg.Connection[Any],
) -> None:
    """Whatever is asked for, a page looks through so many changes and no more."""
    row = filled.execute("select max(xid)::text from change where kind = 'task'").fetchone()
    assert row is not None
    stretch = ALL | OFF | {"to_xid": row[0], "to_id": 4000, "limit": 1000}
    pages = {}
    for word in ("bad", "good", "lost"):
        plan = explain(filled, "feed.scan", stretch | {"statuses": [word]})
        assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE]
        pages[word] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert max(pages.values()) < 40_000, pages
