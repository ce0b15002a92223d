"""Making the database match a site file: first the difference, in words, then all of it in one transaction.

What the file does not name is left alone, and said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.db.models import Project, Site, Source
from tidemill.errors import AddressForbidden, AppRefused, Conflict, InvalidInput, SiteFileError
from tidemill.executors.addresses import AddressPolicy
from tidemill.pipelines import apps, pipelines, schedules, watching
from tidemill.pipelines.apply_check import pipeline_faults, wanted_steps
from tidemill.pipelines.apply_terms import keep_terms, terms_faults
from tidemill.pipelines.apply_watching import clock_faults, schedule_differences, watch_differences
from tidemill.pipelines.apply_words import difference
from tidemill.pipelines.apps import AppFacts, AppSettings, column_values
from tidemill.pipelines.pipelines import without_nulls
from tidemill.pipelines.portal_check import portal_values
from tidemill.pipelines.portal_entries import FieldEntry
from tidemill.pipelines.site_entries import ProjectEntry, SourceEntry
from tidemill.pipelines.site_file import SiteFile

Facts = Mapping[str, AppFacts]
"""What the file's apps say of themselves, by name; one that is missing keeps what is known of it."""
_SOURCE = ("url", "layout", "options", "may_lose")
_SHOWN = {"itself": "what it says of itself"}


@dataclass(frozen=True, slots=True)
class Detail:
    """One thing that differs; `before` None where it did not exist."""

    key: str
    before: Any
    after: Any

    def lines(self) -> list[str]:
        return difference(self.key, self.before, self.after)


