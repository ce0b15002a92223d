"""A real worker with the engines for commands and transfers, in a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import tidemill


class LocalWorker:
    """Starts at once. `folder`: where its documents, files and attempts' folders are."""

    def __init__(self, url: str, folder: Path) -> None:
        root = Path(__file__).parents[2]
        paths = os.pathsep.join([str(root), str(Path(tidemill.__file__).parents[1])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.local_worker", url, str(folder)],
            cwd=root, env=os.environ | {"PYTHONPATH": paths}, stderr=(folder / "worker.log").open("ab"),
        )  # fmt: skip

    def kill(self) -> None:
        """As `kill -9` does it."""
        self.process.kill()
        self.process.wait()


async def _work(url: str, folder: Path) -> None:
    from tidemill.db.database import Database
    from tidemill.executors.own_folder import own_folder
    from tidemill.executors.registry import make_executors
    from tidemill.executors.workbench import Workbench
    from tidemill.runner.link import DatabaseLink
    from tidemill.runner.worker import Pace, Worker
    from tidemill.storage.documents import DocumentStore
    from tidemill.storage.files import FileStore

    async def address() -> str:
        return url

    bench = Workbench(own_folder(folder / "work"), FileStore((folder / "files").as_uri()))
    documents = DocumentStore((folder / "documents").as_uri(), 4096)
    pace = Pace(slots=8, lease=1.0, poll=0.1)
    await Worker(DatabaseLink(Database(address)), make_executors(bench=bench), documents, pace=pace).run()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], Path(sys.argv[2])))
