"""Fills a database by SQL as years of the experiment would: items, a watching run that has done them all, its history.

All counts are exact: one task an item, one attempt a finished step, two changes each (begun, and what came of it).
"""

from __future__ import annotations

import sys
import time

import psycopg

STEPS = ("move_to_sps", "conversion", "signal_processing", "quality", "tape_archive")
CHUNK = 20_000
"""Items that one transaction makes with all that was ever done to them."""

SITE = """
insert into site (title) values ('Scale') on conflict do nothing;
insert into source (name, url) values ('underground', 'file:///data');
insert into project (name) select 'physics-' || n from generate_series(1, 20) n;
insert into worker (hostname, pid, process, slots, kinds, started_at, seen_at, stopped_at)
select 'ccage' || n, n, 'ccage' || n || ' 1 1', 16, '{python}', now() - interval '5 years', now() - interval '1 year',
       now() - interval '1 year' from generate_series(1, 40) n;
"""

RUN = """
with made as (
    insert into app (name, kind, url, protocol)
    select %(name)s || '-' || step, 'python', 'python:' || %(name)s || '_' || step, 'json'
    from unnest(%(steps)s::text[]) step returning id)
insert into app_version (app_id, version, digest) select id, '1.0', '0' from made;
update app set version_id = v.id from app_version v where v.app_id = app.id and app.version_id is null;
insert into pipeline (name) values (%(name)s);
insert into pipeline_version (pipeline_id, number) select id, 1 from pipeline where name = %(name)s;
update pipeline set version_id = v.id from pipeline_version v
where v.pipeline_id = pipeline.id and pipeline.version_id is null;
insert into step (pipeline_version_id, position, name, app_id)
select p.version_id, nth - 1, step, a.id from pipeline p, unnest(%(steps)s::text[]) with ordinality s(step, nth)
join app a on a.name = %(name)s || '-' || step where p.name = %(name)s;
insert into batch (name) values (%(name)s);
insert into run (batch_id, pipeline_version_id, steps, total, created_at)
select b.id, p.version_id, cardinality(%(steps)s::text[]), 0, now() - interval '5 years' from batch b, pipeline p
where b.name = %(name)s and p.name = %(name)s returning id;
"""

WATCH = """
with watched as (update run set watch = %(name)s where id = %(run)s returning id)
insert into watch (run_id, name, condition, seen, swept_at)
select id, %(name)s::text, jsonb_build_object('prefix', %(name)s::text, 'require', '["conditions"]'::jsonb),
       pg_current_snapshot()::text, now() from watched
"""

