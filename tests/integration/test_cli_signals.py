"""Signals, sent for real: the first lets work in hand finish, the second gives it back, and nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.apps import ScriptedApp
from tests.program import PATIENCE, Program, site_file


@pytest.fixture
def app() -> Iterator[ScriptedApp]:
    with ScriptedApp("ok") as app:
        yield app


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str, app: ScriptedApp) -> Program:
    """A site with two recordings that go once through the app; the run waits for a worker."""
    tidemill = Program(tmp_path / "site", database_url, {"TIDEMILL_POLL": "0.2", "TIDEMILL_PORT": "0"})
    tidemill("apply", site_file(tmp_path, app, recordings=2, steps=1), "--yes")
    tidemill("sync")
    tidemill("batch", "make", "all", "--from-project", "evening")
    return tidemill


def until(true: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends, f"never: {what}"
        time.sleep(0.02)


def states(url: str | None) -> list[str]:
    assert url
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("select state from task order by position")]


def outcomes(url: str | None) -> list[str]:
    assert url
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("select outcome from attempt order by task_id, fence")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_work_in_hand_finish(tidemill: Program, app: ScriptedApp, number: signal.Signals) -> None:
    app.script("held")
    tidemill("run", "all", "--no-watch")
    with tidemill.start("worker", "--slots", 1) as worker:
        until(lambda: app.open, "the app is called")
        worker.signal(number)
        worker.until("letting 1 task in hand finish")
        app.let_go()
        assert worker.end() == 0
        assert "Stopped after 1 step" in worker.said
    assert sorted(states(tidemill.database_url)) == ["done", "waiting"]


def test_the_second_signal_gives_work_back(tidemill: Program, app: ScriptedApp) -> None:
    app.script("hang")
    tidemill("run", "all", "--no-watch")
    with tidemill.start("worker") as worker:
        until(lambda: app.open == 2, "the app is called twice")
        worker.signal()
        worker.until("letting 2 tasks in hand finish")
        worker.signal()
        assert worker.end() == 130
        assert "2 tasks given back" in worker.said
    assert states(tidemill.database_url) == ["waiting", "waiting"]
    assert outcomes(tidemill.database_url) == ["released", "released"]


def test_ctrl_c_at_a_watcher_leaves_the_run_alone(tidemill: Program, app: ScriptedApp) -> None:
    app.script("held")
    with tidemill.start("worker") as worker:
        worker.until("Working")
        with tidemill.start("run", "all") as watching:
            until(lambda: app.open, "the app is called")
            watching.signal()
            assert watching.end() == 130
            assert "Run 1 goes on" in watching.said
            assert "No worker" not in watching.said
        app.let_go()
        assert "2 done" in tidemill("watch", 1).out


def test_ctrl_c_as_soon_as_a_run_is_there_says_that_it_goes_on(tidemill: Program) -> None:
    assert tidemill.database_url
    with psycopg.connect(tidemill.database_url) as blocker:
        blocker.execute("lock table worker in access exclusive mode")
        with tidemill.start("run", "all") as starting:
            until(lambda: waits_for_workers(tidemill.database_url), "the run is there, and it looks for workers")
            starting.signal()
            blocker.rollback()
            assert starting.end() == 130
            assert "Run 1 goes on as long as a worker is there: 2 waiting" in starting.said
    assert states(tidemill.database_url) == ["waiting", "waiting"]


def test_ctrl_c_at_a_run_that_works_itself_finishes_what_it_has_in_hand(tidemill: Program, app: ScriptedApp) -> None:
    tidemill.settings["TIDEMILL_SLOTS"] = "1"
    app.script("held")
    with tidemill.start("run", "all") as running:
        until(lambda: app.open, "the app is called")
        running.signal()
        running.until("letting 1 task in hand finish")
        app.let_go()
        assert running.end() == 130
        assert "Run 1 goes on as long as a worker is there: 1 waiting, 1 done" in running.said
    assert sorted(states(tidemill.database_url)) == ["done", "waiting"]


def test_up_serves_pages_works_and_stops_in_order(tidemill: Program, app: ScriptedApp) -> None:
    app.script("held")
    tidemill("run", "all", "--no-watch")
    with tidemill.start("up") as up:
        address = up.until(r"http://127\.0\.0\.1:\d+/\?key=\S+")[0]
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with browser.open(address) as page:
            assert b"<html" in page.read()
        until(lambda: app.open == 2, "the app is called")
        up.signal(signal.SIGTERM)
        up.until("letting 2 tasks in hand finish")
        app.let_go()
        assert up.end() == 0
    assert states(tidemill.database_url) == ["done", "done"]


def test_the_second_signal_to_up_gives_work_back(tidemill: Program, app: ScriptedApp) -> None:
    app.script("hang")
    tidemill("run", "all", "--no-watch")
    with tidemill.start("up") as up:
        until(lambda: app.open == 2, "the app is called")
        up.signal()
        up.until("letting 2 tasks in hand finish")
        up.signal()
        assert up.end() == 130
    assert states(tidemill.database_url) == ["waiting", "waiting"]


def test_a_worker_dies_with_up_and_is_started_again_when_it_dies_alone(tidemill: Program, app: ScriptedApp) -> None:
    app.script("hang")
    tidemill("run", "all", "--no-watch")
    with tidemill.start("up") as up:
        until(lambda: app.open == 2, "the app is called")
        first = worker_pid(tidemill.database_url)
        os.kill(first, signal.SIGKILL)
        up.until("The worker ended .killed by SIGKILL.; starting it again")
        until(lambda: worker_pid(tidemill.database_url) != first, "another worker is there")
        second = worker_pid(tidemill.database_url)
        up.process.kill()
        until(lambda: not re.search("tidemill", command_of(second)), "the worker has left")


def waits_for_workers(url: str | None) -> bool:
    assert url
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
        run = connection.execute("select from run").fetchone()
    return found is not None and run is not None


def worker_pid(url: str | None) -> int:
    assert url
    with psycopg.connect(url) as connection:
        row = connection.execute("select pid from worker order by id desc limit 1").fetchone()
    assert row
    return int(row[0])


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
