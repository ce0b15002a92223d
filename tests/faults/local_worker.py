"""A real worker with the engines for commands and transfers, in a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tidemill


class LocalWorker:
    """Starts at once. `folder`: where its documents, files and attempts' folders are; `steps`: a file of its steps.

    `chunks`: how many chunks its transfers write to folders before they hang.
    """

    def __init__(self, url: str, folder: Path, steps: Path | None = None, *, chunks: int | None = None) -> None:
        root = Path(__file__).parents[2]
        paths = os.pathsep.join([str(root), str(Path(tidemill.__file__).parents[1])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.local_worker", url, str(folder), *map(str, [steps] if steps else [])],
            cwd=root, env=os.environ | {"PYTHONPATH": paths, "CHUNKS": str(chunks or "")},
            stderr=(folder / "worker.log").open("ab"),
        )  # fmt: skip

    def kill(self) -> None:
        """As `kill -9` does it."""
        self.process.kill()
        self.process.wait()


def _hang_after(chunks: int) -> None:
    from tidemill.executors.places import folder

    write, written = folder._write_all, itertools.count()

    def some(*arguments: Any) -> None:
        if next(written) >= chunks:
            time.sleep(600)
        write(*arguments)

    folder._write_all = some


async def _work(url: str, folder: Path, files: list[Path]) -> None:
    from tidemill.db.database import Database
    from tidemill.executors.own_folder import own_folder
    from tidemill.executors.registry import make_executors
    from tidemill.executors.workbench import Workbench
    from tidemill.runner.link import DatabaseLink
    from tidemill.runner.worker import Pace, Worker
    from tidemill.sdk.loading import load_steps
    from tidemill.storage.documents import DocumentStore
    from tidemill.storage.files import FileStore

    async def address() -> str:
        return url

    bench = Workbench(own_folder(folder / "work"), FileStore((folder / "files").as_uri()))
    documents = DocumentStore((folder / "documents").as_uri(), 4096)
    pace = Pace(slots=8, lease=30.0, poll=0.1)  # what a killed neighbour had in hand is taken over at once
    steps = load_steps(files)
    functions = tuple(f"python:{name}" for name in steps)
    engines = make_executors(functions=steps, bench=bench)
    link = DatabaseLink(Database(address))
    await Worker(link, engines, documents, pace=pace, functions=functions, bench=bench).run()


if __name__ == "__main__":
    if os.environ.get("CHUNKS"):
        _hang_after(int(os.environ["CHUNKS"]))
    asyncio.run(_work(sys.argv[1], Path(sys.argv[2]), [Path(one) for one in sys.argv[3:]]))
