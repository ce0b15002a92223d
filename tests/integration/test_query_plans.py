"""The hot statements find their rows by index, among 100,000 finished tasks, however large the tables grow.

Each statement is planned as in the product (one generic plan per connection) and really run; what is judged is how it
reached the rows and how many pages it touched, never how long it took.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql as compose
from tests.conftest import TEMPLATE, _with_database

from tidemill.db.queries import sql
from tidemill.domain.item_search import parse_search

PLANS = "-c plan_cache_mode=force_generic_plan -c timezone=UTC -c jit=off"
"""As the workers' connections have them, without the ban on sequential scans: the indexes must win by themselves."""

LARGE = {"task", "attempt", "document", "change", "item", "batch_item"}
RUNS, ITEMS, WAITING, IN_HAND = 20, 5000, 2000, 200

_FILL = f"""
set session_replication_role = replica;
insert into item (name, metadata) select 'item-' || n, jsonb_build_object('run', n) from generate_series(1, {ITEMS}) n;
insert into app (name, kind, url, version_id, concurrency) values ('f', 'python', 'python:f', 1, null), ('g', 'python',
    'python:g', 2, 500);
insert into app_version (app_id, version, digest) values (1, '1', ''), (2, '1', '');
insert into pipeline (name, version_id) values ('p', 1);
insert into pipeline_version (pipeline_id, number) values (1, 1);
insert into step (pipeline_version_id, position, name, app_id, parameters) values (1, 0, 'a', 1, '{{"x": 1}}'),
    (1, 1, 'b', 2, '{{}}');
insert into batch (name) values ('b'), ('whole');
insert into batch_item (batch_id, position, item_id) select 2, n - 1, n from generate_series(1, {ITEMS}) n;
insert into batch_item (batch_id, position, item_id) select 1, n - 1, n from generate_series(1, {ITEMS}) n;
insert into worker (hostname, pid, slots, kinds) values ('here', 1, 256, '{{python}}');
insert into run (batch_id, pipeline_version_id, steps, total, state, finished_at)
    select 1 + (n = {RUNS})::int, 1, 2, {ITEMS}, 'done', now() from generate_series(1, {RUNS}) n;
insert into run (batch_id, pipeline_version_id, steps, total) values (1, 1, 2, {WAITING + IN_HAND});
insert into document (sha256, size, body)
    select sha256(n::text::bytea), 10, n::text from generate_series(1, {RUNS * ITEMS}) n;
insert into task (run_id, position, item_id, step, state, fence, document, finished_at)
    select (n - 1) / {ITEMS} + 1, (n - 1) % {ITEMS}, (n - 1) % {ITEMS} + 1, 1, 'done', 2, sha256(n::text::bytea), now()
    from generate_series(1, {RUNS * ITEMS}) n;
insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, worker_id, started_at, input, output)
    select n, 1, 0, 1, '{{"x": 1}}', 'done', 1, now(), sha256(n::text::bytea), sha256(n::text::bytea)
    from generate_series(1, {RUNS * ITEMS}) n;
insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', (n - 1) / {ITEMS} + 1, n, (n - 1) % {ITEMS} + 1, (n - 1) % {ITEMS}, 1, 'done'
    from generate_series(1, {RUNS * ITEMS}) n;
insert into task (run_id, position, item_id, document)
    select {RUNS + 1}, n - 1, n, sha256(n::text::bytea) from generate_series(1, {WAITING}) n;
insert into task (run_id, position, item_id, document, state, fence, worker_id, lease_until, started_at)
    select {RUNS + 1}, {WAITING} + n - 1, {WAITING} + n, sha256(n::text::bytea), 'running', 1, 1,
           now() + interval '1 h', now()
    from generate_series(1, {IN_HAND}) n;
insert into tally (run_id, step, state, tasks)
    select run_id, step, state, count(*) from task group by run_id, step, state;
"""
FIRST_IN_HAND = RUNS * ITEMS + WAITING + 1
CLAIMS = [{"task": FIRST_IN_HAND + n, "fence": 1} for n in range(100)]
RESULTS = [
    claim
    | {"step": 0, "app": 1, "version": 1, "pipeline_version": 1, "outcome": "done", "move": "next", "input": "00" * 32,
       "output": "00" * 32, "started": "2026-01-01T00:00:00Z"}
    for claim in CLAIMS
]  # fmt: skip
NEW = [{"sha256": f"{n:064x}", "size": 2, "body": "{}", "location": None} for n in range(100)]
STANDING = {
    "threshold": 3, "lease": 30.0, "kinds": ["python"], "functions": ["python:f", "python:g"], "apps": None,
    "worker": 1, "rooms": "{}",
}  # fmt: skip
RUN, OLD = RUNS + 1, 3


