"""Steps that `@step` has declared, in each place where they can run, for the contract of all engines."""

from __future__ import annotations

from pathlib import Path

from tests.contract.local_engines import Made

from tidemill.executors.contract import AppCall
from tidemill.executors.python import PythonExecutor
from tidemill.executors.workbench import Workbench
from tidemill.sdk.loading import load_steps
from tidemill.storage.files import FileStore

STEPS = """
from pathlib import Path
from tidemill import step

HOW = Path({how!r})

def act(item, task):
    how = HOW.read_text()
    if how == "fail":
        raise ValueError("no bars in it")
    if how == "slow":
        for fraction in (0.25, 0.5, 0.75):
            task.progress(fraction)
    return {{**item.document, "steps": ["step"]}}

@step(name="in_thread")
def one(item, task):
    return act(item, task)

@step(name="in_loop")
async def two(item, task):
    return act(item, task)

@step(name="in_process", run_in="process")
def three(item, task):
    return act(item, task)
"""


def make(kind: str, folder: Path) -> Made:
    """`kind` is `in_thread`, `in_loop` or `in_process`."""
    how, file = folder / "how", folder / "contract_steps.py"
    file.write_text(STEPS.format(how=str(how)))
    how.write_text("ok")
    bench = Workbench(folder / "work", FileStore((folder / "files").as_uri()))
    app = AppCall(kind, "python", f"python:{kind}", "json")
    executor = PythonExecutor(load_steps([file]), bench)
    return executor, app, lambda word: _told(how, word), lambda number: b'{"item": %d}' % number


def _told(how: Path, word: str) -> None:
    how.write_text(word)
