"""What a step has under way when its attempt ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tidemill.executors.contract import AppCall, KeptFile, Work
from tidemill.executors.python import PythonExecutor
from tidemill.executors.workbench import Workbench
from tidemill.sdk.loading import load_steps

STEPS = """
from tidemill import step

@step
async def reads(item, task):
    await item.files[0].fetch()

@step
def reads_in_thread(item, task):
    item.files[0].path()
"""


class Endless:
    """A store whose files never come wholly."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def keep(self, path: Path, name: str) -> KeptFile:
        raise NotImplementedError

    async def fetch(self, url: str, folder: Path, reach: Mapping[str, Any] | None = None) -> Path:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return folder


@pytest.mark.parametrize("step", ["reads", "reads_in_thread"])
async def test_a_download_ends_with_its_attempt(tmp_path: Path, step: str) -> None:
    (tmp_path / "download_steps.py").write_text(STEPS)
    store = Endless()
    executor = PythonExecutor(load_steps([tmp_path / "download_steps.py"]), Workbench(tmp_path / "work", store))
    file = {"url": "s3://daq/run-1.dat", "key": "run-1.dat", "size": 5, "attributes": {}}
    document = {"item": "run-1", "revision": 1, "status": "good", "metadata": {}, "files": [file], "process": []}
    work = Work("1-1", "run-1", AppCall("app", "python", f"python:{step}", "json"), {}, orjson.dumps(document))
    attempt = asyncio.create_task(executor.submit(work, lambda _: None))
    await asyncio.wait_for(store.begun.wait(), 20)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    await asyncio.wait_for(store.ended.wait(), 20)
    await executor.close()
