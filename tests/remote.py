"""Workers behind a firewall for tests: with a real site under uvicorn, over real HTTP, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tidemill.accounts import tokens
from tidemill.db.database import Database
from tidemill.domain.roles import Role
from tidemill.executors.contract import Executor
from tidemill.executors.registry import make_executors
from tidemill.executors.workbench import Workbench
from tidemill.runner.remote import RemoteLink
from tidemill.runner.remote_client import SiteClient
from tidemill.runner.remote_files import RemoteDocuments, RemoteFiles
from tidemill.runner.spool import Spool
from tidemill.runner.worker import Pace, Worker

Functions = Mapping[str, Callable[..., Any]]


async def worker_token(database: Database, name: str = "lab", apps: tuple[str, ...] = ()) -> str:
    async with database.begin() as session:
        secret, _ = await tokens.create(session, name, Role.WORKER, apps=apps)
    return secret


def far_worker(
    url: str,
    token: str,
    spool: Path,
    functions: Functions,
    executors: Mapping[str, Executor] | None = None,
    limit: int | None = None,
    ca: Path | None = None,
    **pace: Any,
) -> Worker:
    """A worker that has nothing but the URL, the token and a folder."""
    kept = Spool(spool, limit)
    kept.open()
    link = RemoteLink(SiteClient(url, token, ca=ca), kept)
    bench = Workbench(kept.work, RemoteFiles(link))
    settings = {"slots": 16, "lease": 30.0, "poll": 0.1} | pace
    return Worker(
        link,
        {**make_executors(functions=dict(functions), bench=bench), **(executors or {})},
        RemoteDocuments(link),
        pace=Pace(**settings),
        functions=tuple(f"python:{name}" for name in functions),
        bench=bench,
    )


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[Worker]:
    """At work; stopped in order at the end."""
    job = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(job, 60)
