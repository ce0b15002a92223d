"""What a person sees on a terminal."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.apps import ScriptedApp
from tests.program import Program, site_file


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url, {"TIDEMILL_SLOTS": "1"})


def test_apply_asks_and_takes_no_for_an_answer(tidemill: Program, tmp_path: Path) -> None:
    with ScriptedApp("ok") as app:
        file = site_file(tmp_path, app)
        asked = tidemill.on_terminal("apply", file)
        asked.until(r"Make \d changes\?")
        asked.press("n\n")
        assert asked.end() == 7
        assert tidemill("apps", "--json").json == []
        asked = tidemill.on_terminal("apply", file)
        asked.until(r"Make \d changes\?")
        asked.press("y\n")
        assert asked.end() == 0
        assert len(tidemill("apps", "--json").json) == 1


def test_a_run_is_shown_as_a_table_that_changes_and_stays(tidemill: Program, tmp_path: Path) -> None:
    with ScriptedApp("ok:delay=1") as app:
        tidemill("apply", site_file(tmp_path, app, recordings=2), "--yes")
        tidemill("sync")
        tidemill("batch", "make", "all", "--from-project", "evening")
        shown = tidemill.on_terminal("run", "all")
        shown.until("◐ running")
        shown.until("time left:")
        shown.until("Run 1 is done: 2 done")
        assert shown.end() == 0
        assert "2 bars-2" in shown.screen
        shown = tidemill.on_terminal("run", "all", "--no-reuse")
        shown.until(r"1 bars +1 +1 ")
        shown.press("\x03")
        shown.until("letting 1 task in hand finish")
        shown.until("Join again: tidemill watch 2")
        assert shown.end() == 130


def test_every_ctrl_c_inside_psql_is_its_own_affair(tidemill: Program) -> None:
    shell = tidemill.on_terminal("db", "shell", "-P", "pager=off")
    shell.until("=[#>] ")
    for number in range(5):
        shell.press("\x03")
        for _ in range(4):  # psql may be about to read, and throws away what was typed before it saw the signal
            time.sleep(0.3)
            shell.press(f"\\echo heard {number}\n")
        shell.until(f"(?<!echo )heard {number}")  # the answer, not what was typed
    shell.press("select 6 * 7 as answer;\n")
    shell.until("42")
    shell.press("\\q\n")
    assert shell.end() == 0