def params(search: str) -> dict[str, Any]:
    """Of a search of items, a page of it."""
    return parse_search(search).params() | {"limit": 100, "offset": 0, "most": 1001}


HOT: dict[str, tuple[dict[str, Any], int]] = {
    # statement: (parameters, pages that it may touch)
    "tasks.lock_limited_apps": ({}, 20),
    "tasks.claim": ({"n": 100}, 4000),
    "tasks.store": ({"documents": NEW}, 2500),
    "tasks.finish": ({"results": RESULTS}, 6000),
    "tasks.renew": ({"tasks": CLAIMS}, 3000),
    "tasks.submit": ({"tasks": [CLAIMS[0] | {"handle": {"job": 1}}]}, 200),
    "tasks.adopt": ({"n": 100}, 400),
    "tasks.expire": ({}, 400),
    "tasks.release": ({"tasks": CLAIMS}, 6000),
    "tasks.disown": ({"tasks": CLAIMS}, 6000),
    "tasks.cancelled": ({"tasks": CLAIMS}, 600),
    "tasks.lock_open_runs": ({}, 60),
    "tasks.close_runs": ({"runs": [RUN]}, 60),
    "workers.bury": ({"workers": [9]}, 400),
    "workers.records": ({"items": list(range(1, 101))}, 500),
    "look.grid": ({"run": OLD, "from": 0, "to": ITEMS}, 1500),
    "look.ends": ({"run": OLD}, 20),
    "look.workers": ({"seconds": 45.0}, 400),
    "look.running": ({"run": RUN}, 400),
    "items.attempts": ({"item": 7, "run": None}, 400),
    "items.tasks": ({"item": 7}, 300),
    "items.process": ({"item": 7}, 400),
    "feed.read": ({"xid": "0", "id": 0, "to_xid": "9" * 18, "to_id": 0, "run": None, "kinds": None, "limit": 20}, 150),
    "feed.now": ({"elsewhere": ["7"]}, 20),
    "live.moved": ({"seen": "100000:100000:", "runs": [RUN], "most": None, "block": 10_000}, 60),
}

ANY_TASK = {"from": 0, "states": None, "steps": None, "letters": None, "grams_of": None, "limit": 101}
SEARCHED: dict[str, tuple[str, dict[str, Any], int]] = {
    # what: (statement, parameters, pages that it may touch); planned for these parameters, as the product has it
    "items by some letters of the name": ("catalogue.matching", params("item-499"), 400),
    "items by two letters that no name has": ("catalogue.matching", params("zq"), 40),
    "items by the beginning of the name": ("catalogue.matching", params("item-499*"), 400),
    "items between two names": ("catalogue.matching", params("from:item-4990 to:item-4992"), 400),
    "items of a rare status": ("catalogue.matching", params("status:bad"), 40),
    "items by a value in the metadata": ("catalogue.matching", params("run=17"), 200),
    "the API's items by letters": ("look.items", {"letters": "item-499", "limit": 50, "offset": 0}, 600),
    "the first items": ("catalogue.matching", params("") | {"most": 101}, 300),
    "tasks of a run from a position on": ("look.window", ANY_TASK | {"run": OLD, "from": 2000}, 500),
    "failed tasks of a run": ("look.window", ANY_TASK | {"run": OLD, "states": ["failed"], "steps": [0, 1]}, 100),
    "tasks at work": ("look.window", ANY_TASK | {"run": RUN, "states": ["submitted"], "steps": [0, 1]}, 400),
    "tasks by letters, in a long run": (
        "look.searched",
        ANY_TASK | {"run": OLD, "letters": "-4999", "grams_of": "-4999"},
        300,
    ),
    "how far a batch is": ("batches.list", {"name": "whole", "contains": None, "limit": 1, "offset": 0}, 300),
    "what of a batch has not started": ("batches.not_started", {"batch": 2, "limit": 20}, 300),
    "what a start would take in": ("startable.count", {"batch": "whole", "pipeline": "p"}, 300),
}


