"""A real worker in a process of its own, for tests that kill or freeze it.

    worker = WorkerProcess(url, documents, log, lease=1.0)
    worker.kill(); worker.freeze(); worker.thaw(); worker.stop()

Its Python steps append `item<TAB>step<TAB>pid` to the log when they begin, so that a test can count what was done.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tidemill

Json = dict[str, Any]


class WorkerProcess:
    """Starts at once; working when its first step is in the log."""

    def __init__(
        self,
        url: str,
        documents: Path,
        log: Path,
        *,
        lease: float = 1.0,
        slots: int = 8,
        seconds: float = 0.02,
        go: Path | None = None,
    ) -> None:
        root = Path(__file__).parents[2]
        paths = [str(root), str(Path(tidemill.__file__).parents[1])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.worker_process", url, str(documents), str(log), str(lease), str(slots),
             str(seconds), str(go or "")],
            cwd=root, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """As `kill -9` does it."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop it where it stands, and return once it does."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> int:
        """Ask it to finish what it has in hand; its exit status."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 30)


def steps(log: Path, seconds: float, go: Path | None = None) -> dict[str, Callable[..., Any]]:
    """`f`: a step that takes up to twice `seconds`, and goes on when the file `go` is there. `big`: the same with an
    output that goes to the document store."""

    async def work(document: Json, parameters: Json) -> Json:
        with log.open("a") as lines:
            lines.write(f"{document['item']}\t{parameters['name']}\t{os.getpid()}\n")
        await asyncio.sleep(random.uniform(0, 2 * seconds))
        while go is not None and not go.exists():
            await asyncio.sleep(0.01)
        return {**document, "path": [*document.get("path", []), parameters["name"]], "by": os.getpid()}

    async def big(document: Json, parameters: Json) -> Json:
        return {**await work(document, parameters), "padding": "x" * 5000}

    return {"f": work, "big": big}


async def _work(url: str, documents: str, log: str, lease: str, slots: str, seconds: str, go: str) -> None:
    from tidemill.db.database import Database
    from tidemill.executors.registry import make_executors
    from tidemill.runner.link import DatabaseLink
    from tidemill.runner.worker import Pace, Worker
    from tidemill.storage.documents import DocumentStore

    async def address() -> str:
        return url

    functions = steps(Path(log), float(seconds), Path(go) if go else None)
    worker = Worker(
        DatabaseLink(Database(address)),
        make_executors(functions=functions),
        DocumentStore(Path(documents).as_uri(), 4096),
        pace=Pace(slots=int(slots), lease=float(lease), poll=0.1),
        functions=tuple(f"python:{name}" for name in functions),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for word in ("url", "documents", "log", "lease", "slots", "seconds", "go"):
        parser.add_argument(word)
    asyncio.run(_work(**vars(parser.parse_args())))
