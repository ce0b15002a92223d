"""What a worker remembers of apps, steps and item names, so that a claim need not carry it all."""

from __future__ import annotations

from tidemill.db.database import Row
from tidemill.domain.retries import RetryPolicy
from tidemill.executors.contract import AppCall
from tidemill.runner.attempts import StepSpec
from tidemill.runner.exchange import Exchange

NAMES_KEPT = 20_000


class SpecCache:
    """Steps never change; an app's revision, which every claim brings, tells when what is known of it is old."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._apps: dict[int, Row] = {}
        self._steps: dict[tuple[int, int], Row] = {}
        self._ready: dict[tuple[int, int, int, int], StepSpec] = {}
        self._names: dict[int, str] = {}

    async def prepare(self, tasks: list[Row]) -> None:
        """Learn what these tasks need in at most three queries."""
        apps = {t["app_id"] for t in tasks if self._app_is_old(t)}
        versions = {t["pipeline_version_id"] for t in tasks if (t["pipeline_version_id"], t["step"]) not in self._steps}
        items = {t["item_id"] for t in tasks if t["item_id"] not in self._names and t["earlier_output"] is None}
        if apps:
            for row in await self._exchange.ask("workers.specs", apps=list(apps)):
                self._apps[row["id"]] = row
        if versions:
            for row in await self._exchange.ask("workers.steps", versions=list(versions)):
                self._steps[row["pipeline_version_id"], row["position"]] = row
        if items:
            if len(self._names) > NAMES_KEPT:
                self._names.clear()
            for row in await self._exchange.ask("workers.items", items=list(items)):
                self._names[row["id"]] = row["name"]

    def _app_is_old(self, task: Row) -> bool:
        known = self._apps.get(task["app_id"])
        return known is None or known["revision"] != task["revision"]

    async def item(self, item_id: int) -> str:
        if item_id not in self._names:
            rows = await self._exchange.ask("workers.items", items=[item_id])
            self._names[item_id] = rows[0]["name"]
        return self._names[item_id]

    async def step(self, task: Row) -> StepSpec:
        key = (task["pipeline_version_id"], task["step"], task["app_id"], task["revision"])
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
        ),
        parameters=step["parameters"],
        policy=RetryPolicy(
            step["tries"] or app["tries"], step["backoff"] if step["backoff"] is not None else app["backoff"]
        ),
    )
