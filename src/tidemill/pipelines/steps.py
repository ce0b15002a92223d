"""Registering the Python steps that a worker brings: an app where there is none yet, and its version as it is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch
from tidemill.db.models import App
from tidemill.errors import Conflict
from tidemill.pipelines import apps
from tidemill.pipelines.apps import AppFacts, AppSettings
from tidemill.sdk.step import DeclaredStep


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of a step: `app` runs it at `version`; `before` was its version until now (None: the app is new)."""

    step: str
    app: str
    version: str
    before: str | None
    pipelines: Sequence[str]
    """The pipelines that use the app now."""


async def register_steps(session: AsyncSession, steps: Mapping[str, DeclaredStep]) -> list[Registered]:
    """Make an app for each step that has none, with the limits that the step declares, and keep its version.

    An app that is there already keeps its limits: they are the site's. Raises Conflict where an app of that name is
    something else.
    """
    await fetch(session, "pipelines.lock")
    found = {name: await _register(session, step) for name, step in steps.items()}
    used = {row["name"]: row["pipelines"] for row in await apps.listing(session)}
    return [
        Registered(name, app, steps[name].version, before, used[app])
        for name, known in found.items()
        for app, before in known
    ]


async def _register(session: AsyncSession, step: DeclaredStep) -> list[tuple[str, str | None]]:
    """The apps that this step is, each with the version that it had."""
    url = f"python:{step.name}"
    rows = [row for row in await apps.listing(session) if row["kind"] == "python" and row["url"] == url]
    if rows:
        for row in rows:
            await apps.refresh(session, row["name"], AppFacts(step.version))
        return [(row["name"], row["version"]) for row in rows]
    other = await session.scalar(select(App).where(App.name == step.name))
    if other is not None:
        raise Conflict(
            f"There is an app named {step.name} already, of kind {other.kind} at {other.url}.",
            hint=f'Give the step another name, @step(name="…"), or an app of another name the url "{url}".',
        )
    await apps.register(session, _settings(step, url), AppFacts(step.version))
    return [(step.name, None)]


def _settings(step: DeclaredStep, url: str) -> AppSettings:
    given = {"deadline": step.deadline, "tries": step.tries}
    wanted = {key: value for key, value in given.items() if value is not None}
    return AppSettings(step.name, url, "python", "json", concurrency=step.concurrency, **wanted)  # type: ignore[arg-type]