@dataclass(frozen=True, slots=True)
class Change:
    """One record that apply makes (`create`) or changes (`change`)."""

    verb: str
    noun: str
    """`site`, `project`, `source`, `app`, `pipeline`, `watching run`, `schedule`."""
    name: str
    details: list[Detail]

    def lines(self) -> list[str]:
        sign = "+" if self.verb == "create" else "~"
        details = (f"    {line}" for detail in self.details for line in detail.lines())
        return [f"{sign} {self.noun} {self.name}".rstrip(), *details]


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between a site file and the database."""

    site_file: SiteFile
    facts: Facts
    changes: list[Change]
    left_alone: list[str] = field(default_factory=list)
    """Records that the file does not name, as `app bars`. Nothing happens to them."""

    @property
    def empty(self) -> bool:
        return not self.changes

    def lines(self) -> list[str]:
        """For a person: every change with before and after, then what is left alone."""
        told = [line for change in self.changes for line in change.lines()] or ["nothing to change"]
        return told + [f"  not in the file, left alone: {name}" for name in self.left_alone]


async def look_at_apps(policy: AddressPolicy, site_file: SiteFile, *, offline: bool = False) -> Facts:
    """Ask the file's apps what they are, all at once; needs no database. `offline`: ask none that has to be called.

    Raises AppRefused with a line for each app that does not answer as it should.
    """
    entries = site_file.content.apps
    asked = [entry for entry in entries if not (offline and entry.kind == "http" and entry.protocol == "clams")]
    looks = (apps.look(policy, site_file.app_settings(entry), entry.version) for entry in asked)
    answers = await asyncio.gather(*looks, return_exceptions=True)
    refused = []
    for entry, answer in zip(asked, answers, strict=True):
        if isinstance(answer, AppRefused | AddressForbidden | InvalidInput):
            place = ("apps", entries.index(entry), "url")
            refused.append(site_file.at(place, f"app {entry.name!r}: {answer.message}"))
        elif isinstance(answer, BaseException):
            raise answer
    if refused:
        raise AppRefused("\n".join(refused), hint=_refusal_hint(answers))
    return {entry.name: facts for entry, facts in zip(asked, answers, strict=True) if isinstance(facts, AppFacts)}


async def plan(session: AsyncSession, site_file: SiteFile, facts: Facts) -> Plan:
    """What would have to change. Changes nothing.

    Raises SiteFileError with every pipeline whose apps do not exist, do not fit together, or do not take their
    parameters.
    """
    metadata = await apps.known_metadata(session) | {name: dict(fact.metadata) for name, fact in facts.items()}
    metadata = {entry.name: {} for entry in site_file.content.apps} | metadata
    faults = pipeline_faults(site_file, metadata) + await clock_faults(session, site_file)
    faults += await terms_faults(session, site_file)
    if faults:
        raise SiteFileError("\n".join(faults))
    changes = [
        *await _site_changes(session, site_file),
        *await _project_changes(session, site_file),
        *await _source_changes(session, site_file),
        *await _app_changes(session, site_file, facts),
        *await _pipeline_changes(session, site_file, metadata),
    ]
    moved = {change.name for change in changes if change.noun == "pipeline" and change.verb == "change"}
    for name, now, wanted in await watch_differences(session, site_file, moved):
        changes += _compare("watching run", name, now, wanted)
    for name, now, wanted in await schedule_differences(session, site_file):
        changes += _compare("schedule", name, now, wanted)
    return Plan(site_file, facts, changes, await _left_alone(session, site_file))


async def carry_out(session: AsyncSession, wanted: Plan) -> None:
    """Do what a plan says. Raises Conflict where the database changed since the plan was made."""
    await fetch(session, "pipelines.lock")
    now = await plan(session, wanted.site_file, wanted.facts)
    if now.changes != wanted.changes:
        raise Conflict("The site changed since the difference was shown.", hint="Apply again to see what differs now.")
    for change in wanted.changes:
        await _do(session, wanted, change)
    session.expire_all()


async def _do(session: AsyncSession, wanted: Plan, change: Change) -> None:
    content = wanted.site_file.content
    match change.noun:
        case "site":
            values = _site_values(wanted.site_file)
            await session.execute(_upsert(Site, {"id": 1, "updated_at": func.now(), **values}, "id"))
            await keep_terms(session, values["portal"])
        case "project":
            entry = next(one for one in content.projects if one.name == change.name)
            known = await session.scalar(select(Project).where(Project.name == entry.name))
            values = _project_values(entry, known)
            if known is not None and "metadata" in values:
                values["metadata"] = {key: known.details[key] for key in known.described or ()} | values["metadata"]
            await session.execute(_upsert(Project, {"name": entry.name, **values}, "name"))
        case "source":
            source = next(one for one in content.sources if one.name == change.name)
            values = {"name": source.name, **_source_values(wanted.site_file, source)}
            await session.execute(_upsert(Source, values, "name"))
        case "app":
            app = next(one for one in content.apps if one.name == change.name)
            await apps.register(session, wanted.site_file.app_settings(app), wanted.facts.get(app.name))
        case "pipeline":
            pipeline = next(one for one in content.pipelines if one.name == change.name)
            await pipelines.define(session, pipeline.name, [step.wish() for step in pipeline.steps], pipeline.title)
        case "watching run":
            watch = next((one for one in content.watching if one.name == change.name), None)
            wish = watch.wish() if watch else await watching.wish_of(session, change.name)
            await watching.define(session, wish)
        case "schedule":
            await schedules.define(session, next(one for one in content.schedules if one.name == change.name).wish())


def _upsert(model: Any, values: dict[str, Any], key: str) -> Any:
    statement = insert(model.__table__).values(**values)
    rest = {name: statement.excluded[name] for name in values if name != key}
    return statement.on_conflict_do_update(index_elements=[key], set_=rest)


async def _site_changes(session: AsyncSession, site_file: SiteFile) -> list[Change]:
    site = await session.scalar(select(Site))
    wanted = _site_values(site_file)
    now = {key: getattr(site, key) for key in wanted} if site else {key: type(value)() for key, value in wanted.items()}
    details = _details(now, wanted)
    return [Change("change", "site", "", details)] if details else []


def _site_values(site_file: SiteFile) -> dict[str, Any]:
    content = site_file.content
    return {
        "title": content.title,
        "vocabulary": content.vocabulary.model_dump(exclude_defaults=True),
        "fields": {name: _field(entry) for name, entry in content.fields.items()},
        "project_fields": {name: _field(entry) for name, entry in content.project_fields.items()},
    } | portal_values(content, site_file.path.absolute().parent)


def _field(entry: FieldEntry) -> dict[str, Any]:
    """Type and title always, the rest where it is said."""
    return entry.model_dump(include={"type", "title"}) | entry.model_dump(exclude_defaults=True)


async def _project_changes(session: AsyncSession, site_file: SiteFile) -> list[Change]:
    names = [entry.name for entry in site_file.content.projects]
    found = await session.scalars(select(Project).where(Project.name.in_(names)))
    known = {project.name: project for project in found}
    changes = []
    for entry in site_file.content.projects:
        project = known.get(entry.name)
        now = None if project is None else {"title": project.title, "metadata": without_nulls(project.own_details)}
        changes += _compare("project", entry.name, now, _project_values(entry, project))
    return changes


def _project_values(entry: ProjectEntry, known: Project | None) -> dict[str, Any]:
    """What the file says of a project; a title that it does not say is its tables' to say, if it has any."""
    titled = entry.title or known is None or known.described is None
    return ({"title": entry.title} if titled else {}) | ({} if entry.metadata is None else {"metadata": entry.metadata})


