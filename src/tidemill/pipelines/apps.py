"""Registering apps: what they say of themselves is read first, without a transaction, then kept."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.db.models import App, AppVersion
from tidemill.errors import AppRefused, InvalidInput, NotFound
from tidemill.executors.addresses import AddressPolicy
from tidemill.executors.http import HttpExecutor
from tidemill.pipelines.engine_keys import KEYS, option_faults, options_metadata
from tidemill.pipelines.names import check_name
from tidemill.pipelines.nearest import nearest

KINDS = ("http", "python", "command", "transfer", "package")
PROTOCOLS = ("clams", "json")
DEADLINE = 3600.0
MAX_ANSWER = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class AppSettings:
    """How an app is reached, and its limits. `deadline` and `backoff` in seconds, `max_answer` in bytes."""

    name: str
    url: str
    """`http://…` or `https://…`; `python:name` for a function in the workers."""
    kind: str = "http"
    protocol: str = "clams"
    """`clams`, or `json` for plain JSON in and out (always for `python`)."""
    concurrency: int | None = None
    """Attempts at once over all workers; None: no limit."""
    deadline: float = DEADLINE
    max_answer: int = MAX_ANSWER
    tries: int = 3
    backoff: float = 5
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only its engine understands; see `App.options`."""
    quiet: Sequence[Mapping[str, Any]] = ()
    """Hours in which no attempt is begun; see `App.quiet`."""


@dataclass(frozen=True, slots=True)
class AppFacts:
    """What an app says of itself. `version` is empty where it does not say: its outputs are then not used again."""

    version: str = ""
    identifier: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the metadata, whatever the order of its keys."""
        return hashlib.sha256(orjson.dumps(self.metadata, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def known(self) -> bool:
        return bool(self.version or self.metadata)


async def look(policy: AddressPolicy, settings: AppSettings, version: str = "") -> AppFacts:
    """Ask an app what it is; needs no database. Only CLAMS apps can say; for others `version` is what is known.

    Raises AddressForbidden, AppRefused (it does not answer as a CLAMS app), InvalidInput (settings make no sense).
    """
    check_settings(settings)
    if settings.kind != "http":
        return AppFacts(version, metadata=options_metadata(settings.kind, settings.name, settings.options))
    if settings.protocol == "json":
        await policy.check(settings.url)
        return AppFacts(version)
    metadata = await HttpExecutor(policy).read_metadata(settings.url)
    said = str(metadata.get("app_version") or version or "").strip()
    identifier = str(metadata.get("identifier") or "")
    return AppFacts(said or identifier.rstrip("/").rpartition("/")[2], identifier, metadata)


def check_settings(settings: AppSettings) -> None:
    """Raise InvalidInput where an app's settings make no sense, whatever the app."""
    check_basics(settings)
    for _, fault in option_faults(settings.kind, settings.options):
        raise InvalidInput(f"App {settings.name!r}: {fault}")


def check_basics(settings: AppSettings) -> None:
    """The same for all but its options."""
    check_name("an app", settings.name)
    if settings.kind not in KINDS:
        raise InvalidInput(f"App {settings.name!r} has kind {settings.kind!r}; there are: {', '.join(KINDS)}.")
    if settings.protocol not in PROTOCOLS:
        raise InvalidInput(f"App {settings.name!r} has protocol {settings.protocol!r}; there are: clams, json.")
    if settings.kind == "python" and not settings.url.removeprefix("python:").isidentifier():
        raise InvalidInput(f"App {settings.name!r} has url {settings.url!r}; a Python step is named as python:name.")
    if settings.concurrency is not None and settings.concurrency < 1:
        raise InvalidInput(f"App {settings.name!r} must do at least one thing at once, not {settings.concurrency}.")
    if settings.deadline <= 0 or settings.max_answer <= 0 or settings.tries < 1 or settings.backoff < 0:
        raise InvalidInput(f"App {settings.name!r}: deadline, max_answer and tries must be above 0, backoff not below.")


async def register(session: AsyncSession, settings: AppSettings, facts: AppFacts | None) -> bool:
    """Make an app, or change the one of that name; whether anything changed. `facts` None: what is known stays."""
    check_settings(settings)
    app = await session.scalar(select(App).where(App.name == settings.name).with_for_update(key_share=True))
    wanted = column_values(settings)
    created = app is None
    if app is None:
        app = App(name=settings.name, **wanted)
        session.add(app)
        await session.flush()
    changed = created
    for column, value in wanted.items():
        if getattr(app, column) != value:
            setattr(app, column, value)
            changed = True
            if column in ("url", "kind"):
                _close_circuit(app)
    changed = await _keep_facts(session, app, facts) or changed
    if changed:
        await _touched(session, app, "registered", created)
    return changed


