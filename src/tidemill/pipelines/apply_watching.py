"""What a site file changes about watching runs, schedules and quiet hours."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.models import Pipeline, Source
from tidemill.domain.quiet_hours import in_words
from tidemill.pipelines import schedules, watching
from tidemill.pipelines.nearest import nearest
from tidemill.pipelines.site_file import SiteFile
from tidemill.pipelines.site_mistakes import Place

Difference = tuple[str, Mapping[str, Any] | None, Mapping[str, Any]]
"""A name, what there is now (None: nothing), and what there is to be."""


async def watch_differences(session: AsyncSession, site_file: SiteFile, moved: Collection[str]) -> list[Difference]:
    """Every watch of the file; and those it does not name whose pipeline gets a new version, as those in `moved` do."""
    known = {row["name"]: row for row in await watching.listing(session) if row["state"] == "active"}
    found: list[Difference] = []
    for entry in site_file.content.watching:
        wish = entry.wish()
        row = known.pop(entry.name, None)
        wanted: Mapping[str, Any] = {
            "pipeline": wish.pipeline, "condition": wish.condition.as_json(), "priority": wish.priority,
            "reuse": wish.reuse, "quiet": wish.quiet,
        }  # fmt: skip
        now: Mapping[str, Any] | None = {key: row[key] for key in wanted} if row else None
        found.append((entry.name, *_with_version(row, moved, now, wanted)))
    for name, row in known.items():
        now, wanted = _with_version(row, moved, {}, {})
        if wanted:
            found.append((name, now, wanted))
    return found


def _with_version(
    row: Mapping[str, Any] | None, moved: Collection[str], now: Mapping[str, Any] | None, wanted: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
    """The same, with the run that takes in items where it is to be succeeded by another."""
    if row is None or now is None or not (row["outdated"] or row["pipeline"] in moved):
        return now, wanted
    told = f"{row['run']} (version {row['pipeline_version']} of {row['pipeline']})"
    return {**now, "run": told}, {
        **wanted,
        "run": "a new run with the newest version; the old one finishes what it has",
    }


async def schedule_differences(session: AsyncSession, site_file: SiteFile) -> list[Difference]:
    """Every schedule of the file."""
    known = {row["name"]: row for row in await schedules.listing(session)}
    found: list[Difference] = []
    for entry in site_file.content.schedules:
        wish = entry.wish()
        wanted = {"cron": wish.cron, "zone": wish.zone, "action": dict(wish.action)}
        row = known.get(entry.name)
        found.append((entry.name, {key: row[key] for key in wanted} if row else None, wanted))
    return found


async def clock_faults(session: AsyncSession, site_file: SiteFile) -> list[str]:
    """Pipelines, sources and time zones that do not exist, each with file and line."""
    content = site_file.content
    chains = {*await session.scalars(select(Pipeline.name)), *(entry.name for entry in content.pipelines)}
    sources = {*await session.scalars(select(Source.name)), *(entry.name for entry in content.sources)}
    faults: list[tuple[Place, str]] = []
    for n, watch in enumerate(content.watching):
        faults += _unknown(
            ("watching", n, "pipeline"), f"watching run {watch.name!r}", "pipeline", watch.pipeline, chains
        )
    for n, entry in enumerate(content.schedules):
        what, here = f"schedule {entry.name!r}", ("schedules", n)
        if entry.start:
            faults += _unknown((*here, "start", "pipeline"), what, "pipeline", entry.start.pipeline, chains)
        elif entry.sync:
            faults += _unknown((*here, "sync"), what, "source", entry.sync, sources)
    zones = list(_zones(site_file))
    unknown = set(await schedules.unknown_zones(session, [zone for _, _, zone in zones]))
    faults += [
        (place, f"{what}: the database knows no time zone named {zone!r}.")
        for place, what, zone in zones
        if zone in unknown
    ]
    return [site_file.at(place, message) for place, message in faults]


def _unknown(place: Place, what: str, noun: str, name: str, known: Collection[str]) -> Iterator[tuple[Place, str]]:
    if name not in known:
        close = nearest(name, known)
        right = f"did you mean {close!r}?" if close else f"there are: {', '.join(sorted(known)) or 'none yet'}."
        yield place, f"{what}: there is no {noun} named {name!r}; {right}"


def _zones(site_file: SiteFile) -> Iterator[tuple[Place, str, str]]:
    content = site_file.content
    for n, entry in enumerate(content.schedules):
        yield ("schedules", n, "zone"), f"schedule {entry.name!r}", entry.zone
    for n, app in enumerate(content.apps):
        for hours in app.quiet:
            yield ("apps", n, "quiet"), f"app {app.name!r}: quiet {in_words(hours)}", hours["zone"]
    for n, watch in enumerate(content.watching):
        for hours in watch.quiet:
            yield ("watching", n, "quiet"), f"watching run {watch.name!r}: quiet {in_words(hours)}", hours["zone"]
