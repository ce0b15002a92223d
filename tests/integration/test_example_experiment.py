"""The experiment's example: data files arrive and are really processed, in the example's own environment."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from tests.program import Program

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "experiment"
WITHOUT_CONDITIONS, BAD, CUT_SHORT, DAMAGED = (f"ma22a000_{number:03d}" for number in (1, 3, 4, 6))
WHOLE = [f"ma22a000_{number:03d}" for number in (0, 2, 5, 7)]
STEPS = ["move_to_sps", "signal_processing", "report"]


@pytest.fixture(scope="session")
def environment() -> Path:
    """The example's own environment, which is made if need be."""
    command = [sys.executable, str(EXAMPLE / "setup_env.py")]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=900)
    return EXAMPLE / ".venv"


@pytest.fixture
def example(environment: Path, tmp_path: Path) -> Path:
    """The example in a folder of its own."""
    folder = tmp_path / "experiment"
    folder.mkdir()
    for file in EXAMPLE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    (folder / ".venv").symlink_to(environment)
    return folder


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not within {seconds} s"
        time.sleep(0.1)


def test_the_demo_shows_each_data_file_and_ends_well(program: Program, example: Path) -> None:
    words = ("demo", "experiment", "--examples", example, "--every", "0.2", "--stay")
    with program.start(*words) as demo:
        demo.until("Ctrl-C ends the demo")
        for name in WHOLE:
            assert all(f"{name}  {step:18} ● done" in demo.said for step in STEPS), demo.said
            assert (example / "data" / "sps" / f"{name}.root").read_bytes() == (
                example / "data" / "underground" / f"{name}.root"
            ).read_bytes()
        assert "Not as it should be" not in demo.said
        assert f"{WITHOUT_CONDITIONS}                     does not enter: no `conditions`" in demo.said
        assert f"{BAD}                     does not enter: status is bad (the cryostat was warm)" in demo.said
        assert not (example / "data" / "sps" / f"{DAMAGED}.root").exists()
        _what_is_on_record(program)
        program("items", "set", WITHOUT_CONDITIONS, 'conditions:={"temperature": 0.0205}')
        until(lambda: _states(program, WITHOUT_CONDITIONS) == ["done"])
        demo.signal(signal.SIGINT)
        assert demo.end() == 0
    assert _workers_left(program) == 0


def _what_is_on_record(program: Program) -> None:
    whole = program("item", WHOLE[0], "--json").json
    assert [step["name"] for step in whole["process"]] == STEPS
    assert all(set(gain) == {"chalA", "chalB"} for gain in [whole["item"]["metadata"]["adu_per_kev"]])
    assert abs(whole["item"]["metadata"]["adu_per_kev"]["chalA"] - 22.0) < 0.5
    (search,) = [one for one in whole["attempts"] if one["step_name"] == "signal_processing"]
    assert [file["name"] for file in search["files"]] == [f"{WHOLE[0]}.amp.root"]
    assert [entry["name"] for entry in search["inputs"]] == ["template"]
    cut = program("item", CUT_SHORT, "--json").json
    assert cut["item"]["status"] == "bad"
    assert "damaged, or was not written to its end" in cut["item"]["status_reason"]
    assert _states(program, CUT_SHORT) == _states(program, DAMAGED) == ["failed"]
    assert "MD5" in program("item", DAMAGED, "--json").json["tasks"][0]["reason"]


def _states(program: Program, name: str) -> list[str]:
    return [task["state"] for task in program("item", name, "--json").json["tasks"]]


def _workers_left(program: Program) -> int:
    with psycopg.connect(str(program.database_url)) as connection:
        row = connection.execute("select count(*) from worker where stopped_at is null").fetchone()
    assert row is not None
    return int(row[0])
