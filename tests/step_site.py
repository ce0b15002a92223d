"""A small site whose steps are written with `@step`, for tests: items with files, a pipeline, runs, real workers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tests.site import Mill
from tidemill.db.database import Database
from tidemill.db.models import File, Item, ItemFile, Source
from tidemill.executors.contract import Executor
from tidemill.executors.python import PythonExecutor
from tidemill.executors.workbench import Workbench
from tidemill.pipelines import batches, pipelines
from tidemill.pipelines.pipelines import StepWish
from tidemill.pipelines.steps import register_steps
from tidemill.runner import runs
from tidemill.runner.link import DatabaseLink
from tidemill.runner.worker import Pace, Worker
from tidemill.sdk.loading import load_steps
from tidemill.sdk.step import DeclaredStep
from tidemill.storage.documents import DocumentStore
from tidemill.storage.files import FileStore

HEAD = "import os, time\nfrom tidemill import step, Retry, Skip, Bad\n"
Declared = Mapping[str, DeclaredStep]


class StepSite(Mill):
    """`folder` holds the steps' files, the file store and the workbench."""

    def __init__(self, database: Database, documents: DocumentStore, folder: Path) -> None:
        super().__init__(database, documents)
        self.folder = folder
        self.files = FileStore((folder / "files").as_uri())
        self.bench = Workbench(folder / "work", self.files)

    async def load(self, text: str, name: str = "mysteps.py") -> dict[str, DeclaredStep]:
        """Write a file of steps, load it as a worker does, and make its steps known."""
        path = self.folder / name
        path.write_text(HEAD + text)
        steps = load_steps([path])
        async with self.database.begin() as session:
            await register_steps(session, steps)
        return steps

    async def item(self, name: str, metadata: Mapping[str, Any] | None = None, files: Sequence[Path] = ()) -> None:
        async with self.database.begin() as session:
            item = Item(name=name, details=dict(metadata or {}))
            source = await session.scalar(select(Source).where(Source.name == "here"))
            if source is None:
                source = Source(name="here", url=self.folder.as_uri(), layout={})
            session.add_all([item, source])
            await session.flush()
            for path in files:
                key = str(path.relative_to(self.folder))
                file = File(source_id=source.id, key=key, size=path.stat().st_size)
                session.add(file)
                await session.flush()
                session.add(ItemFile(item_id=item.id, file_id=file.id))

    async def begin(self, items: Sequence[str], *chain: str | StepWish, name: str = "chain", **start: Any) -> int:
        """A run of these items through these apps."""
        batch = f"{name}-{uuid.uuid4().hex[:8]}"
        wishes = [StepWish(one) if isinstance(one, str) else one for one in chain]
        async with self.database.begin() as session:
            await pipelines.define(session, name, wishes)
            await batches.make(session, batch, batches.FromIds(list(items)))
            return await runs.start(session, self.documents, runs.Start(batch, name, **start))

    @asynccontextmanager
    async def at_work(
        self, steps: Declared, *, executors: Mapping[str, Executor] | None = None, **pace: Any
    ) -> AsyncIterator[Worker]:
        worker = Worker(
            DatabaseLink(self.database),
            {"python": PythonExecutor(steps, self.bench), **(executors or {})},
            self.documents,
            pace=Pace(**{"slots": 8, "lease": 30.0, "poll": 0.1} | pace),
            functions=tuple(f"python:{name}" for name in steps),
            bench=self.bench,
        )
        job = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(job, 60)

    async def do(self, steps: Declared, run: int, **pace: Any) -> list[dict[str, Any]]:
        """Work until a run is over; its attempts in order."""
        async with self.at_work(steps, **pace):
            await self.until(self.finished(run))
        return await self.attempts(run)
