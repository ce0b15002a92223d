"""Writing a site file from the database: `apply` accepts it, and finds nothing to change."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import tomli_w
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row
from tidemill.db.models import Project, Site, Source
from tidemill.domain.conditions import Condition
from tidemill.domain.quiet_hours import as_written
from tidemill.pipelines import apps, pipelines, schedules, watching
from tidemill.pipelines.apps import AppSettings
from tidemill.pipelines.engine_keys import KEYS
from tidemill.pipelines.pipelines import StepWish, step_names, without_nulls

_APP_DEFAULTS = AppSettings("", "")
MAY_LOSE = 0.1


async def export(session: AsyncSession) -> str:
    """The site as a site file. What is at its default is left out."""
    content: dict[str, Any] = await _site(session)
    projects = [_project(one) for one in await session.scalars(select(Project).order_by(Project.name))]
    sources = [_source(one) for one in await session.scalars(select(Source).order_by(Source.name))]
    content |= {
        "projects": projects,
        "sources": sources,
        "apps": [_app(row) for row in await apps.listing(session) if row["kind"] != "package"],
        "pipelines": [
            _pipeline(row) for row in await pipelines.listing(session) if row["steps"] and not pipelines.packs(row)
        ],
        "watching": [_watch(row) for row in await watching.listing(session)],
        "schedules": [_schedule(row) for row in await schedules.listing(session)],
    }
    return tomli_w.dumps({key: value for key, value in content.items() if value})


async def _site(session: AsyncSession) -> dict[str, Any]:
    site = await session.scalar(select(Site))
    if site is None:
        return {}
    keys = ("title", "vocabulary", "fields", "project_fields", "portal", "publishing", "tables", "packages")
    return {key: getattr(site, key) for key in keys}


def _project(project: Project) -> dict[str, Any]:
    """What metadata files say of it is theirs to say."""
    title = project.title if project.described is None else ""
    return _filled({"name": project.name, "title": title, "metadata": without_nulls(project.own_details)})


def _source(source: Source) -> dict[str, Any]:
    parts = urlsplit(source.url)
    url = unquote(parts.path) if parts.scheme == "file" else source.url
    made = {"name": source.name, "url": url, **source.options}
    made |= {} if source.may_lose == MAY_LOSE else {"may_lose": source.may_lose}
    return made | {"layout": source.layout.get("rules", [])}


def _app(row: Row) -> dict[str, Any]:
    made = {"name": row["name"]} | ({} if row["kind"] in KEYS else {"url": row["url"]})
    for key in ("kind", "protocol", "concurrency", "deadline", "max_answer", "tries", "backoff"):
        if row[key] != getattr(_APP_DEFAULTS, key) and not (key == "protocol" and row["kind"] != "http"):
            made[key] = _number(row[key])
    made |= row["options"]
    if row["quiet"]:
        made["quiet"] = [as_written(hours) for hours in row["quiet"]]
    by_itself = row["kind"] == "python" and (row["version"] or "").startswith("sha256:")
    if row["version"] and not by_itself and (row["kind"] != "http" or row["protocol"] != "clams"):
        made["version"] = row["version"]
    return made


def _pipeline(row: Row) -> dict[str, Any]:
    usual = step_names([StepWish(step["app"]) for step in row["steps"]])
    named = usual != [step["name"] for step in row["steps"]]
    steps = [_step(step, named) for step in row["steps"]]
    return _filled({"name": row["name"], "title": row["title"], "steps": steps})


def _step(step: Row, named: bool) -> dict[str, Any]:
    return _filled(
        {
            "app": step["app"],
            "name": step["name"] if named else None,
            "parameters": without_nulls(step["parameters"]),
            "tries": step["tries"],
            "backoff": _number(step["backoff"]),
        }
    )


def _watch(row: Row) -> dict[str, Any]:
    condition = Condition.from_json(row["condition"]).as_json()
    if condition["status"] == ["good"]:
        del condition["status"]
    made = {"name": row["name"], "pipeline": row["pipeline"]} | condition
    made |= {"priority": row["priority"]} if row["priority"] else {}
    made |= {"reuse": False} if not row["reuse"] else {}
    return made | ({"quiet": [as_written(hours) for hours in row["quiet"]]} if row["quiet"] else {})


def _schedule(row: Row) -> dict[str, Any]:
    usual = {"priority": 0, "reuse": True, "only_not_done": False}
    zone = {"zone": row["zone"]} if row["zone"] != "UTC" else {}
    action = {
        key: {k: v for k, v in value.items() if usual.get(k) != v} if key == "start" else value
        for key, value in row["action"].items()
    }
    return {"name": row["name"], "cron": row["cron"]} | zone | action


def _filled(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value not in (None, "", {})}


def _number(value: Any) -> Any:
    """Seconds that are whole are written so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