async def _source_changes(session: AsyncSession, site_file: SiteFile) -> list[Change]:
    found = await session.scalars(select(Source))
    known = {one.name: {key: getattr(one, key) for key in _SOURCE} for one in found}
    changes = []
    for entry in site_file.content.sources:
        changes += _compare("source", entry.name, known.get(entry.name), _source_values(site_file, entry))
    return changes


def _source_values(site_file: SiteFile, entry: SourceEntry) -> dict[str, Any]:
    layout = {"rules": [rule.rule().as_json() for rule in entry.layout]}
    url = site_file.source_url(entry)
    return {"url": url, "layout": layout, "options": entry.options(), "may_lose": entry.may_lose}


async def _app_changes(session: AsyncSession, site_file: SiteFile, facts: Facts) -> list[Change]:
    known = {row["name"]: row for row in await apps.listing(session)}
    changes = []
    for entry in site_file.content.apps:
        row = known.get(entry.name)
        left_to_workers = row is not None and entry.kind == "python" and not entry.version
        wanted = _app_values(site_file.app_settings(entry), None if left_to_workers else facts.get(entry.name))
        now = _app_now(row) if row else None
        changes += _compare("app", entry.name, {key: now[key] for key in wanted} if now else None, wanted)
    return changes


def _app_values(settings: AppSettings, facts: AppFacts | None) -> dict[str, Any]:
    said = {} if facts is None else {"version": facts.version, "itself": _digest(facts)}
    return column_values(settings) | said


def _app_now(row: Row) -> dict[str, Any]:
    known = AppFacts(row["version"] or "", row["identifier"] or "", row["metadata"])
    return dict(row) | {"version": known.version, "itself": _digest(known)}


def _digest(facts: AppFacts) -> str:
    return facts.digest[:12] if facts.metadata else ""


async def _pipeline_changes(
    session: AsyncSession, site_file: SiteFile, metadata: Mapping[str, Mapping[str, Any]]
) -> list[Change]:
    known = {row["name"]: {"title": row["title"], "steps": row["steps"]} for row in await pipelines.listing(session)}
    changes = []
    for entry in site_file.content.pipelines:
        wanted = {"title": entry.title, "steps": wanted_steps(entry, metadata)}
        changes += _compare("pipeline", entry.name, known.get(entry.name), wanted)
    return changes


def _compare(noun: str, name: str, now: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> list[Change]:
    if now is None:
        told = [
            Detail(_SHOWN.get(key, key), None, value) for key, value in wanted.items() if _worth_telling(key, value)
        ]
        return [Change("create", noun, name, told)]
    details = _details(now, wanted)
    return [Change("change", noun, name, details)] if details else []


def _details(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Detail]:
    return [
        Detail(_SHOWN.get(key, key), now[key], value) for key, value in wanted.items() if _differ(key, now[key], value)
    ]


def _differ(key: str, before: Any, after: Any) -> bool:
    """Whether two values are not the same; declared fields and columns are shown in their order, a part of them."""
    ordered = key in ("fields", "project_fields") and list(before) != list(after)
    return bool(before != after) or ordered or (key == "tables" and orjson.dumps(before) != orjson.dumps(after))


def _worth_telling(key: str, value: Any) -> bool:
    return value not in (None, "", {}, []) and key != "itself"


async def _left_alone(session: AsyncSession, site_file: SiteFile) -> list[str]:
    content, made = site_file.content, await pipelines.listing(session)
    return [
        *_others("source", list(await session.scalars(select(Source.name))), content.sources),
        *_others("app", [row["name"] for row in await apps.listing(session) if row["kind"] != "package"], content.apps),
        *_others("pipeline", [row["name"] for row in made if not pipelines.packs(row)], content.pipelines),
        *_others("watching run", [row["name"] for row in await watching.listing(session)], content.watching),
        *_others("schedule", [row["name"] for row in await schedules.listing(session)], content.schedules),
    ]


def _others(noun: str, known: list[str], entries: Sequence[Any]) -> Iterator[str]:
    named = {entry.name for entry in entries}
    return (f"{noun} {name}" for name in sorted(known) if name not in named)


def _refusal_hint(answers: Sequence[object]) -> str:
    if any(isinstance(answer, AddressForbidden) for answer in answers):
        return "The setting TIDEMILL_APP_ADDRESSES names the hosts and networks that apps may be reached at."
    return "Start it, or apply with --offline to keep what is known of the apps."
