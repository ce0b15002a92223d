"""`tidemill worker --steps`, `log` and `try` as a physicist runs them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.program import Program

STEPS = """
import sys
from tidemill import step, Bad

@step(tries=1)
def convert(item, task):
    print("converting", item.name)
    if item.name == "broken":
        raise ValueError("no light in the tunnel")
    task.output(item.name + ".root").write_bytes(item.files[0].path().read_bytes() * 2)
    task.set(converted=True)
    return {"size": item.files[0].size, "threshold": task.parameters.get("threshold")}

@step(run_in="process")
def pulses(item, task):
    print("pulses of", item.name)
    return {"before": item.output("convert")["size"], "bytes": item.file(item.name + ".root").size}
"""
SITE = """
[[sources]]
name = "lab"
url = "data"
[[sources.layout]]
pattern = "{item}.dat"
project = "ma22"

[[apps]]
name = "convert"
kind = "python"
url = "python:convert"
tries = 1

[[apps]]
name = "pulses"
kind = "python"
url = "python:pulses"

[[pipelines]]
name = "ppp"
steps = [{ app = "convert", parameters = { threshold = 3 } }, { app = "pulses" }]
"""


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    (tmp_path / "data").mkdir()
    for name in ("a", "broken"):
        (tmp_path / "data" / f"{name}.dat").write_text("raw of " + name)
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "mysteps.py").write_text(STEPS)
    return Program(tmp_path / "site", database_url, {"TIDEMILL_POLL": "0.2", "TIDEMILL_PORT": "0"})


def test_a_physicist_needs_a_file_and_a_worker(tidemill: Program, tmp_path: Path) -> None:
    steps = tmp_path / "mysteps.py"
    with tidemill.start("worker", "--steps", steps) as worker:
        worker.until(r"Step convert, version sha256:\w{12}: no pipeline uses convert yet: add it in the site file")
        tidemill("apply", tmp_path / "site.toml", "--yes")
        tidemill("sync")
        tidemill("batch", "make", "all", "--from-project", "ma22")
        ended = tidemill("run", "all", "--no-work", "--watch", code=1)
        assert "no light in the tunnel" in ended.out + ended.err
        worker.signal(signal.SIGTERM)
        assert worker.end() == 0
    assert "Traceback" not in worker.said

    # A site file that says nothing of the version leaves it to the workers.
    assert "nothing to change" in tidemill("apply", tmp_path / "site.toml", "--yes").out
    view = tidemill("item", "a", "--json").json
    process = view["process"]
    assert [step["name"] for step in process] == ["convert", "pulses"]
    assert process[0]["version"].startswith("sha256:")
    assert process[0]["files"][0]["name"] == "a.root"
    assert view["item"]["metadata"] == {"converted": True}

    assert tidemill("log", "a").out == "pulses of a\n"
    broken = tidemill("log", "broken").out
    assert broken.startswith("converting broken\n")
    assert 'line 9, in convert\n    raise ValueError("no light in the tunnel")' in broken
    attempt = view["attempts"][0]
    assert tidemill("log", f"{attempt['task_id']}-{attempt['fence']}", "--follow").out == "converting a\n"

    steps.write_text(STEPS + "\n# changed\n")
    with tidemill.start("worker", "--steps", steps) as worker:
        worker.until(r"Step convert, version sha256:\w{12}, until now sha256:\w{12}: used by ppp")
        worker.signal()
        assert worker.end() == 0


def test_a_step_is_tried_without_a_trace(tidemill: Program, tmp_path: Path) -> None:
    tidemill("apply", tmp_path / "site.toml", "--yes")
    tidemill("sync")
    steps = tmp_path / "mysteps.py"
    out = tmp_path / "out"
    ended = tidemill("try", f"{steps}:convert", "a", "-p", "threshold=5", "--keep", out)
    assert json.loads(ended.out) == {"size": 8, "threshold": 5}
    assert "converting a" in ended.err
    assert "Nothing was recorded" in ended.err
    assert (out / "a.root").read_text() == "raw of araw of a"
    failed = tidemill("try", f"{steps}:convert", "broken", "--json", code=1).json
    assert (failed["outcome"], failed["reason"]) == ("failed", "ValueError: no light in the tunnel")
    assert "no step 'convert'" in tidemill("try", f"{steps}:pulses", "a", "--json", code=1).json["reason"]
    assert "several steps" in tidemill("try", steps, "a", code=3).err
    view = tidemill("item", "a", "--json").json
    assert (view["process"], view["attempts"], view["item"]["metadata"]) == ([], [], {})


def test_a_file_is_checked_before_anything_starts(tidemill: Program, tmp_path: Path) -> None:
    listed = tidemill("worker", "--steps", tmp_path / "mysteps.py", "--check").out
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["convert", "pulses"]
    broken = tmp_path / "broken.py"
    broken.write_text("import numpyy\n")
    for words in (["--check"], []):
        ended = tidemill("worker", "--steps", broken, *words, code=3)
        assert ended.err.splitlines() == [
            "error: broken.py could not be loaded:",
            f'  File "{broken}", line 1, in <module>',
            "    import numpyy",
            "ModuleNotFoundError: No module named 'numpyy'",
        ]
