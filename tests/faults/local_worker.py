"""A real worker with the engines for commands and transfers, in a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import tidemill


class LocalWorker:
    """Starts at once. `folder`: where its documents, files and attempts' folders are; `steps`: a file of its steps."""

    def __init__(self, url: str, folder: Path, steps: Path | None = None) -> None:
        root = Path(__file__).parents[2]
        paths = os.pathsep.join([str(root), str(Path(tidemill.__file__).parents[1])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.local_worker", url, str(folder), *map(str, [steps] if steps else [])],
            cwd=root, env=os.environ | {"PYTHONPATH": paths}, stderr=(folder / "worker.log").open("ab"),
        )  # fmt: skip

    def kill(self) -> None:
        """As `kill -9` does it."""
        self.process.kill()
        self.process.wait()


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
    pace = Pace(slots=8, lease=1.0, poll=0.1)
    steps = load_steps(files)
    functions = tuple(f"python:{name}" for name in steps)
    engines = make_executors(functions=steps, bench=bench)
    link = DatabaseLink(Database(address))
    await Worker(link, engines, documents, pace=pace, functions=functions, bench=bench).run()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], Path(sys.argv[2]), [Path(one) for one in sys.argv[3:]]))
