"""Datasets: what one person gathers from several projects, sees the size of, asks for, watches, and downloads in time.

Nobody but its owner (the holder of the token that made it) and the site's operators learn of a dataset.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.accounts import people
from tidemill.accounts.people import Person, checked_email
from tidemill.db.database import Database, Row, fetch, fetch_one
from tidemill.domain.dataset_contents import read_contents
from tidemill.domain.package_plan import PackagePlan
from tidemill.domain.places import without_places
from tidemill.domain.stored_json import written
from tidemill.errors import Conflict, InvalidFields, InvalidInput, NotFound, SiteUnavailable, TooMany
from tidemill.publishing import package_runs
from tidemill.publishing.dataset_planning import dataset_plan
from tidemill.runner.housekeeping import Duty
from tidemill.storage.documents import DocumentStore

OPEN_DAYS = 30
"""Days after which a dataset is forgotten that nobody changed or asked for."""

MOST_OPEN = 100
MOST_STARTED = 50
"""Of one person: datasets that were not asked for, and those that were asked for within a day."""

PATIENCE = 3.0
"""Seconds that a dataset waits for others who make runs of packages."""

_FIELDS = frozenset({"format", "email", "data", "start"})


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as it stands."""

    id: uuid.UUID
    email: str
    format: str
    data: Mapping[str, Any]
    size: int
    """Bytes of the files in it; of the package, once there is one."""
    files: int
    state: str
    """`open` (not asked for yet), `processing`, `succeeded`, `failed`, `expired`."""
    reason: str
    """Why it failed."""
    progress: float | None
    """While it is processed: how much of it, of 1; None where the builder has not said."""
    note: str
    """While it is processed: what it waits for, or what is done."""
    created_at: dt.datetime
    updated_at: dt.datetime
    started_at: dt.datetime | None
    succeeded_at: dt.datetime | None
    failed_at: dt.datetime | None
    expires_at: dt.datetime | None
    run: int | None
    file: Row | None
    """Its computed file while it can be downloaded: `{id, name, size, sha256, files, created_at}`."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody says of a dataset; None: nothing."""

    format: str | None = None
    email: str | None = None
    data: Any = None
    start: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site keeps plans, and packages that are not uploaded."""

    documents: DocumentStore
    folder: Path


async def create(session: AsyncSession, place: Place, person: Person | None, wish: Wish) -> Dataset:
    """A new dataset of a person (None: an operator's), checked against the catalogue; started if the wish says so.

    Raises InvalidFields that names every fault, TooMany.
    """
    if person is not None:
        await _check_crowd(session, person, start=wish.start)
    email = _email(wish, person.email if person is not None else "")
    data = {} if wish.data is None else wish.data
    plan = await _planned(session, place, wish.format or "", data)
    row = await fetch_one(
        session,
        "datasets.create",
        {
            "person": person.id if person is not None else None,
            "email": email,
            "format": wish.format or "",
            "contents": written(data),
            "size": plan.size if plan else 0,
            "files": plan.files if plan else 0,
        },
    )
    assert row is not None
    if wish.start:
        await _start(session, place, row["id"], plan)
    return await get(session, person, row["id"])


async def change(session: AsyncSession, place: Place, person: Person | None, id_: uuid.UUID, wish: Wish) -> Dataset:
    """Other contents for a dataset that was not asked for yet, or start it; one that failed or has expired can be
    started again. Raises NotFound, Conflict where it is being built or was, InvalidFields, TooMany.
    """
    await _held(session, person, id_)
    now = await get(session, person, id_)
    data = now.data if wish.data is None else wish.data
    format_ = now.format if wish.format is None else wish.format
    if now.state != "open" and (data, format_) != (now.data, now.format):
        raise Conflict("This dataset was asked for: what is in it stays.", hint="Make another.")
    if now.state in ("processing", "succeeded"):
        if wish.start:
            return now  # asked for twice is asked for once
        raise Conflict("This dataset was asked for already.", hint="It can be asked for again when it has expired.")
    if wish.start and person is not None:
        await _check_crowd(session, person, start=True)
    plan = await _planned(session, place, format_, data)
    params = {"id": id_, "email": _email(wish, now.email), "format": format_, "contents": written(data)}
    sizes = {"size": plan.size if plan else 0, "files": plan.files if plan else 0}
    await fetch(session, "datasets.change", params | sizes)
    if wish.start:
        await _start(session, place, id_, plan)
    return await get(session, person, id_)


async def get(session: AsyncSession, person: Person | None, id_: uuid.UUID) -> Dataset:
    """One dataset of a person (None: whoever's, for operators). Raises NotFound."""
    found, _ = await _listed(session, person, id_, 1, 0)
    if not found:
        raise NotFound(f"There is no dataset {id_}.")
    return found[0]


async def mine(
    session: AsyncSession, person: Person | None, *, limit: int = 10, offset: int = 0
) -> tuple[list[Dataset], int]:
    """A person's datasets (None: everybody's, for operators), the newest first, and how many there are."""
    return await _listed(session, person, None, limit, offset)


async def hold_basket(session: AsyncSession, person: Person) -> None:
    """Let nobody else who does so change what a person gathers, until the transaction ends: who adds to what is there
    must not lose what others add meanwhile."""
    await fetch(session, "datasets.hold_basket", {"person": person.id})


async def drop(session: AsyncSession, person: Person | None, id_: uuid.UUID) -> None:
    """Forget a dataset; what was built of it goes when its time is over. Raises NotFound."""
    await _held(session, person, id_)
    await fetch(session, "datasets.drop", {"id": id_})


async def _tidy(database: Database) -> None:
    async with database.begin() as session:
        await fetch(session, "datasets.prune", {"days": OPEN_DAYS})
        await people.prune(session)


def duties() -> list[Duty]:
    """What a site does by itself: forget datasets that were left lying, and tokens that were never activated."""
    return [Duty("forget open datasets and tokens", _tidy, every=3600.0)]


def wish_of(body: Mapping[str, Any]) -> Wish:
    """What a body of the API says. Raises InvalidFields for what it cannot say."""
    faults: dict[str, list[str]] = {}
    for name in ("format", "email"):
        if not isinstance(body.get(name, ""), str | None):
            faults[name] = ["Not a valid string."]
    if not isinstance(body.get("start", False), bool | None):
        faults["start"] = ["Must be a valid boolean."]
    for name in body.keys() - _FIELDS:
        faults[name] = [f"There is no such field; there are: {', '.join(sorted(_FIELDS))}."]
    if faults:
        raise InvalidFields(faults)
    return Wish(body.get("format"), body.get("email"), body.get("data"), bool(body.get("start")))


async def _planned(session: AsyncSession, place: Place, format_: str, data: Any) -> PackagePlan | None:
    """The plan of these contents; None where there are none yet."""
    wanted = read_contents(data)
    if not wanted:
        return None
    store = await package_runs.store_of_site(session, place.folder)
    return await dataset_plan(session, format_, wanted, store)


async def _start(session: AsyncSession, place: Place, id_: uuid.UUID, plan: PackagePlan | None) -> None:
    """Let the package of a dataset be built, unless it is there or somebody is at it."""
    if plan is None:
        raise InvalidFields({"data": ["There is nothing in it yet."]})
    await _alone(session)
    await fetch(session, "datasets.hold_package", {"name": plan.name})
    await package_runs.begin_plans(session, place.documents, [plan])
    row = await fetch_one(
        session, "datasets.start", {"id": id_, "name": plan.name, "size": plan.size, "files": plan.files}
    )
    if row is None:
        raise InvalidInput(f"The package {plan.name} could not be made.")


async def _alone(session: AsyncSession) -> None:
    """Wait a little while somebody plans packages. Raises SiteUnavailable: nobody's page should hang for minutes."""
    ends = time.monotonic() + PATIENCE
    while not (await fetch(session, "datasets.alone"))[0]["alone"]:
        if time.monotonic() > ends:
            raise SiteUnavailable("The site is planning its packages now.", hint="Ask again in a minute.")
        await asyncio.sleep(0.1)


async def _held(session: AsyncSession, person: Person | None, id_: uuid.UUID) -> None:
    params = {"id": id_, "person": person.id if person is not None else None}
    if await fetch_one(session, "datasets.hold", params) is None:
        raise NotFound(f"There is no dataset {id_}.")


async def _check_crowd(session: AsyncSession, person: Person, *, start: bool) -> None:
    seen = await fetch_one(session, "datasets.crowd", {"person": person.id})
    if seen is not None and seen["open"] >= MOST_OPEN:
        raise TooMany(f"You have {seen['open']} datasets that you did not ask for.", hint="Drop some, or start them.")
    if seen is not None and start and seen["started"] >= MOST_STARTED:
        raise TooMany(f"You asked for {seen['started']} datasets within a day.", hint="Ask again tomorrow.")


def _email(wish: Wish, otherwise: str) -> str:
    return otherwise if wish.email is None else checked_email(wish.email)


async def _listed(
    session: AsyncSession, person: Person | None, id_: uuid.UUID | None, limit: int, offset: int
) -> tuple[list[Dataset], int]:
    params = {"id": id_, "person": person.id if person is not None else None, "limit": limit, "offset": offset}
    rows = await fetch(session, "datasets.listing", params, prepare=False)  # planned for what is asked: see its indexes
    found = [_dataset(row) for row in rows]
    if person is not None:
        found = [replace(one, reason=without_places(one.reason), note=without_places(one.note)) for one in found]
    return found, rows[0]["total"] if rows else 0


def _dataset(row: Row) -> Dataset:
    state = row["state"]
    file = None
    if state == "succeeded":
        file = {
            "id": row["file"],
            "name": row["file_name"],
            "size": row["file_size"],
            "sha256": row["sha256"],
            "files": row["file_files"],
            "created_at": row["file_created_at"],
        }
    return Dataset(
        id=row["id"],
        email=row["email"],
        format=row["format"],
        data=row["data"],
        size=row["file_size"] if file else row["size"],
        files=row["file_files"] if file else row["files"],
        state=state,
        reason=(row["reason"] or "Its package is not there any more.") if state == "failed" else "",
        progress=row["progress"] if state == "processing" else None,
        note=_note(row) if state == "processing" else "",
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        started_at=row["started_at"],
        succeeded_at=row["succeeded_at"] if file else None,
        failed_at=row["finished_at"] if state == "failed" else None,
        expires_at=row["expires_at"] if state in ("succeeded", "expired") else None,
        run=row["run"],
        file=file,
    )


def _note(row: Row) -> str:
    if row["task_state"] == "waiting":
        return f"waiting: {row['reason']}" if row["reason"] else "waiting"
    return "being checked" if row["task_state"] == "done" else "being built"
