"""Pages of pipelines: their versions, steps and whether the chain fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.models import App, PipelineVersion, Step
from tidemill.domain.mmif import inputs_of, outputs_of
from tidemill.errors import InvalidInput
from tidemill.pipelines import pipelines as service
from tidemill.pipelines.apps import known_metadata
from tidemill.pipelines.check import chain_faults
from tidemill.web.rendering import render, site_of

router = APIRouter()


@router.get("/pipelines")
async def pipelines(request: Request) -> HTMLResponse:
    """All pipelines with their steps."""
    async with site_of(request).database.begin() as session:
        found = await service.listing(session)
    return render(request, "pipelines.html", pipelines=found)


@router.get("/pipelines/{name}")
async def pipeline(request: Request, name: str) -> HTMLResponse:
    """One pipeline: every version, newest first, each drawn as a chain."""
    async with site_of(request).database.begin() as session:
        found = await service.get(session, name)
        known = await known_metadata(session)
        versions = await _versions(session, found.id)
    for version in versions:
        version["drawn"] = drawn(version["steps"], known)
    newest = versions[0]["steps"] if versions else []
    faults = chain_faults([(step["name"], step["app"], known.get(step["app"])) for step in newest], known=known)
    return render(request, "pipeline.html", pipeline=found, versions=versions, faults=faults)


async def _versions(session: AsyncSession, pipeline: int) -> list[dict[str, Any]]:
    rows = await session.execute(
        select(PipelineVersion, Step, App.name)
        .join(Step, Step.pipeline_version_id == PipelineVersion.id)
        .join(App, App.id == Step.app_id)
        .where(PipelineVersion.pipeline_id == pipeline)
        .order_by(PipelineVersion.number.desc(), Step.position)
    )
    versions: dict[int, dict[str, Any]] = {}
    for version, step, app in rows.all():
        entry = versions.setdefault(
            version.number, {"number": version.number, "created_at": version.created_at, "steps": []}
        )
        entry["steps"].append(
            {
                "position": step.position,
                "name": step.name,
                "app": app,
                "parameters": step.parameters,
                "tries": step.tries,
            }
        )
    return list(versions.values())


def drawn(steps: Sequence[Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]]) -> str:
    """A chain as text: each step with what its app reads and writes."""
    lines = ["the item's files"]
    for step in steps:
        reads, writes = _types(known.get(step["app"]) or {})
        lines += ["  │", f"  ▼ {reads}".rstrip(), f"[ {step['name']} ]" + (f"  writes {writes}" if writes else "")]
    return "\n".join(lines)


def _types(metadata: Mapping[str, Any]) -> tuple[str, str]:
    try:
        needs = [str(need) + ("" if need.required else " (if there is one)") for need in inputs_of(metadata)]
        return ", ".join(needs), ", ".join(str(kind) for kind in outputs_of(metadata))
    except InvalidInput:
        return "", ""
