"""`tidemill changes`, `view` and `cursors` as a person or a script runs them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import psycopg
import pytest
from tests.program import Program

INSERT = (
    "insert into change (kind, run_id, position, state)"
    " select 'run', 1, n, 'done' from generate_series(%s::int, %s::int) n"
)
OTHERS = "select from pg_stat_activity where datname = current_database() and backend_xid is not null"


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url)


def sql(program: Program, statement: str, *values: object) -> None:
    assert program.database_url is not None
    with psycopg.connect(program.database_url, autocommit=True) as connection:
        connection.execute(statement.encode(), values)
        while connection.execute(OTHERS).fetchone():  # a duty, a vacuum: until it ends, the feed may wait
            time.sleep(0.01)


def positions(lines: list[str]) -> list[int]:
    return [json.loads(line)["position"] for line in lines if line.startswith("{")]


def test_changes_are_printed_for_people_and_for_programs(program: Program) -> None:
    sql(program, "insert into item (name, status, metadata) values ('a[1]', 'good', '{\"n\": 1}'), ('b', 'bad', '{}')")
    said = program("changes").out
    assert "a[1]  good" in said
    assert "b  bad" in said
    assert [line["item"] for line in program("changes", "--status", "bad", "--json").lines] == ["b"]
    (line,) = program("changes", "--field", "n=1", "--include-docs", "--json").lines
    assert line["doc"]["metadata"] == {"n": 1}
    assert program("changes", "--since", "nowhere", code=3)


def test_a_cursor_goes_on_where_it_was_printed_to(program: Program) -> None:
    sql(program, INSERT, 0, 4)
    assert positions(program("changes", "--cursor", "mine", "--json").out.splitlines()) == [0, 1, 2, 3, 4]
    sql(program, INSERT, 5, 6)
    (cursor,) = program("cursors", "--json").json
    assert (cursor["name"], cursor["pending"]) == ("mine", 2)
    assert positions(program("changes", "--cursor", "mine", "--json").out.splitlines()) == [5, 6]
    assert program("cursors", "--forget", "mine", "--json").json == []


def test_following_goes_on_when_the_database_has_been_away(program: Program) -> None:
    """Its connections are cut, and for a while none can be made; what was written meanwhile comes afterwards."""
    assert program.database_url is not None
    name = program.database_url.rsplit("/", 1)[1]
    admin = program.database_url.rsplit("/", 1)[0] + "/postgres"
    sql(program, INSERT, 0, 0)
    with program.start("changes", "--follow", "--since", "0", "--json") as following:
        following.until('"position":0')
        with (
            psycopg.connect(program.database_url, autocommit=True) as writer,
            psycopg.connect(admin, autocommit=True) as connection,
        ):
            connection.execute(f"alter database {name} allow_connections false".encode())
            cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> %s"
            connection.execute(cut, [name, writer.info.backend_pid])
            following.until("Waiting for it")
            writer.execute(INSERT.encode(), [1, 3])
            connection.execute(f"alter database {name} allow_connections true".encode())
        following.until('"position":3')
        sql(program, INSERT, 4, 4)
        following.until('"position":4')
        following.signal(signal.SIGINT)
        assert following.end() == 130
        assert positions(following.said.splitlines()) == [0, 1, 2, 3, 4]


def test_following_a_site_over_http(program: Program, tmp_path: Path) -> None:
    with program.start("up", "--no-worker", "--port", "0") as site:
        found = site.until(r"(http://127.0.0.1:\d+)/\?key=(\S+)")
        token = tmp_path / "token"
        token.write_text(found[2])
        away = Program(tmp_path / "elsewhere", None, {})
        sql(program, INSERT, 0, 2)
        words = ("--url", found[1], "--token-file", token, "--json")
        assert positions(away("changes", *words, "--cursor", "c").out.splitlines()) == [0, 1, 2]
        with away.start("changes", "--follow", *words, "--cursor", "c") as following:
            sql(program, INSERT, 3, 4)
            following.until('"position":4')
            following.signal(signal.SIGTERM)
            assert following.end() == 130
            assert positions(following.said.splitlines()) == [3, 4]
        token.write_text("wrong")
        with away.start("changes", "--follow", "--url", found[1], "--token-file", token) as refused:
            assert refused.end() not in (0, 70, 130)
        site.signal(signal.SIGTERM)
        assert site.end() == 0
    assert not (tmp_path / "elsewhere").exists(), "no site of its own is made"


def test_what_stands_where(program: Program) -> None:
    sql(program, "insert into item (name, status) values ('a', 'good'), ('b', 'bad')")
    sql(program, "insert into past_step (item_id, position, name) select id, 0, 'move' from item where name = 'a'")
    counts = program("view", "last-step", "--json").json
    assert counts == {"rows": [{"key": None, "value": 1}, {"key": "move", "value": 1}], "estimate": False}
    assert "nothing done" in program("view", "last-step").out
    assert [row["id"] for row in program("view", "last-step", "move", "--json").json["rows"]] == ["a"]
    assert "b" in program("view", "last-step", "none", "--status", "bad").out
