"""The pages on Python steps: the file that the how-to shows runs, and the reference names what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from tidemill.sdk.item import Item
from tidemill.sdk.loading import load_steps
from tidemill.sdk.step import DeclaredStep
from tidemill.sdk.task import Task

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "sdk.md").read_text(encoding="utf-8")


def test_the_how_tos_file_can_be_loaded(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "how-to" / "python-steps.md").read_text("utf-8"), re.DOTALL)
    path = tmp_path / "mysteps_of_the_docs.py"
    path.write_text(code)
    steps = load_steps([path])
    assert {name: step.run_in for name, step in steps.items()} == {"convert": "thread", "pulses": "process"}


def test_every_option_and_name_has_its_place() -> None:
    options = set(inspect.signature(DeclaredStep).parameters) - {"function"}
    cells = " ".join(re.findall(r"^\| ([^|]*) \|", REFERENCE, re.MULTILINE))
    assert options <= set(re.findall(r"`(\w+)`", cells))
    item = Item("x", {}, None)  # type: ignore[arg-type]
    names = {name for name in dir(item) if not name.startswith("_")}
    assert names == set(re.findall(r"`item\.(\w+)", cells))
    task = {name for name in dir(Task("1-1", {}, Path(), {}, None)) if not name.startswith("_")}  # type: ignore[arg-type]
    assert task - {"files", "record", "inputs", "stop"} == set(re.findall(r"`task\.(\w+)", cells))
