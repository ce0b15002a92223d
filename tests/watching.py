"""Watching runs for tests: apps and a pipeline straight in the tables, watches, housekeepers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from tests.site import Functions, Mill
from tidemill.db.database import Row
from tidemill.domain.conditions import Condition
from tidemill.pipelines import apps, pipelines
from tidemill.pipelines.apps import AppFacts, AppSettings
from tidemill.pipelines.pipelines import StepWish
from tidemill.pipelines.watching import WatchWish
from tidemill.runner import watch, watch_steering
from tidemill.runner.housekeeping import Housekeeping


class Watched(Mill):
    """A mill whose items come later."""

    async def pipeline(self, name: str, steps: Sequence[str]) -> None:
        """A pipeline of Python functions, each step named as its function; a new version if there is one already."""
        async with self.database.begin() as session:
            for step in steps:
                await apps.register(
                    session, AppSettings(step, f"python:{step}", "python", "json", backoff=0), AppFacts("1")
                )
            await pipelines.define(session, name, [StepWish(step, parameters={"name": step}) for step in steps])

    async def watch(
        self, name: str = "all", pipeline: str = "chain", condition: Mapping[str, Any] | None = None, **more: Any
    ) -> int:
        again = more.pop("again", False)
        wish = WatchWish(name, pipeline, Condition.from_json(condition or {}), **more)
        async with self.database.begin() as session:
            return await watch_steering.start(session, wish, again=again)

    @asynccontextmanager
    async def house(self, number: int = 1) -> AsyncIterator[None]:
        """So many housekeepers; killed at the end."""
        jobs = [
            asyncio.create_task(Housekeeping(self.database, watch.duties(self.documents)).run()) for _ in range(number)
        ]
        try:
            yield
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    @asynccontextmanager
    async def at_work(self, functions: Functions) -> AsyncIterator[None]:
        async with self.house(), self.working(functions):
            yield

    async def keep_house(self) -> None:
        """What housekeepers do, once: a sweep where one is due, and a look at what changed."""
        duties = watch.duties(self.documents)
        for duty in reversed(duties):
            await duty.do(self.database)

    async def look(self) -> None:
        """Only a look at what changed."""
        await watch.duties(self.documents)[0].do(self.database)

    async def sql(self, statement: str, **params: Any) -> list[Row]:
        async with self.database.begin() as session:
            result = await session.execute(text(statement), params)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []

    async def add(self, *names: str, status: str = "good", metadata: str = "{}") -> None:
        """Items, all in one transaction."""
        await self.sql(
            "insert into item (name, status, metadata) "
            "select unnest(cast(:names as text[])), :status, cast(:metadata as jsonb)",
            names=list(names),
            status=status,
            metadata=metadata,
        )

    async def why(self, item: str, watch: str | None = None) -> list[str]:
        async with self.database.begin() as session:
            return [reason.told for reason in await watch_steering.why(session, item, watch)]

    async def until_states(self, run: int, wanted: Mapping[str, int], seconds: float = 60) -> None:
        """Wait until so many tasks of a run stand in these states."""

        async def there() -> bool:
            return await self.states(run) == wanted

        await self.until(there, seconds)

    async def standing(self, run: int) -> dict[str, str]:
        """Each item of a run with its state, and its reason where it has one."""
        return {t["item"]: t["state"] + (f": {t['reason']}" if t["reason"] else "") for t in await self.tasks(run)}
