"""Runs through apps over HTTP, for tests of what a worker makes of their faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from tests.apps import ScriptedApp, ScriptedAppProcess
from tests.site import Mill

from tidemill.db.database import Row, fetch
from tidemill.db.models import (
    App,
    AppVersion,
    Batch,
    BatchItem,
    File,
    Item,
    ItemFile,
    Pipeline,
    PipelineVersion,
    Source,
    Step,
)
from tidemill.executors.registry import make_executors
from tidemill.runner import runs
from tidemill.runner.link import DatabaseLink
from tidemill.runner.worker import Pace, Worker


class AppMill(Mill):
    """A mill whose steps are apps behind URLs."""

    async def start_apps(
        self,
        apps: Sequence[ScriptedApp | ScriptedAppProcess],
        *,
        prefix: str,
        items: int = 1,
        protocol: str = "clams",
        **limits: Any,
    ) -> int:
        """A run of new items through these apps, one after the other."""
        settings = {"deadline": 20.0, "tries": 2, "backoff": 0.01} | limits
        async with self.database.begin() as session:
            rows = [Item(name=f"{prefix}-{n}") for n in range(items)]
            source = Source(name=f"source-{prefix}", url="file:///media")
            session.add(source)
            pipeline, batch = Pipeline(name=f"pipe-{prefix}"), Batch(name=f"batch-{prefix}")
            session.add_all([*rows, pipeline, batch])
            await session.flush()
            version = PipelineVersion(pipeline_id=pipeline.id, number=1)
            session.add(version)
            session.add_all(BatchItem(batch_id=batch.id, position=n, item_id=row.id) for n, row in enumerate(rows))
            await session.flush()
            for row in rows:
                file = File(source_id=source.id, key=f"{row.name}.mp4", size=1)
                session.add(file)
                await session.flush()
                session.add(ItemFile(item_id=row.id, file_id=file.id))
            pipeline.version_id = version.id
            for position, scripted in enumerate(apps):
                app = App(name=f"{prefix}-app{position}", kind="http", url=scripted.url, protocol=protocol, **settings)
                session.add(app)
                await session.flush()
                about = scripted.metadata() if isinstance(scripted, ScriptedApp) and protocol == "clams" else {}
                known = AppVersion(app_id=app.id, version="v1.0", digest="", details=about)
                session.add(known)
                await session.flush()
                app.version_id = known.id
                session.add(Step(pipeline_version_id=version.id, position=position, name=f"s{position}", app_id=app.id))
        async with self.database.begin() as session:
            return await runs.start(session, self.documents, runs.Start(batch.name, pipeline.name))

    @asynccontextmanager
    async def calling(self, **pace: Any) -> AsyncIterator[Worker]:
        """A worker that calls apps, stopped in order at the end."""
        settings = {"slots": 64, "lease": 30.0, "poll": 0.05} | pace
        worker = Worker(DatabaseLink(self.database), make_executors(), self.documents, pace=Pace(**settings))
        job = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(job, 60)

    async def app(self, prefix: str, position: int = 0) -> Row:
        """An app's row as it stands."""
        async with self.database.begin() as session:
            found = await session.execute(
                text("select * from app where name = :name"), {"name": f"{prefix}-app{position}"}
            )
            return dict(found.mappings().one())

    async def steps(self, run: int) -> list[Row]:
        async with self.database.begin() as session:
            return await fetch(session, "runs.steps", {"run": run})
