"""The schema: migrations and models agree, both ways, and the tables themselves refuse impossible states."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic import command
from sqlalchemy import create_engine
from tests.factory import make_run

from tidemill.cli.exits import Exit, exit_code
from tidemill.db import schema
from tidemill.db.currency import is_current
from tidemill.db.database import Database
from tidemill.db.models import Base
from tidemill.errors import DatabaseBusy


def test_migrations_give_the_schema_that_the_models_describe(database_url: str) -> None:
    assert schema.check(database_url) == []


def test_a_difference_between_schema_and_models_is_told(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table task drop column progress")
        connection.execute("create index stray on task (due_at)")
    told = " ".join(schema.check(database_url))
    assert "progress" in told
    assert "stray" in told


def test_a_current_schema_is_left_alone(database_url: str) -> None:
    assert schema.migrate(database_url) == []


def test_all_migrations_can_be_undone_and_done_again(database_url: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database_url))
    with engine.begin() as connection:
        command.downgrade(schema._config(connection), "base")
    engine.dispose()
    with psycopg.connect(database_url) as connection:
        left = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert {name for (name,) in left} <= {"alembic_version"}
    assert "run `tidemill db migrate`" in schema.check(database_url)[0]
    assert schema.migrate(database_url)
    assert schema.check(database_url) == []


def test_a_site_of_the_release_before_keeps_its_tables_and_has_its_copies_made_anew(database_url: str) -> None:
    _before(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""insert into site (id, tables) values (1, '[{"name": "projects"}]')
                              on conflict (id) do update set tables = excluded.tables""")
        connection.execute("insert into field_table (columns, long, ready_at) values ('[]', '{}', now())")
        connection.execute("create schema tidemill_fields")
        connection.execute(
            "create function tidemill_fields.keep_1() returns trigger language plpgsql"
            " as 'begin raise exception ''stale''; end'"
        )
        connection.execute("create trigger keep_1 after insert on item execute function tidemill_fields.keep_1()")
        assert schema.migrate(database_url) == ["0004", "0005"]
        assert schema.check(database_url) == []
        assert connection.execute("select tables from site").fetchone() == ([{"name": "projects"}],)
        assert connection.execute("select count(*) from field_table").fetchone() == (0,)
        connection.execute("insert into item (name) values ('no trigger of the copy is left')")


def _before(database_url: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database_url))
    with engine.begin() as connection:
        command.downgrade(schema._config(connection), "0003")
    engine.dispose()


WORK = """update item set metadata = metadata || jsonb_build_object('n', {n}) where name = 'I{n}';
          select title from site;
          insert into project_item (project_id, item_id) select p.id, i.id from project p, item i where i.name = 'I{n}'
          on conflict do nothing;
          update project set title = 'P{n}';
          update site set title = 'S{n}'"""


def test_who_writes_while_the_schema_is_brought_up_goes_on(database_url: str) -> None:
    _before(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into site (id) values (1) on conflict do nothing")
        connection.execute("insert into project (name) values ('P')")
        connection.execute("insert into item (name) select 'I' || n from generate_series(1, 9) n")
    done, rounds = threading.Event(), [0, 0]

    def write(n: int) -> None:
        with psycopg.connect(database_url) as connection:
            while not done.is_set():
                for statement in WORK.format(n=n).split(";"):
                    connection.execute(statement.encode())
                    time.sleep(0.001)
                connection.commit()
                rounds[n] += 1

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, n) for n in range(2)]
        try:
            while min(rounds) < 3:
                time.sleep(0.01)
            assert schema.migrate(database_url) == ["0004", "0005"]
            now = list(rounds)
            while min(a - b for a, b in zip(rounds, now, strict=True)) < 3 and not any(w.done() for w in writers):
                time.sleep(0.01)
        finally:
            done.set()
        for writer in writers:
            writer.result()


def test_where_it_cannot_be_brought_up_people_are_told_what_to_do(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_TRIES", 2)
    _before(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into item (name) values ('I')")
        with pytest.raises(DatabaseBusy, match="Stop the site's workers") as caught:
            schema.migrate(database_url)
        assert exit_code(caught.value) is Exit.CONFLICT
        connection.commit()
    assert schema.migrate(database_url) == ["0004", "0005"]


def test_a_site_that_has_some_of_it_already_gets_the_rest(database_url: str) -> None:
    _before(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create index item_created_idx on item (created_at, id) where kind = 'item'")
        connection.execute("alter table site alter tables drop default, alter tables type json using tables::json")
        connection.execute("drop index dataset_token_id_idx")
    assert schema.migrate(database_url) == ["0004", "0005"]
    assert schema.check(database_url) == []


def test_every_table_of_the_models_is_there(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert {name for (name,) in found} == {*Base.metadata.tables, "alembic_version"}


IMPOSSIBLE = {
    "a state that does not exist": ("update task set state = 'finished'", "task_state_check"),
    "done without an end": ("update task set state = 'done'", "task_finished_check"),
    "waiting with an end": ("update task set finished_at = now()", "task_finished_check"),
    "running without a lease": ("update task set state = 'running', worker_id = 1", "task_lease_check"),
    "running without a worker": ("update task set state = 'running', lease_until = now()", "task_worker_check"),
    "waiting with a lease": ("update task set lease_until = now()", "task_lease_check"),
    "waiting with a worker": ("update task set worker_id = 1", "task_worker_check"),
    "a handle of what was not submitted": ("update task set handle = '{}'", "task_handle_check"),
    "an item twice at one place": ("update task set position = 0", "task_run_id_position_key"),
    "a run over without an end": ("update run set state = 'done'", "run_finished_check"),
    "an active run with an end": ("update run set finished_at = now()", "run_finished_check"),
    "a document in two places": ("update document set location = 'elsewhere'", "document_one_place_check"),
    "a document nowhere": ("update document set body = null", "document_one_place_check"),
    "a checksum that is none": ("update document set sha256 = '\\x00'", "document_sha256_check"),
    "a limit of nothing at once": ("update app set concurrency = 0", "app_concurrency_check"),
    "no try at all": ("update app set tries = 0", "app_retry_check"),
    "a success without an output": (
        "insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, input) "
        "select id, 1, 0, 1, '{}', 'done', now(), document from task limit 1",
        "attempt_output_check",
    ),
    "an attempt at no task": (
        "insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, input) "
        "values (0, 1, 0, 1, '{}', 'lost', now(), '')",
        "attempt_task_id_fkey",
    ),
}


async def test_the_tables_refuse_what_cannot_be(database: Database) -> None:
    await make_run(database, items=2)
    refused = {}
    connection = await database.connect()
    async with connection:
        for what, (statement, _) in IMPOSSIBLE.items():
            with pytest.raises(psycopg.errors.IntegrityError) as caught:
                await connection.execute(statement.encode())
            refused[what] = caught.value.diag.constraint_name
    assert refused == {what: constraint for what, (_, constraint) in IMPOSSIBLE.items()}


def test_a_light_look_knows_whether_the_schema_is_the_newest(database_url: str) -> None:
    assert is_current(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update alembic_version set version_num = '0000'")
        assert not is_current(database_url)
        connection.execute("drop table alembic_version")
    assert not is_current(database_url)
