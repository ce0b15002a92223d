"""Strays: what builders left in stores, and no record points to.

A cancelled task, a killed process, a lost race may leave a package that nothing names, or an upload that was never
finished. Such a thing is ours only if a task of this site was given a plan that names this key in this store, so what
other people put beside it is never touched; nor what other sites did, unless they plan the very same packages into the
same store, as a copy of a site does: such need stores, or folders in them, of their own. It is a stray only once it is
old by the store's own clock, and neither a record nor anything in the works may mean it. What a purge of a project left
on purpose stays.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row, fetch, fetch_one
from tidemill.domain.package_plan import StorePlace, read_plan
from tidemill.errors import InvalidInput, TidemillError
from tidemill.publishing import store_contents
from tidemill.publishing.package_runs import place
from tidemill.publishing.store_contents import Lying
from tidemill.storage.documents import DocumentStore

log = structlog.get_logger()

DAY = 86400.0
LEAST = 3600.0
"""Seconds; what is younger may be in the hands of a builder that nobody here knows of any more."""
MOST = 36500 * DAY


@dataclass(frozen=True, slots=True)
class Stray:
    """Something that no record points to. `removed`: whether it was taken away."""

    place: StorePlace
    lies: Lying
    removed: bool = False

    @property
    def which(self) -> tuple[str, str, str, str]:
        """What tells it from all others: store, kind, key, upload."""
        return self.place.url, self.lies.kind, self.lies.key, self.lies.upload

    def told(self) -> Row:
        """For programs."""
        one = self.lies
        told = {"kind": one.kind, "store": self.place.url, "key": one.key, "size": one.size, "at": one.at}
        return told | {"removed": self.removed}


@dataclass(slots=True)
class Sweep:
    """What a look at the stores came to."""

    strays: list[Stray] = field(default_factory=list)
    looked: int = 0
    """Things under keys of packages."""
    young: int = 0
    """That no record points to, and are too young to tell."""
    busy: int = 0
    """Whose packages are in the works."""
    foreign: int = 0
    """That no plan of this site names: another's, and left alone."""
    forgotten: int = 0
    """That a purge of their project left where they lie."""
    troubles: list[str] = field(default_factory=list)
    """Stores that could not be looked at, or things that could not be taken away, and why."""

    @property
    def size(self) -> int:
        """Bytes of all strays, as far as it is known."""
        return sum(one.lies.size for one in self.strays)