pytestmark = pytest.mark.xdist_group("query plans")  # so that one process alone fills a database


@pytest.fixture(scope="module")
def filled(server: str) -> Iterator[psycopg.Connection[Any]]:
    """A database with 100,000 finished tasks, and a run in which 2,000 wait and 200 are in hand."""
    name = f"plans_{id(server):x}"
    admin = _with_database(server, "postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
    with psycopg.connect(_with_database(server, name), autocommit=True) as connection:
        connection.execute(_FILL.encode())
        connection.execute(b"vacuum analyze")
    with psycopg.connect(_with_database(server, name), options=PLANS) as connection:
        yield connection
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.mark.parametrize("name", HOT)
def test_a_hot_statement_uses_its_indexes(filled: psycopg.Connection[Any], name: str) -> None:
    params, most = HOT[name]
    plan = explain(filled, name, STANDING | params)
    scans = [node for node in nodes(plan) if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE]
    assert not scans, f"{name} reads all of {', '.join(sorted({node['Relation Name'] for node in scans}))}"
    touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert touched <= most, f"{name} touched {touched} pages"


@pytest.mark.parametrize("what", SEARCHED)
def test_what_is_searched_for_is_found_by_an_index(filled: psycopg.Connection[Any], what: str) -> None:
    name, params, most = SEARCHED[what]
    filled.execute("set plan_cache_mode = force_custom_plan")
    plan = explain(filled, name, params)
    filled.execute("set plan_cache_mode = force_generic_plan")
    scans = [node for node in nodes(plan) if node["Node Type"] == "Seq Scan" and node["Actual Loops"]]
    read = {node["Relation Name"] for node in scans} & LARGE
    assert not read, f"{what}: reads all of {', '.join(sorted(read))}"
    touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert touched <= most, f"{what}: touched {touched} pages"


def test_the_reuse_lookup_is_an_index_probe(filled: psycopg.Connection[Any]) -> None:
    plan = explain(filled, "tasks.claim", STANDING | {"n": 100})
    used = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
    assert {"attempt_reuse_idx", "task_waiting_idx", "task_in_hand_idx"} <= used


def test_a_plan_made_when_there_was_nothing_still_looks_results_up_by_their_input(database_url: str) -> None:
    """A worker keeps its plans as long as its connection: made on the first day, they serve among millions."""
    with psycopg.connect(database_url, options=f"{PLANS} -c enable_seqscan=off") as connection:
        connection.execute("analyze attempt")
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, input, output)"
            " select n, 1, 0, 1, '{}', 'done', now(), sha256(n::text::bytea), '' from generate_series(1, 3000) n"
        )
        plan = explain(connection, "tasks.claim", STANDING | {"n": 100})
    used = {
        node["Index Name"] for node in nodes(plan) if node.get("Relation Name") == "attempt" and "Index Name" in node
    }
    assert used == {"attempt_reuse_idx"}


def test_a_claim_costs_the_same_whatever_waits_behind_a_closed_lane(filled: psycopg.Connection[Any]) -> None:
    """A paused run of any size is one row that the claim passes by."""
    with filled.transaction(force_rollback=True):
        filled.execute("update run set paused = true")
        plan = explain(filled, "tasks.claim", STANDING | {"n": 100})
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 60


def explain(connection: psycopg.Connection[Any], name: str, params: dict[str, Any]) -> dict[str, Any]:
    """The plan of a named statement as it ran, rolled back."""
    statement, order = sql(name), []

    def numbered(found: re.Match[str]) -> str:
        if found[1] not in order:
            order.append(found[1])
        return f"${order.index(found[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", numbered, statement).replace("%%", "%")
    values = [params.get(key) for key in order]
    literals = [
        compose.Literal(json.dumps(v) if v and isinstance(v, list) and isinstance(v[0], dict) else v) for v in values
    ]
    call = (
        compose.SQL("execute hot ({})").format(compose.SQL(", ").join(literals))
        if values
        else compose.SQL("execute hot")
    )
    with connection.transaction(force_rollback=True):
        connection.execute("deallocate all")
        connection.execute(f"prepare hot as {text}".encode())
        explained = compose.SQL("explain (analyze, buffers, timing off, format json) {}").format(call)
        row = connection.execute(explained).fetchone()
        assert row is not None
        plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
