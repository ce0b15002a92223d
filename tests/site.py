"""A small site for tests: items, steps that are Python functions, real workers, and looks at what came out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from sqlalchemy import text

from tidemill.db.database import Database, Row
from tidemill.db.models import App, AppVersion, Batch, BatchItem, Item, Pipeline, PipelineVersion, Step
from tidemill.executors.contract import Executor
from tidemill.executors.python import PythonExecutor
from tidemill.runner import runs
from tidemill.runner.link import DatabaseLink
from tidemill.runner.worker import Pace, Worker
from tidemill.storage.documents import DocumentStore

Functions = Mapping[str, Callable[..., Any]]
Condition = Callable[[], Awaitable[bool]]


class Mill:
    """Starts runs and workers on one database."""

    def __init__(self, database: Database, documents: DocumentStore) -> None:
        self.database = database
        self.documents = documents

    async def start(
        self,
        *,
        items: int,
        steps: Sequence[str],
        functions: Functions,
        use: Sequence[str],
        prefix: str = "item",
        priority: int = 0,
        reuse: bool = True,
        paused: bool = False,
        **limits: Any,
    ) -> int:
        """New items in a batch, an app for each function, a pipeline of `steps` that use them (`use`); the run."""
        async with self.database.begin() as session:
            apps = await self._apps(session, functions, limits)
            rows = [Item(name=f"{prefix}-{n}") for n in range(items)]
            pipeline, batch = Pipeline(name=f"pipe-{prefix}"), Batch(name=f"batch-{prefix}")
            session.add_all([*rows, pipeline, batch])
            await session.flush()
            version = PipelineVersion(pipeline_id=pipeline.id, number=1)
            session.add(version)
            session.add_all(BatchItem(batch_id=batch.id, position=n, item_id=row.id) for n, row in enumerate(rows))
            await session.flush()
            pipeline.version_id = version.id
            for position, (name, function) in enumerate(zip(steps, use, strict=True)):
                session.add(
                    Step(
                        pipeline_version_id=version.id,
                        position=position,
                        name=name,
                        app_id=apps[function].id,
                        parameters={"name": name},
                    )
                )
        wish = runs.Start(batch.name, pipeline.name, priority=priority, reuse=reuse, paused=paused)
        async with self.database.begin() as session:
            return await runs.start(session, self.documents, wish)

    async def _apps(self, session: Any, functions: Functions, limits: Mapping[str, Any]) -> dict[str, App]:
        apps = {}
        for name in functions:
            url = f"python:{name}"
            app = await session.scalar(text("select 1 from app where url = :url"), {"url": url})
            if app is None:
                app = App(name=name, kind="python", url=url, protocol="json", **limits)
                session.add(app)
                await session.flush()
                version = AppVersion(app_id=app.id, version="1", digest="")
                session.add(version)
                await session.flush()
                app.version_id = version.id
        from sqlalchemy import select

        for app in (await session.scalars(select(App))).all():
            apps[app.url.removeprefix("python:")] = app
        return apps

    async def again(self, run: int, **options: Any) -> int:
        """Another run of the same batch through the same pipeline."""
        async with self.database.begin() as session:
            row = await runs.get(session, run)
            wish = runs.Start(row["batch"], row["pipeline"], **options)
            return await runs.start(session, self.documents, wish)

    def worker(self, functions: Functions, *, at_once: int | None = None, **pace: Any) -> Worker:
        engine = PythonExecutor(dict(functions))
        engine.at_once = at_once
        executors: dict[str, Executor] = {"python": engine}
        settings = {"slots": 64, "lease": 30.0, "poll": 0.1} | pace
        return Worker(
            DatabaseLink(self.database),
            executors,
            self.documents,
            pace=Pace(**settings),
            functions=tuple(f"python:{name}" for name in functions),
        )

    @asynccontextmanager
    async def working(self, functions: Functions, **pace: Any) -> AsyncIterator[Worker]:
        """A worker at work; stopped in order at the end."""
        worker = self.worker(functions, **pace)
        job = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(job, 60)

    async def work(self, functions: Functions, *, until: Condition, **pace: Any) -> None:
        """Let a worker work until a condition holds."""
        async with self.working(functions, **pace):
            await self.until(until)

    async def until(self, condition: Condition, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.01)

    def finished(self, run: int) -> Condition:
        return self.all_finished(run)

    def all_finished(self, *ids: int) -> Condition:
        async def look() -> bool:
            async with self.database.begin() as session:
                left = await session.execute(
                    text("select count(*) from run where id = any(:ids) and state = 'active'"), {"ids": list(ids)}
                )
                return left.scalar() == 0

        return look

    async def tasks(self, run: int) -> list[Row]:
        async with self.database.begin() as session:
            found = await session.execute(
                text(
                    "select t.id, t.position, i.name as item, t.step, t.state, t.tries, t.fence, t.reason, t.due_at, "
                    "t.progress "
                    "from task t join item i on i.id = t.item_id where t.run_id = :run order by t.position"
                ),
                {"run": run},
            )
            return [dict(row) for row in found.mappings()]

    async def states(self, run: int) -> dict[str, int]:
        return dict(Counter(task["state"] for task in await self.tasks(run)))

    async def attempts(self, run: int, item: str | None = None) -> list[Row]:
        async with self.database.begin() as session:
            found = await session.execute(
                text(
                    "select a.*, i.name as item from attempt a "
                    "join task t on t.id = a.task_id join item i on i.id = t.item_id "
                    "where t.run_id = :run and (cast(:item as text) is null or i.name = :item) "
                    "order by a.task_id, a.fence"
                ),
                {"run": run, "item": item},
            )
            return [dict(row) for row in found.mappings()]

    async def final_documents(self, run: int) -> list[dict[str, Any]]:
        """The documents of a run's tasks in order, read through the store and checked against their checksums."""
        async with self.database.begin() as session:
            found = await session.execute(
                text(
                    "select encode(d.sha256, 'hex') as sha, d.body, d.location from task t "
                    "join document d on d.sha256 = t.document where t.run_id = :run order by t.position"
                ),
                {"run": run},
            )
            rows = found.mappings().all()
        return [orjson.loads(await self.documents.read(r["sha"], r["body"], r["location"])) for r in rows]