# What is filled in has the shape that the product would have given it; only the triggers, which would note it all once
# more, are held back, and what they would have added up is added up here.
ITEMS = """
set local session_replication_role = replica;
set local synchronous_commit = off;
insert into item (id, name, metadata, created_at, updated_at)
select n, %(name)s || lpad((n / 1000)::text, 5, '0') || '_' || lpad((n %% 1000)::text, 3, '0'),
       jsonb_build_object(
           'run', n / 1000, 'md5sum', md5(n::text), 'datecreated', now() - interval '5 years' + n * interval '150 s',
           'original_file', '/data/' || n || '.root', 'type', (array['physics', 'calibration', 'noise'])[1 + n %% 3],
           'conditions', jsonb_build_object(
               'temperature', 15 + n %% 400 / 100.0,
               'volts', jsonb_build_object('detector_a', jsonb_build_array(n %% 8, 2, 4, -2))),
           'comment', repeat('taken by the night shift; ', 24)),
       now() - interval '5 years' + n * interval '150 s', now() - interval '5 years' + n * interval '150 s'
from generate_series(%(first)s::bigint, %(last)s) n;
insert into project_item select 1 + n %% 20, n from generate_series(%(first)s::bigint, %(last)s) n;
insert into file (id, source_id, key, size, modified_at)
select n, 1, n || '.root', 200000000 + n, now() from generate_series(%(first)s::bigint, %(last)s) n;
insert into item_file select n, n from generate_series(%(first)s::bigint, %(last)s) n;
insert into batch_item (batch_id, position, item_id)
select (select batch_id from run where id = %(run)s), n - %(origin)s, n
from generate_series(%(first)s::bigint, %(last)s) n;
insert into task (run_id, position, item_id, step, state, fence, document, revision, reason, finished_at)
select %(run)s, n - %(origin)s, n, %(steps)s - 1, case when n %% 200 = 7 then 'failed' else 'done' end, %(steps)s,
       sha256(convert_to(n || '/' || %(steps)s - (n %% 200 = 7)::int, 'UTF8')), 1,
       case when n %% 200 = 7 then 'no pulses were found in channel ' || n %% 4 end,
       now() - interval '5 years' + n * interval '150 s'
from generate_series(%(first)s::bigint, %(last)s) n;
insert into document (sha256, size, body)
select sha256(convert_to(n || '/' || step, 'UTF8')), 120, '{"item": "' || n || '", "step": ' || step || '}'
from generate_series(%(first)s::bigint, %(last)s) n, generate_series(0, %(steps)s) step;
insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, worker_id, started_at, finished_at,
                     input, output, error, log, files, inputs)
select t.id, nth + 1, nth, v.id, '{}', case when lost then 'failed' else 'done' end, 1 + n %% 40,
       at + nth * interval '1 min', at + (nth + 1) * interval '1 min',
       sha256(convert_to(n || '/' || nth, 'UTF8')),
       case when not lost then sha256(convert_to(n || '/' || nth + 1, 'UTF8')) end,
       case when lost then 'no pulses were found in channel ' || n %% 4 end, 'read 4 channels; wrote the file',
       case when nth < 2 then jsonb_build_array(jsonb_build_object('name', n || '.root', 'size', 1000 + n, 'sha256',
            md5(n::text), 'url', 'file:///sps/' || n || '.root')) end,
       case when nth = 2 then jsonb_build_array(jsonb_build_object('name', 'template', 'size', 1000, 'sha256',
            md5((n / 5000)::text), 'url', 'file:///templates/' || n / 5000 || '.npy')) end
from generate_series(%(first)s::bigint, %(last)s) n
join task t on t.run_id = %(run)s and t.position = n - %(origin)s
cross join generate_series(0, %(steps)s - 1) nth
cross join lateral (
    select now() - interval '5 years' + n * interval '150 s' as at, n %% 200 = 7 and nth = %(steps)s - 1 as lost) x
join run r on r.id = %(run)s
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = nth
join app a on a.id = s.app_id join app_version v on v.id = a.version_id;
insert into change (kind, item_id, state, at)
select 'item', n, 'good', now() - interval '5 years' + n * interval '150 s'
from generate_series(%(first)s::bigint, %(last)s) n;
insert into change (kind, run_id, task_id, item_id, position, step, state, at)
select 'task', %(run)s, t.id, n, t.position, least(%(steps)s - 1, nth + half),
       case when half = 0 then 'running' when nth + 1 < %(steps)s then 'waiting' else t.state end,
       now() - interval '5 years' + n * interval '150 s'
from generate_series(%(first)s::bigint, %(last)s) n
join task t on t.run_id = %(run)s and t.position = n - %(origin)s
cross join generate_series(0, %(steps)s - 1) nth cross join generate_series(0, 1) half;
"""

SUMS = """
insert into tally (run_id, step, state, tasks)
select run_id, step, state, count(*) from task where run_id = %(run)s group by run_id, step, state;
update run set total = (select count(*) from task where run_id = %(run)s) where id = %(run)s;
select setval(pg_get_serial_sequence('item', 'id'), (select max(id) from item)),
       setval(pg_get_serial_sequence('file', 'id'), (select max(id) from file));
"""


def site(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """What every site of this benchmark has: a source, projects, workers of old."""
    for statement in _each(SITE):
        connection.execute(statement)


def with_failures(done: int) -> int:
    """How many items it takes so that so many of them are done: of each 200 one has failed."""
    return -(-done * 200 // 199)


def run(connection: psycopg.Connection[tuple[object, ...]], name: str, items: int, *, watching: bool) -> int:
    """A run `name` of so many new items, all steps done; of each 200 one has failed at the last step. Its id."""
    fixed = {"name": name, "steps": list(STEPS)}
    for statement in _each(RUN):
        cursor = connection.execute(statement, fixed)
    row = cursor.fetchone()
    assert row is not None
    made = int(str(row[0]))
    if watching:
        connection.execute(WATCH.encode(), {"run": made, "name": name})
    row = connection.execute("select coalesce(max(id), 0) + 1 from item").fetchone()
    assert row is not None
    origin, began = int(str(row[0])), time.perf_counter()
    for first in range(origin, origin + items, CHUNK):
        last = min(first + CHUNK, origin + items) - 1
        params = {"run": made, "first": first, "last": last, "origin": origin, "steps": len(STEPS), "name": name}
        with connection.transaction():
            for statement in _each(ITEMS):
                connection.execute(statement, params)
        if items > CHUNK:
            share = (last - origin + 1) / items
            print(f"\rfilling {name}: {share:4.0%}, {time.perf_counter() - began:4.0f} s", end="", file=sys.stderr)
    for statement in _each(SUMS):
        connection.execute(statement, {"run": made})
    print(file=sys.stderr)
    return made


def _each(statements: str) -> list[bytes]:
    return [(one + ";").encode() for one in statements.split(";\n") if one.strip()]
