"""Hand-written set SQL that does the engine's work and nothing else: what PostgreSQL itself allows for on this machine.

Two of them. `full` keeps the information that the product keeps, as durably: a claim with fence, lease and worker, the
input document read, an attempt row, the output by its SHA-256, two change rows, the next step, one NOTIFY a set.
`bare` keeps a state and a result. Neither knows runs, apps, limits, retries, circuits, re-use or cancelling.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from workload import PAYLOAD, SLOTS


@dataclass(frozen=True, slots=True)
class Yardstick:
    """`claim`: `n`, `worker` to rows of task, fence, step, input, body; `finish`: `results`, `steps`, `worker`."""

    name: str
    schema: str
    fill: str
    claim: str
    finish: str


BARE = Yardstick(
    "bare",
    """
    drop table if exists y_task, y_result;
    create table y_task (id bigint primary key, step smallint not null default 0, state smallint not null default 0)
        with (fillfactor = 70);
    create table y_result (task bigint, step smallint, sha bytea, body text, primary key (task, step));
    create index on y_task (id) where state = 0;
    """,
    "insert into y_task (id) select generate_series(1, %(items)s)",
    """
    update y_task set state = 1
    where id in (select id from y_task where state = 0 order by id limit %(n)s for update skip locked)
    returning id, 0, step, '', null
    """,
    """
    with r as (
        select * from json_to_recordset(%(results)s::json) as r(task bigint, step smallint, output text, body text)
    ),
    kept as (insert into y_result select task, step, decode(output, 'hex'), body from r)
    update y_task t set step = r.step + 1, state = case when r.step + 1 < %(steps)s then 0 else 2 end
    from r where t.id = r.task
    """,
)

FULL = Yardstick(
    "full",
    """
    drop table if exists y_attempt, y_change, y_task, y_document;
    create table y_document (sha256 bytea primary key, size bigint not null, body text,
        created_at timestamptz default now());
    create table y_task (id bigint primary key, step smallint not null default 0, state text not null default 'waiting',
        fence int not null default 0, document bytea not null, started_at timestamptz, lease_until timestamptz,
        worker_id bigint, finished_at timestamptz) with (fillfactor = 70);
    create index on y_task (id) where state = 'waiting';
    create table y_attempt (task_id bigint, fence int, step smallint not null, parameters jsonb not null,
        outcome text not null, worker_id bigint, started_at timestamptz, finished_at timestamptz default now(),
        input bytea, output bytea, primary key (task_id, fence));
    create table y_change (xid xid8 default pg_current_xact_id(), id bigint generated always as identity (cache 200),
        task_id bigint, step smallint, state text, at timestamptz default now(), primary key (xid, id));
    """,
    """
    with made as (select n, '{"item": ' || n || '}' as body from generate_series(1, %(items)s) n),
    kept as (insert into y_document (sha256, size, body) select sha256(body::bytea), length(body), body from made)
    insert into y_task (id, document) select n, sha256(body::bytea) from made
    """,
    """
    with found as (
        select id from y_task where state = 'waiting' order by id limit %(n)s for no key update skip locked
    ),
    claimed as (
        update y_task t set state = 'running', fence = t.fence + 1, started_at = now(), worker_id = %(worker)s,
            lease_until = now() + interval '30 seconds'
        from found where t.id = found.id returning t.id, t.fence, t.step, t.document
    ),
    noted as (insert into y_change (task_id, step, state) select id, step, 'running' from claimed)
    select c.id, c.fence, c.step, encode(c.document, 'hex'), d.body
    from claimed c join y_document d on d.sha256 = c.document
    """,
    """
    with r as materialized (
        select * from json_to_recordset(%(results)s::json)
            as r(task bigint, fence int, step smallint, input text, output text, size bigint, body text)
    ),
    kept as (
        insert into y_document (sha256, size, body) select decode(output, 'hex'), size, body from r
        on conflict do nothing
    ),
    moved as (
        update y_task t set step = r.step + 1, document = decode(r.output, 'hex'), lease_until = null, worker_id = null,
            state = case when r.step + 1 < %(steps)s then 'waiting' else 'done' end,
            finished_at = case when r.step + 1 < %(steps)s then null else now() end
        from r where t.id = r.task and t.fence = r.fence
        returning t.id, t.step, t.state, t.started_at
    ),
    tried as (
        insert into y_attempt (task_id, fence, step, parameters, outcome, worker_id, started_at, input, output)
        select r.task, r.fence, r.step, '{"series": 1}', case when m.id is null then 'late' else 'done' end, %(worker)s,
            m.started_at, decode(r.input, 'hex'), decode(r.output, 'hex')
        from r left join moved m on m.id = r.task
    ),
    noted as (insert into y_change (task_id, step, state) select id, step, state from moved)
    select pg_notify('tidemill_bench', '')
    """,
)


def measure(url: str, mark: Yardstick, items: int, steps: int, workers: int) -> float:
    """Steps per second of `workers` processes, from the first claim to the last commit."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(mark.schema.encode())
        connection.execute(mark.fill.encode(), {"items": items})
        connection.execute("analyze y_task")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    made = [
        context.Process(target=_drive, args=(url, mark, steps, worker, barrier), daemon=True)
        for worker in range(workers)
    ]
    for process in made:
        process.start()
    barrier.wait(60)
    began = time.perf_counter()
    barrier.wait(600)
    seconds = time.perf_counter() - began
    for process in made:
        process.join()
    return items * steps / seconds


def _drive(url: str, mark: Yardstick, steps: int, worker: int, barrier: Any) -> None:
    options = "-c plan_cache_mode=force_generic_plan -c jit=off -c enable_seqscan=off -c random_page_cost=1"
    with psycopg.connect(url, autocommit=True, prepare_threshold=0, options=options) as connection:
        barrier.wait(60)
        results: list[dict[str, Any]] = []
        while True:
            with connection.pipeline(), connection.transaction():
                if results:
                    sent = {"results": orjson.dumps(results).decode(), "steps": steps, "worker": worker}
                    connection.execute(mark.finish.encode(), sent)
                cursor = connection.execute(mark.claim.encode(), {"n": SLOTS, "worker": worker})
            claimed = cursor.fetchall()
            if not claimed:
                break
            results = [_result(*row) for row in claimed]
        barrier.wait(600)


def _result(task: int, fence: int, step: int, source: str, body: str | None) -> dict[str, Any]:
    """What the no-op step does: read the input, put out about 1 KB."""
    item = orjson.loads(body)["item"] if body is not None else task
    output = orjson.dumps({"item": item, "step": step, "begun": time.time(), "payload": PAYLOAD})
    return {
        "task": task,
        "fence": fence,
        "step": step,
        "input": source,
        "output": hashlib.sha256(output).hexdigest(),
        "size": len(output),
        "body": output.decode(),
    }
