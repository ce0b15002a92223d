"""`tidemill db`, against a given database and against the embedded one."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from tests.apps import ScriptedApp
from tests.program import Program, site_file


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url)


def test_shell_runs_psql_on_the_sites_database(tidemill: Program, database_url: str) -> None:
    name = database_url.rpartition("/")[2]
    assert tidemill("db", "shell", "-At", "-c", "select current_database()").out == f"{name}\n"
    assert tidemill("db", "shell", text="select 6 * 7;\n").out.split()[2] == "42"
    assert tidemill("db", "shell", "-c", "select nothing", code=1).err


def test_the_password_is_shown_only_when_asked_for(tmp_path: Path) -> None:
    tidemill = Program(tmp_path / "site", None)
    (line,) = tidemill("db", "url").out.splitlines()
    (whole,) = tidemill("db", "url", "--password").out.splitlines()
    password = (tidemill.site / "database" / "password").read_text().strip()
    assert password in whole
    assert password not in line
    assert tidemill("db", "migrate").out.startswith("0001\n")
    assert "up to date" in tidemill("db", "migrate").err
    assert "All is well" in tidemill("db", "check").err
    shown = tidemill("db", "shell", "-At", "-c", "select current_user").out
    assert shown == "app\n"


def test_check_finds_a_schema_that_differs(tidemill: Program, database_url: str) -> None:
    assert "All is well" in tidemill("db", "check").err
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table item add column surprise text")
    found = tidemill("db", "check", "--json", code=1).json["problems"]
    assert "surprise" in found[0]


def test_check_finds_records_and_documents_that_were_tampered_with(tidemill: Program, tmp_path: Path) -> None:
    tidemill.settings["TIDEMILL_INLINE_LIMIT"] = "200"
    with ScriptedApp("ok:size=5000") as app:
        tidemill("apply", site_file(tmp_path, app, recordings=1), "--yes")
        tidemill("sync")
        tidemill("batch", "make", "all", "--from-project", "evening")
        tidemill("run", "all")
    assert "All is well" in tidemill("db", "check", "--documents").err
    sha256 = tidemill("item", "rec-0", "--json").json["process"][0]["output"]
    (stored,) = (tidemill.site / "documents").rglob(sha256)
    stored.write_bytes(stored.read_bytes().replace(b"xxx", b"xyx", 1))
    assert "All is well" in tidemill("db", "check").err
    assert "does not match its checksum" in tidemill("db", "check", "--documents", code=1).out
    assert "does not match its checksum" in tidemill("document", sha256, code=10).err
    tidemill("db", "shell", "-c", "update task set step = 0, state = 'done'; delete from attempt where step = 1")
    assert "task 1" in tidemill("db", "check", code=1).out
