"""Registering: what the newest finished task of a package put out becomes its current computed file, exactly once.

The task's result is the truth. Whoever looks (a housekeeper, a command that waits) finds the packages whose newest
result is not the current file, makes sure that its bytes lie in the store, and then, in one transaction, lets the file
before give way and the new one be current. A kill at any moment leaves the question as it was, and the next look
answers it. So a result that a person promotes, or goes back to, is followed like one that has just come.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row, fetch, fetch_one
from tidemill.domain.package_plan import Order, read_plan
from tidemill.errors import InvalidInput, StorageError
from tidemill.publishing import objects
from tidemill.publishing.packed import Packed, read_packed
from tidemill.runner.housekeeping import Duty
from tidemill.storage.documents import DocumentStore

log = structlog.get_logger()

CHUNK = 200
MOST_STIRRED = 5000
SWEEP_SECONDS = 3600.0
"""Between two looks at all packages; what comes in between is found by the changes that tell of it."""

PATIENCE = 60.0
"""Seconds until a result that could not be registered is looked at again."""

DATASET = "dataset"
DATASET_DAYS = 7.0


@dataclass(frozen=True, slots=True)
class Registered:
    """A package whose newest result is now its computed file; `replaced`: the id of the one before."""

    item: int
    name: str
    file: int
    size: int
    replaced: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A result that could not be registered: of which package, until when it is not looked at again, and why."""

    item: int
    until: float
    """Monotonic seconds."""
    why: str


@dataclass(slots=True)
class Registrar:
    """Registers what is due. One that cannot be registered is said once, and tried again after a while."""

    documents: DocumentStore
    refused: dict[tuple[int, int], Refusal] = field(default_factory=dict)
    """By task and fence."""
    _seen: str | None = None
    """The database snapshot up to which changes were looked at; None: look at all packages."""
    _sweep_at: float = 0.0

    def duty(self) -> Duty:
        """What a housekeeper does about it."""
        return Duty("register packages", self.look, every=2.0, wakes=frozenset({"computed"}))

    async def look(self, database: Database) -> None:
        """Register what has come since the last look; at the first one, and every hour, all that is due."""
        async with database.begin() as session:
            asked = {"seen": self._seen, "most": MOST_STIRRED}
            stirred = await fetch_one(session, "computed_files.stirred", asked)
        assert stirred is not None
        if self._seen is None or stirred["many"] or time.monotonic() >= self._sweep_at:
            await self.register(database)
            self._sweep_at = time.monotonic() + SWEEP_SECONDS
        else:
            again = (one.item for one in self.refused.values() if time.monotonic() >= one.until)
            if items := sorted({*stirred["items"], *again}):
                await self.register(database, items)
        self._seen = stirred["seen"]

    async def register(self, database: Database, items: Sequence[int] | None = None) -> list[Registered]:
        """Register all that is due, or what is of these packages; what was. `refused` then has what could not be."""
        done: list[Registered] = []
        after = ""
        while True:
            async with database.begin() as session:
                rows = await _due(session, after, items, CHUNK)
            for row in rows:
                if (registered := await self._try(database, row)) is not None:
                    done.append(registered)
            if len(rows) < CHUNK:
                return done
            after = rows[-1]["name"]

    def why(self, task: int) -> str | None:
        """Why the newest result of a task is not registered, where it could not be."""
        return next((refusal.why for (one, _), refusal in self.refused.items() if one == task), None)

    async def _try(self, database: Database, row: Row) -> Registered | None:
        key = row["task"], row["fence"]
        if key in self.refused and time.monotonic() < self.refused[key].until:
            return None
        try:
            packed, order = await self._verified(database, row)
            async with database.begin() as session:
                registered = await _publish(session, row, packed, order)
        except (InvalidInput, StorageError) as error:
            if key not in self.refused:
                log.warning("a package cannot be registered", package=row["name"], task=row["task"], why=error.message)
            self.refused[key] = Refusal(row["item"], time.monotonic() + PATIENCE, error.message)
            return None
        self.refused = {one: refusal for one, refusal in self.refused.items() if refusal.item != row["item"]}
        if registered is not None:
            log.info("package published", package=row["name"], size=packed.size, sha256=packed.sha256)
        return registered

    async def _verified(self, database: Database, row: Row) -> tuple[Packed, Order]:
        """What a task put out, and the plan that it had, once its bytes are seen in the store."""
        plan, output = await self._read(database, row["plan"], row["output"])
        packed, order = read_packed(output), read_plan(plan)
        if (packed.name, packed.fingerprint) != (order.name, order.fingerprint):
            raise InvalidInput(f"{row['name']} was not made from its plan: it was put out as {packed.name!r}.")
        size = await objects.size_of(packed.store, order.store.options, packed.key)
        if size is None:
            raise StorageError(f"{row['name']} is not at {packed.store}/{packed.key}.", hint="Re-run its task.")
        if size != packed.size:
            raise StorageError(f"{row['name']} should have {packed.size:,} bytes; {packed.key} has {size:,}.")
        return packed, order

    async def _read(self, database: Database, *documents: str) -> list[bytes]:
        asked = {"documents": orjson.dumps(documents).decode()}
        async with database.begin() as session:
            found = {row["sha256"]: row for row in await fetch(session, "computed_files.documents", asked)}
        if missing := [one for one in documents if one not in found]:
            raise StorageError(f"Document {missing[0][:12]}… is not there.")
        return [await self.documents.read(one, found[one]["body"], found[one]["location"]) for one in documents]