async def refresh(session: AsyncSession, name: str, facts: AppFacts) -> bool:
    """Keep what an app says of itself now (see `look`); whether that is new. Raises NotFound.

    Of a command or a transfer the site file says everything.
    """
    app = await get(session, name)
    if app.kind in KEYS:
        return False
    changed = await _keep_facts(session, app, facts)
    if changed:
        await _touched(session, app, "refreshed")
    return changed


async def pause(session: AsyncSession, name: str) -> bool:
    """Start nothing more at this app; work in hand finishes. Whether it was running. Raises NotFound."""
    return await _set_paused(session, name, True)


async def resume(session: AsyncSession, name: str) -> bool:
    """Let an app's tasks go on, and try it at once even if it was found to be down. Raises NotFound."""
    return await _set_paused(session, name, False)


async def get(session: AsyncSession, name: str) -> App:
    """The app of that name. Raises NotFound, with the name that was meant perhaps."""
    app = await session.scalar(select(App).where(App.name == name))
    if app is None:
        close = nearest(name, await session.scalars(select(App.name)))
        hint = f"Did you mean {close!r}?" if close else "`tidemill apps` lists them."
        raise NotFound(f"There is no app named {name!r}.", hint=hint)
    return app


async def settings_of(session: AsyncSession, name: str) -> AppSettings:
    """An app's settings as they stand, to look at it again. Raises NotFound."""
    app = await get(session, name)
    return AppSettings(**{field.name: getattr(app, field.name) for field in dataclasses.fields(AppSettings)})


async def listing(session: AsyncSession) -> list[Row]:
    """All apps with version, metadata, limits, circuit, tasks in hand and the pipelines that they stand in."""
    return await fetch(session, "pipelines.apps", {"name": None})


async def known_metadata(session: AsyncSession) -> dict[str, dict[str, Any]]:
    """What each app of the site says of itself, by name; empty where nothing is known."""
    found = await session.execute(
        select(App.name, AppVersion.details).outerjoin(AppVersion, AppVersion.id == App.version_id)
    )
    return {name: details or {} for name, details in found.all()}


def column_values(settings: AppSettings) -> dict[str, Any]:
    """The columns of `app` that settings decide. All but web services speak plain JSON."""
    values = dataclasses.asdict(settings) | {"quiet": [dict(hours) for hours in settings.quiet]}
    del values["name"]
    return values | ({"protocol": "json"} if settings.kind != "http" else {})


async def _keep_facts(session: AsyncSession, app: App, facts: AppFacts | None) -> bool:
    if facts is None or (app.kind == "python" and not facts.known and app.version_id is not None):
        return False  # which version of a Python step there is, its workers say
    row = await fetch_one(
        session,
        "pipelines.keep_version",
        {
            "app": app.id,
            "version": facts.version,
            "identifier": facts.identifier,
            "metadata": _json(facts.metadata, app.name),
            "digest": facts.digest,
        },
    )
    assert row is not None
    before, app.version_id = app.version_id, int(row["id"])
    return before != app.version_id


def _json(metadata: Mapping[str, Any], name: str) -> str:
    text = orjson.dumps(metadata).decode()
    if "\\u0000" in text:
        raise AppRefused(f"App {name!r} has a NUL character in its metadata.")
    return text


async def _set_paused(session: AsyncSession, name: str, paused: bool) -> bool:
    app = await get(session, name)
    changed = app.paused is not paused
    if not paused:
        changed = _close_circuit(app) or changed
    app.paused = paused
    if changed:
        await _touched(session, app, "paused" if paused else "active")
    return changed


def _close_circuit(app: App) -> bool:
    was_open = bool(app.circuit_failures or app.circuit_open_until)
    app.circuit_failures, app.circuit_open_until, app.circuit_reason = 0, None, None
    return was_open


async def _touched(session: AsyncSession, app: App, state: str, created: bool = False) -> None:
    if not created:
        app.revision += 1
    await session.flush()
    await fetch(session, "pipelines.announce_apps", {"state": state})
