"""The end of a command, and a standard error that takes nothing any more: neither keeps it from ending as it should."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.apps import ScriptedApp
from tests.faults.proxy import proxied
from tests.program import PATIENCE, TIDEMILL, Program, Started, site_file

from tidemill.cli.worker_process import WorkerProcess

HANGS = """
import asyncio, sys, threading
from tidemill.cli import door
from tidemill.cli.edge import run_program
from tidemill.cli.threads import leave
from tidemill.errors import InvalidInput

async def work():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    print("at work", flush=True)
    try:
        if sys.argv[1] == "fails":
            raise InvalidInput("it is wrong")
        await asyncio.Event().wait()
    finally:
        print("over", flush=True)

try:
    door.run(work())
except InvalidInput:
    code = 3
except KeyboardInterrupt:
    code = 130
sys.exit(leave(code))
"""
"""A command one of whose threads never ends."""

SAYS = """
import structlog
from tidemill.cli import door, output
door.log_all(json=False)
print("begun", flush=True)
structlog.get_logger().error("it is stuck")
output.say("it is stuck")
output.complain("it is stuck", "get help")
print("done")
"""


@contextmanager
def started(*words: str) -> Iterator[Started]:
    pipe = subprocess.PIPE
    with Started(subprocess.Popen([sys.executable, "-c", *words], stdout=pipe, stderr=pipe)) as program:
        yield program


def test_signals_while_threads_are_waited_for_are_no_fault() -> None:
    with started(HANGS, "waits") as program:
        program.until("at work")
        program.signal()
        program.until("over")
        for _ in range(2):  # the next, at which it would end at once, is not reached
            time.sleep(0.05)
            program.signal()
        assert program.end() == 130
        assert "Error" not in program.said


def test_a_command_that_failed_and_whose_thread_hangs_can_be_ended() -> None:
    with started(HANGS, "fails") as program:
        program.until("over")
        program.signal()
        assert program.end() == 3
        assert "Error" not in program.said


@pytest.mark.parametrize("gone", ["full", "no reader"])
def test_a_standard_error_that_takes_nothing_hinders_neither_start_nor_stop(
    tmp_path: Path, database_url: str, gone: str
) -> None:
    environment = Program(tmp_path / "site", database_url).environment
    reading, writing = os.pipe()
    os.close(reading)
    with (
        (Path("/dev/full").open("wb") if gone == "full" else os.fdopen(writing, "wb")) as nowhere,
        Started(
            subprocess.Popen(
                [TIDEMILL, "up", "--port", "0"], stdout=subprocess.PIPE, stderr=nowhere, env=environment,
                start_new_session=True,
            )
        ) as up,
    ):  # fmt: skip
        up.until("Tidemill is up")
        _until(lambda: _workers(database_url), "a worker is there")
        up.signal(signal.SIGTERM)
        assert up.end() == 0


@pytest.mark.parametrize("gone", ["full", "no reader"])
def test_a_log_that_cannot_be_written_breaks_nothing(gone: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("wb") if gone == "full" else os.fdopen(writing, "wb") as nowhere:
        ended = subprocess.run([sys.executable, "-c", SAYS], stdout=subprocess.PIPE, stderr=nowhere, check=False)
    assert ended.stdout == b"begun\ndone\n"


def _workers(url: str) -> int:
    with psycopg.connect(url) as connection:
        return len(connection.execute("select from worker where stopped_at is null").fetchall())


def _until(true: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends, f"never: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("words", [["watch", "1"], ["run", "all", "--work"]])
async def test_ctrl_c_ends_watching_while_the_database_is_away(
    tmp_path: Path, database_url: str, words: list[str]
) -> None:
    tidemill = Program(tmp_path / "site", database_url)
    with ScriptedApp("hang") as app:
        await asyncio.to_thread(_apply, tidemill, site_file(tmp_path, app, recordings=1, steps=1))
        async with proxied(database_url) as proxy:
            with Program(tmp_path / "site", proxy.url).start(*words) as watching:
                await asyncio.to_thread(watching.until, r"run \d: bars")
                if "--work" in words:
                    await asyncio.to_thread(_until, lambda: app.open, "the app is called")
                proxy.cut()
                await asyncio.to_thread(watching.until, "Waiting for it")
                watching.signal()
                if "--work" in words:
                    await asyncio.to_thread(watching.until, "in hand finish")
                    watching.signal()
                assert await asyncio.to_thread(watching.end) == 6
                assert "cannot be reached" in watching.said


def _apply(tidemill: Program, file: Path) -> None:
    """A site with one recording, and a run that waits for a worker."""
    tidemill("apply", file, "--yes")
    tidemill("sync")
    tidemill("batch", "make", "all", "--from-project", "evening")
    tidemill("run", "all", "--no-watch")


async def test_a_worker_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program, begun = tmp_path / "program", tmp_path / "begun"
    monkeypatch.setattr(sys, "executable", str(program))
    process, said = WorkerProcess(tmp_path), ""
    keeping = asyncio.create_task(process.keep())
    async with asyncio.timeout(PATIENCE):
        while "The worker could not be started (No such file or directory)" not in said:
            await asyncio.sleep(0.02)
            said += capfd.readouterr().err
        draft = tmp_path / "draft"
        draft.write_text(f"#!/bin/sh\ntouch {begun}\nexec sleep 600\n")
        draft.chmod(0o755)
        draft.rename(program)
        while not begun.exists():
            await asyncio.sleep(0.02)
        process.stop()
        assert await keeping == 0


def test_ctrl_c_in_the_first_moments_is_no_fault(tmp_path: Path) -> None:
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # whatever this process was started with
    (tmp_path / "typer.py").write_text(f"import os, signal\n{heeded}\nos.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, "-m", "tidemill.cli", "--version"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")