async def _due(session: AsyncSession, after: str, items: Sequence[int] | None, most: int) -> list[Row]:
    params = {"after": after, "items": None if items is None else list(items), "n": most}
    return await fetch(session, "computed_files.due", params, prepare=False)


async def _publish(session: AsyncSession, row: Row, packed: Packed, order: Order) -> Registered | None:
    """Make it current, if it is still due: somebody else may have been quicker, or the result another by now. Where it
    is the same object as the current one, that stays, and says who made it last."""
    item = {"item": row["item"]}
    await fetch(session, "computed_files.hold", item)
    due = await _due(session, "", [row["item"]], 1)
    if not due or (due[0]["task"], due[0]["fence"]) != (row["task"], row["fence"]):
        return None
    told = {"task": row["task"], "fence": row["fence"]}
    same = item | told | {"store": packed.store, "key": packed.key, "sha256": packed.sha256}
    if (kept := await fetch_one(session, "computed_files.same", same)) is not None:
        return Registered(row["item"], row["name"], kept["id"], packed.size, None)
    before = await fetch_one(session, "computed_files.replace", item)
    made = await fetch_one(session, "computed_files.again", told)
    if made is None:
        values = await _values(session, row, packed, order)
        made = await fetch_one(session, "computed_files.publish", values)
        assert made is not None
        held = {"file": made["id"], "items": orjson.dumps(order.items).decode()}
        await fetch(session, "computed_files.holds", held)
    await fetch(session, "computed_files.tell", item | {"state": "published"})
    return Registered(row["item"], row["name"], made["id"], packed.size, before["id"] if before else None)


async def _values(session: AsyncSession, row: Row, packed: Packed, order: Order) -> Row:
    expires: float | None = None
    if order.package == DATASET:
        site = await fetch_one(session, "package_runs.publishing")
        days = (site["publishing"] if site else {}).get("dataset_days", DATASET_DAYS)
        expires = 86400 * float(days)
    return {
        "item": row["item"],
        "project": order.project,
        "package": order.package,
        "name": order.name,
        "store": packed.store,
        "options": orjson.dumps(dict(order.store.options)).decode(),
        "key": packed.key,
        "size": packed.size,
        "sha256": packed.sha256,
        "etag": packed.etag,
        "fingerprint": packed.fingerprint,
        "attributes": orjson.dumps(dict(order.attributes)).decode(),
        "files": packed.files,
        "task": row["task"],
        "fence": row["fence"],
        "expires": expires,
    }
