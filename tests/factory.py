"""Makes rows straight in SQL, so that a test of one room does not need the others."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

import psycopg

from tidemill.db.database import Database

SOURCE_BODY = '{"item": "source"}'


@dataclass(frozen=True, slots=True)
class MadeRun:
    """What `make_run` made. Items are named `<prefix>-000000` and so on, in order of position."""

    run: int
    batch: str
    pipeline: str
    app: str
    prefix: str
    items: int
    steps: int

    def item(self, position: int) -> str:
        return f"{self.prefix}-{position:06d}"


async def make_run(
    database: Database,
    *,
    items: int = 3,
    steps: int = 2,
    kind: str = "python",
    url: str = "python:noop",
    prefix: str | None = None,
    concurrency: int | None = None,
    tries: int = 3,
    backoff: float = 0,
    priority: int = 0,
) -> MadeRun:
    """A run of so many waiting items through a pipeline of so many steps (`step0`, …), all of one app at `url`."""
    prefix = prefix or f"item{uuid.uuid4().hex[:6]}"
    params = {
        "items": items, "steps": steps, "kind": kind, "url": url, "prefix": prefix, "concurrency": concurrency,
        "tries": tries, "backoff": backoff, "priority": priority, "app": f"app-{prefix}", "batch": f"batch-{prefix}",
        "pipeline": f"pipeline-{prefix}", "body": SOURCE_BODY,
        "sha256": hashlib.sha256(SOURCE_BODY.encode()).hexdigest(),
    }  # fmt: skip
    connection = await database.connect()
    async with connection, connection.transaction():
        run = await _insert(connection, params)
    return MadeRun(run, f"batch-{prefix}", f"pipeline-{prefix}", f"app-{prefix}", prefix, items, steps)


async def _insert(connection: psycopg.AsyncConnection[dict[str, object]], params: dict[str, object]) -> int:
    for statement in _STATEMENTS[:-1]:
        await connection.execute(statement.encode(), params, prepare=False)
    cursor = await connection.execute(_STATEMENTS[-1].encode(), params, prepare=False)
    row = await cursor.fetchone()
    assert row is not None
    return int(str(row["id"]))


_STATEMENTS = (
    """insert into document (sha256, size, body)
       values (decode(%(sha256)s, 'hex'), octet_length(%(body)s::text), %(body)s) on conflict do nothing""",
    """with made as (
           insert into app (name, kind, url, protocol, concurrency, tries, backoff)
           values (%(app)s, %(kind)s, %(url)s, case %(kind)s when 'http' then 'json' else %(kind)s end,
                   %(concurrency)s, %(tries)s, %(backoff)s) returning id)
       insert into app_version (app_id, version, digest) select id, '1.0', 'digest' from made""",
    """update app set version_id = v.id from app_version v where v.app_id = app.id and app.name = %(app)s""",
    """with made as (insert into pipeline (name) values (%(pipeline)s) returning id)
       insert into pipeline_version (pipeline_id, number) select id, 1 from made""",
    """update pipeline set version_id = v.id from pipeline_version v
       where v.pipeline_id = pipeline.id and pipeline.name = %(pipeline)s""",
    """insert into step (pipeline_version_id, position, name, app_id)
       select p.version_id, n, 'step' || n, a.id
       from pipeline p, app a, generate_series(0, %(steps)s::int - 1) n
       where p.name = %(pipeline)s and a.name = %(app)s""",
    """insert into item (name) select %(prefix)s || '-' || lpad(n::text, 6, '0')
       from generate_series(0, %(items)s::int - 1) n""",
    """insert into batch (name) values (%(batch)s)""",
    """insert into batch_item (batch_id, position, item_id)
       select b.id, row_number() over (order by i.name) - 1, i.id
       from item i, batch b where i.name like %(prefix)s || '-%%' and b.name = %(batch)s""",
    """insert into run (batch_id, pipeline_version_id, priority, steps, total)
       select b.id, p.version_id, %(priority)s, %(steps)s, %(items)s
       from batch b, pipeline p where b.name = %(batch)s and p.name = %(pipeline)s""",
    """insert into task (run_id, position, item_id, document)
       select r.id, x.position, x.item_id, decode(%(sha256)s, 'hex')
       from run r join batch b on b.id = r.batch_id join batch_item x on x.batch_id = b.id
       where b.name = %(batch)s order by x.position""",
    """select r.id from run r join batch b on b.id = r.batch_id where b.name = %(batch)s""",
)
