"""What a changed app or side input affects: results that stand, and were made by another version or with another file.

They can be done again, each from its step on, and nothing else is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.db.models import App
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.runner import redo
from tidemill.runner.redo import Places

CURRENT = "current"
INPUTS_DAYS = 90


@dataclass(frozen=True, slots=True)
class ByApp:
    """Results of an app: of one version, or of all before one (`current`: of any but that which it has now)."""

    app: str
    version: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class ByInput:
    """Results with a side input: of one checksum; of any but this one (`unlike`); else of any but that used last."""

    input: str
    sha256: str | None = None
    unlike: str | None = None


Asked = ByApp | ByInput


@dataclass(frozen=True, slots=True)
class Made:
    """Standing results, over all runs, that one version made, or that were made with one file.

    `name`: the version that the app said, else the one that was known of it; or the checksum. `current`: as it is now.
    """

    name: str
    results: int
    current: bool
    asked: bool
    """Whether this is what was asked for."""
    first_at: dt.datetime
    last_at: dt.datetime
    url: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Affected:
    """`made`: all there is, used last first. `places`: what of it was asked for, by task and step."""

    made: list[Made]
    places: Places

    @property
    def results(self) -> int:
        return len(self.places)


def asked(
    app: str | None = None,
    version: str | None = None,
    before: str | None = None,
    *,
    side_input: str | None = None,
    sha256: str | None = None,
    unlike: str | None = None,
) -> Asked:
    """What is asked for, from the parts as people give them. Raises InvalidInput: parts that do not go together."""
    if (app is None) == (side_input is None):
        raise InvalidInput("Ask for the results of an app, or for those that used a side input.")
    if app is not None:
        if sha256 or unlike:
            raise InvalidInput("A checksum is asked for of a side input, not of an app.")
        return ByApp(app, version, before)
    assert side_input is not None
    if version or before:
        raise InvalidInput("A version is asked for of an app, not of a side input.")
    return ByInput(side_input, sha256, unlike)


async def find(session: AsyncSession, asked: Asked, *, every_run: bool = False) -> Affected:
    """The results asked for: of each item where no newer run of the pipeline has the step behind it, or in every run.

    Raises NotFound (no such app, no such version, no such input), InvalidInput.
    """
    if isinstance(asked, ByApp):
        return await _by_app(session, asked, every_run)
    return await _by_input(session, asked, every_run)


async def listing(session: AsyncSession, places: Places, *, limit: int = 100, offset: int = 0) -> list[Row]:
    """Some of them in order of the item's name.

    `item, run, pipeline, position, step, app, version, inputs, finished_at, state, task, fence`.
    """
    params = {"tasks": list(places.tasks), "steps": list(places.steps), "limit": limit, "offset": offset}
    return await fetch(session, "affected.shown", params)


async def rerun(session: AsyncSession, asked: Asked, *, every_run: bool = False) -> int:
    """Do again what was asked for, each from its step on; how many tasks. Raises also Conflict (there is nothing)."""
    moved = await redo.put_back(session, (await find(session, asked, every_run=every_run)).places)
    if not moved:
        raise Conflict("No result like that stands that is not being worked on: nothing was changed.")
    return moved


async def inputs(session: AsyncSession) -> list[str]:
    """The names of the side inputs that the results of the last months used."""
    return [row["name"] for row in await fetch(session, "affected.inputs", {"days": INPUTS_DAYS})]


async def _by_app(session: AsyncSession, asked: ByApp, every_run: bool) -> Affected:
    if asked.version is not None and asked.before is not None:
        raise InvalidInput("Ask for one version, or for all before one; not for both.")
    if await session.scalar(select(App.id).where(App.name == asked.app)) is None:
        raise NotFound(f"There is no app named {asked.app!r}.", hint="`tidemill apps` lists them.")
    rows = await fetch(session, "affected.made", {"app": asked.app})
    for row in rows:
        row["name"] = row["said"] or row["version"]
        row["current"] = row["current"] and row["said"] is None
    wanted = _wanted_versions(rows, asked)
    params = {
        "made": _json([{"version": row["version_id"], "said": row["said"]} for row in wanted]),
        "versions": sorted({row["version_id"] for row in wanted}),
        "every_run": every_run,
    }
    return Affected(_told(rows, wanted), await _places(session, "affected.by_version", params))


def _wanted_versions(rows: Sequence[Row], asked: ByApp) -> list[Row]:
    named = asked.version or asked.before
    if named is None or (asked.before == CURRENT and asked.version is None):
        return [row for row in rows if not row["current"]]
    of = [row for row in rows if row["name"] == named]
    if not of:
        known = ", ".join(dict.fromkeys(row["name"] or "(unknown)" for row in rows)) or "none at all"
        raise NotFound(
            f"No result of {asked.app} was made by version {named!r}.", hint=f"There are results of: {known}."
        )
    if asked.version is not None:
        return of
    begun = min(row["seen_at"] for row in of)
    return [row for row in rows if row["seen_at"] < begun]


async def _by_input(session: AsyncSession, asked: ByInput, every_run: bool) -> Affected:
    if asked.sha256 is not None and asked.unlike is not None:
        raise InvalidInput("Ask for one checksum, or for all but one; not for both.")
    named = {"name": asked.input}
    rows = await fetch(session, "affected.used", {"input": asked.input, "named": _json([named])})
    if not rows:
        known = ", ".join(await inputs(session)) or "none"
        raise NotFound(f"No result used a side input {asked.input!r}.", hint=f"Those of late used: {known}.")
    for row in rows:
        row["name"], row["current"] = row["sha256"], row["sha256"] == (asked.unlike or rows[0]["sha256"])
    wanted = [row for row in rows if _is_wanted(row, asked)]
    if asked.sha256 is not None and not wanted:
        raise NotFound(f"No result used {asked.input!r} with the checksum {asked.sha256}.")
    checksums = sorted({row["sha256"] for row in wanted})
    params = {
        "input": asked.input,
        "checksums": checksums,
        "named": [_json([named | {"sha256": one}]) for one in checksums],
        "every_run": every_run,
    }
    return Affected(_told(rows, wanted), await _places(session, "affected.by_input", params))


def _is_wanted(row: Row, asked: ByInput) -> bool:
    return row["sha256"].startswith(asked.sha256.lower()) if asked.sha256 is not None else not row["current"]


def _told(rows: Iterable[Row], wanted: Sequence[Row]) -> list[Made]:
    keys = ("name", "results", "current", "first_at", "last_at")
    return [
        Made(**{key: row[key] for key in keys}, asked=row in wanted, url=row.get("url") or "", size=row.get("size"))
        for row in rows
    ]


async def _places(session: AsyncSession, statement: str, params: dict[str, Any]) -> Places:
    row = await fetch_one(session, statement, params)
    assert row is not None
    return Places(**row)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