@dataclass(slots=True)
class Sweeper:
    """Looks for strays in all stores that packages were put into, or are to be; `folder`: where those lie that are not
    uploaded. `older_than` seconds."""

    database: Database
    documents: DocumentStore
    folder: Path
    older_than: float = DAY

    async def sweep(self, *, remove: bool = False, shown: Sequence[Stray] | None = None) -> Sweep:
        """Find strays and, if asked, take them away; those alone that somebody was shown, if given, as far as they
        still are strays. Repeating it is harmless."""
        done = Sweep()
        only = None if shown is None else {stray.which for stray in shown}
        for where in await self._places():
            try:
                before = await store_contents.now_in(where) - dt.timedelta(seconds=self.older_than)
                async for chunk in store_contents.lying(where):
                    found = await self._look(done, where, chunk, before)
                    for stray in found if only is None else [one for one in found if one.which in only]:
                        done.strays.append(await self._taken(done, stray) if remove else stray)
            except TidemillError as error:
                done.troubles.append(_words(error))
        return done

    async def _places(self) -> list[StorePlace]:
        async with self.database.begin() as session:
            rows = await fetch(session, "strays.places")
            site = await fetch_one(session, "package_runs.publishing")
        found = {row["url"]: StorePlace(row["url"], row["options"]) for row in rows}
        publishing = site["publishing"] if site else {}
        for one in (
            place({}, self.folder),
            *([place(publishing, self.folder, upload=True)] if publishing.get("store") else []),
        ):
            found[one.url] = one
        return [found[url] for url in sorted(found)]

    async def _look(self, done: Sweep, where: StorePlace, chunk: Sequence[Lying], before: dt.datetime) -> list[Stray]:
        done.looked += len(chunk)
        async with self.database.begin() as session:
            unclear = await self._unclear(session, done, where, chunk)
            old = [one for one in unclear if one.at < before]
            done.young += len(unclear) - len(old)
            return [Stray(where, one) for one in await self._ours(session, done, where, old)]

    async def _taken(self, done: Sweep, stray: Stray) -> Stray:
        """The same, taken away if it can be."""
        try:
            return replace(stray, removed=await self._remove(stray.place, stray.lies))
        except TidemillError as error:
            done.troubles.append(_words(error))
            return stray

    async def _unclear(
        self, session: AsyncSession, done: Sweep, where: StorePlace, chunk: Sequence[Lying]
    ) -> list[Lying]:
        """Those that no record points to and that nothing in the works may mean."""
        rows = await _known(session, where, chunk)
        done.busy += sum(row["busy"] and not row["pointed"] for row in rows)
        return [chunk[row["n"]] for row in rows if not (row["pointed"] or row["busy"])]

    async def _ours(self, session: AsyncSession, done: Sweep, where: StorePlace, found: Sequence[Lying]) -> list[Lying]:
        """Those that a task of this site was to write, dead part files in a folder of packages, and trials."""
        rest = [one for one in found if one.kind in ("package", "upload")]
        items = {row["item"] for row in await _known(session, where, rest) if row["item"] is not None}
        named: dict[str, bool] = {}
        for row in await fetch(session, "strays.plans", {"items": sorted(items)}) if items else ():
            try:
                order = read_plan(await self.documents.read(row["sha256"], row["body"], row["location"]))
            except TidemillError:  # no plan, or lost: then it proves nothing
                continue
            if order.store.url == where.url:
                named[order.key] = row["kept"] or named.get(order.key, False)
        done.foreign += sum(one.key not in named for one in rest)
        done.forgotten += sum(named.get(one.key, False) for one in rest)
        dead = await self._dead(done, where, [one for one in found if one.kind == "part"])
        trials = [one for one in found if one.kind == "trial"]
        return [*dead, *trials, *(one for one in rest if named.get(one.key) is False)]

    async def _dead(self, done: Sweep, where: StorePlace, parts: Sequence[Lying]) -> list[Lying]:
        """The part files that no builder holds."""
        dead = []
        for one in parts:
            try:
                if await store_contents.abandoned(where, one):
                    dead.append(one)
                else:
                    done.busy += 1
            except TidemillError as error:
                done.troubles.append(f"{one.key}: {_words(error)}")
        return dead

    async def _remove(self, where: StorePlace, one: Lying) -> bool:
        """Take one away, if it still is a stray. While it does, no task of the package can begin, nor be done again."""
        async with self.database.begin() as session:
            if (held := await fetch_one(session, "strays.hold", {"name": one.name})) is not None:
                await fetch(session, "computed_files.hold_tasks", {"item": held["id"]})
            (row,) = await _known(session, where, [one])
            if row["pointed"] or row["busy"]:
                return False
            taken = await store_contents.take_away(where, one)
        if taken:
            log.info("stray removed", kind=one.kind, store=where.url, key=one.key, size=one.size)
        return taken


def check_age(seconds: float) -> float:
    """How old strays must be. Raises InvalidInput for what is too young to be told."""
    if seconds < LEAST:
        raise InvalidInput(
            "Less than an hour is too young to tell: a builder may be at it that nobody here knows of any more.",
            hint="Give 1h or more.",
        )
    if seconds > MOST:
        raise InvalidInput("Nothing in a store is that old.", hint="36500d is the most.")
    return seconds


def _words(error: TidemillError) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message


async def _known(session: AsyncSession, where: StorePlace, chunk: Sequence[Lying]) -> list[Row]:
    """What is known of each: `n, item, pointed, busy`. What is no finished package, no record points to; a package is
    busy, too, while a result of it is yet to be published."""
    if not chunk:
        return []
    asked = [{"n": n, "key": one.key, "name": one.name} for n, one in enumerate(chunk)]
    params = {"found": orjson.dumps(asked).decode(), "scheme": urlsplit(where.url).scheme}
    rows = await fetch(session, "strays.known", params, prepare=False)
    due = await _due(session, {row["item"] for row in rows if row["item"] is not None})
    for row in rows:
        row["pointed"] = row["pointed"] and chunk[row["n"]].kind == "package"
        row["busy"] = row["busy"] or row["item"] in due
    return rows


async def _due(session: AsyncSession, items: Collection[int]) -> Collection[int]:
    """Those of these packages of which a result is yet to be published."""
    if not items:
        return ()
    asked = {"after": "", "items": sorted(items), "n": len(items)}
    return {row["item"] for row in await fetch(session, "computed_files.due", asked, prepare=False)}
