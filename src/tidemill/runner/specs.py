"""What a worker remembers of apps and steps, so that a claim need not carry it all."""

from __future__ import annotations

from tidemill.db.database import Row
from tidemill.domain.retries import RetryPolicy
from tidemill.executors.contract import AppCall
from tidemill.runner.attempts import StepSpec
from tidemill.runner.link import Exchanging


class SpecCache:
    """Steps never change; an app's revision, which every claim brings, tells when what is known of it is old."""

    def __init__(self, exchange: Exchanging) -> None:
        self._exchange = exchange
        self._apps: dict[int, Row] = {}
        self._steps: dict[tuple[int, int], Row] = {}
        self._ready: dict[tuple[int, int, int, int], StepSpec] = {}

    async def prepare(self, tasks: list[Row]) -> None:
        """Learn what these tasks need in at most two queries."""
        apps = {t["app_id"] for t in tasks if self._app_is_old(t)}
        versions = {t["pipeline_version_id"] for t in tasks if (t["pipeline_version_id"], t["step"]) not in self._steps}
        if apps:
            for row in await self._exchange.ask("workers.specs", apps=list(apps)):
                self._apps[row["id"]] = row
        if versions:
            for row in await self._exchange.ask("workers.steps", versions=list(versions)):
                self._steps[row["pipeline_version_id"], row["position"]] = row

    def _app_is_old(self, task: Row) -> bool:
        known = self._apps.get(task["app_id"])
        return known is None or known["revision"] != task["app_revision"]

    async def record(self, item_id: int) -> Row:
        """The item's record as it is now, with its files and what other systems did to it."""
        return (await self._exchange.ask("workers.records", items=[item_id]))[0]

    async def step(self, task: Row) -> StepSpec:
        key = (task["pipeline_version_id"], task["step"], task["app_id"], task["app_revision"])
        if key not in self._ready:
            if self._app_is_old(task) or (task["pipeline_version_id"], task["step"]) not in self._steps:
                await self.prepare([task])
            self._ready[key] = _spec(self._apps[task["app_id"]], self._steps[key[0], key[1]])
        return self._ready[key]


def _spec(app: Row, step: Row) -> StepSpec:
    return StepSpec(
        name=step["name"],
        app=AppCall(
            name=app["name"],
            kind=app["kind"],
            url=app["url"],
            protocol=app["protocol"],
            version=app["version"] or "",
            metadata=app["metadata"] or {},
            deadline=app["deadline"],
            max_answer=app["max_answer"],
            options=app["options"],
        ),
        parameters=step["parameters"],
        policy=RetryPolicy(
            step["tries"] or app["tries"], step["backoff"] if step["backoff"] is not None else app["backoff"]
        ),
    )
