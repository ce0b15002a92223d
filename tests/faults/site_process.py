"""A process that keeps house and works, as `tidemill worker` does, for tests that kill it or give it a wrong clock.

process = SiteProcess(url, documents, log, chunk=10, shift=600)
process.kill()
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class SiteProcess:
    """Starts at once. `chunk`: items that enter in one transaction; `shift`: seconds by which its clocks are ahead."""

    def __init__(
        self, url: str, documents: Path, log: Path, *, lease: float = 2.0, chunk: int = 2000, shift: float = 0
    ) -> None:
        import tidemill

        root = Path(__file__).parents[2]
        paths = [str(root), str(Path(tidemill.__file__).parents[1])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.site_process", url, str(documents), str(log), str(lease), str(chunk),
             f"--shift={shift}"],
            cwd=root, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def kill(self) -> None:
        """As `kill -9` does it."""
        self.process.kill()
        self.process.wait()


def shift_clocks(seconds: float) -> None:
    """Put every clock that tells the time of day to Python code ahead (or back), before anything else is imported."""
    true_time, true_clock = time.time, time.clock_gettime
    true_datetime = datetime.datetime

    class Shifted(true_datetime):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return true_datetime.now(tz) + datetime.timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return true_datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=seconds)

    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: int((true_time() + seconds) * 1e9)
    time.clock_gettime = lambda which: true_clock(which) + (seconds if which == time.CLOCK_REALTIME else 0)
    datetime.datetime = Shifted  # type: ignore[misc]


async def _run(url: str, documents: str, log: str, lease: str, chunk: str) -> None:
    from tests.faults.worker_process import steps

    from tidemill.db.database import Database
    from tidemill.executors.registry import make_executors
    from tidemill.runner import watch
    from tidemill.runner.housekeeping import DUTIES, Housekeeping
    from tidemill.runner.link import DatabaseLink
    from tidemill.runner.schedules import Doer
    from tidemill.runner.worker import Pace, Worker
    from tidemill.storage.documents import DocumentStore

    async def address() -> str:
        return url

    async def sync(*_: object) -> str:
        return "read"

    watch.CHUNK = int(chunk)
    database, store = Database(address), DocumentStore(Path(documents).as_uri(), 4096)
    functions = steps(Path(log), 0)
    worker = Worker(
        DatabaseLink(database),
        make_executors(functions=functions),
        store,
        pace=Pace(slots=16, lease=float(lease), poll=0.1),
        functions=tuple(f"python:{name}" for name in functions),
    )
    duties = (*DUTIES, *watch.duties(store), *Doer(store, sync).duties())
    house = asyncio.create_task(Housekeeping(database, duties).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    house.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for word in ("url", "documents", "log", "lease", "chunk"):
        parser.add_argument(word)
    parser.add_argument("--shift", type=float, default=0)
    given = vars(parser.parse_args())
    if shift := given.pop("shift"):
        shift_clocks(shift)
        with Path(given["log"]).with_name("clocks").open("a") as clocks:
            clocks.write(f"{time.time()} {datetime.datetime.now(datetime.UTC).timestamp()}\n")
    asyncio.run(_run(**given))
