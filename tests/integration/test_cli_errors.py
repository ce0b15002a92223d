"""Whatever goes wrong, a person gets one clear message and a script gets an exit code; nobody gets a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from tests.program import TIDEMILL, Program


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url)


def test_messages_and_exit_codes_by_kind(tidemill: Program) -> None:
    assert "No such command" in tidemill("rum", code=2).err
    assert "no such option" in tidemill("runs", "--jsn", code=2).err.lower()
    assert tidemill("watch", 7, code=4).err == "error: There is no run 7.\nhint: `tidemill runs` lists them.\n"
    assert "There is no batch named 'x'" in tidemill("run", "x", code=4).err
    assert "no state 'dun'" in tidemill("runs", "--state", "dun", code=3).err
    assert tidemill("--version").out == "tidemill 0.1.0\n"
    assert "Usage" in tidemill(code=2).out + tidemill(code=2).err


def test_a_wrong_setting_is_named(tidemill: Program) -> None:
    tidemill.settings["TIDEMILL_SLOTS"] = "many"
    assert "TIDEMILL_SLOTS" in tidemill("runs", code=3).err
    tidemill.settings = {"TIDEMILL_APP_ADDRESSES": "localhost"}
    assert "app_addresses" in tidemill("runs", code=3).err


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        tidemill = Program(tmp_path / "site", f"postgresql://app:geheim@127.0.0.1:{taken.getsockname()[1]}/none")
        told = tidemill("runs", code=6).err
    assert "The database cannot be reached" in told
    assert "geheim" not in told


def test_a_fault_of_ours_is_kept_in_a_file(tidemill: Program) -> None:
    """A schema that is not what the program expects stands for a bug of ours."""
    tidemill.site.mkdir()
    tidemill("db", "shell", "-c", "alter table run rename column priority to importance")
    told = tidemill("runs", code=70).err
    (kept,) = (tidemill.site / "logs").iterdir()
    assert str(kept) in told
    assert len(told.splitlines()) == 2
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_reader_that_goes_away_is_no_fault(tidemill: Program) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [TIDEMILL, "items"], stdout=writing, stderr=subprocess.PIPE, env=tidemill.environment, check=False, text=True
    )
    os.close(writing)
    assert done.stderr in ("", "No item is found.\n")
    done = subprocess.run(
        f"{TIDEMILL} items --json | true; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
        stderr=subprocess.PIPE, env=tidemill.environment, check=False, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_help_needs_neither_site_nor_services() -> None:
    script = "import sys, tidemill.cli.application as a; a.with_commands(); print(*sys.modules)"
    loaded = subprocess.run([TIDEMILL.with_name("python"), "-c", script], capture_output=True, text=True, check=True)
    assert not {"sqlalchemy", "psycopg", "pydantic", "fastapi", "httpx2", "obstore"} & set(loaded.stdout.split())
