"""Taking a CouchDB database over: all that there is, then what changes, until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tidemill.catalogue import imports
from tidemill.catalogue.couchdb import Address, Change, CouchDB, Interrupted, connected, is_behind
from tidemill.catalogue.imports import Counts, Wish
from tidemill.db.database import Database
from tidemill.errors import DatabaseUnavailable

T = TypeVar("T")

LONGEST_PAUSE = 30.0


class Stopped(Exception):
    """Somebody said stop while there was something to wait for."""


@dataclass(frozen=True, slots=True)
class Told:
    """What happened: the counts of all pages so far, and what there is to say beside them."""

    counts: Counts
    caught_up: bool = False
    trouble: str = ""


class CouchDBImport:
    """One import. The position is written with the records, so it may be killed at any moment and begun again."""

    def __init__(
        self,
        database: Database,
        address: Address,
        wish: Wish,
        *,
        page: int = 500,
        told: Callable[[Told], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._address = address
        self._wish = wish
        self._page = page
        self._told = told
        self._stop = asyncio.Event()
        self.counts = Counts()

    def stop(self) -> None:
        """Finish the page in hand, and end."""
        self._stop.set()

    async def run(self, *, follow: bool) -> Counts:
        """Take over what there is; with `follow` also what changes from then on, until `stop`.

        Raises ImportRefused, NotFound, Conflict. Once it follows, it waits for a system or database that is away.
        """
        try:
            async with connected(self._address) as couch:
                await self._catch_up(couch, await self._begin(couch))
                while follow and not self._stop.is_set():
                    await self._follow(couch)
        except Stopped:
            pass
        return self.counts

    async def _begin(self, couch: CouchDB) -> str:
        """The position to go on from. A database there that was made anew is read from its beginning."""
        newest = await self._or_stopped(couch.look())
        async with self._database.begin() as session:
            position = await imports.begin(session, self._wish.name)
            if is_behind(newest, position):
                await imports.restart(session, self._wish.name)
                self._told(
                    Told(self.counts, trouble="The database there was made anew: it is read from its beginning.")
                )
                position = ""
        return position

    async def _catch_up(self, couch: CouchDB, position: str) -> str:
        """Page by page until nothing more comes."""
        while not self._stop.is_set():
            page = await self._or_stopped(couch.changes(position, self._page))
            if not page.changes:
                break
            position = await self._take(page.changes, position, page.seq)
        self._told(Told(self.counts, caught_up=True))
        return position

    async def _follow(self, couch: CouchDB) -> None:
        """Wait for changes and take them; after a cut from the position that the database holds."""
        pause = 1.0
        while not self._stop.is_set():
            try:
                position = await self._begin(couch)
                while not self._stop.is_set():
                    page = await self._or_stopped(couch.changes(position, self._page, wait=True))
                    pause = 1.0
                    if page.changes:
                        position = await self._take(page.changes, position, page.seq)
            except (Interrupted, DatabaseUnavailable) as error:
                self._told(Told(self.counts, trouble=f"{error.message} Trying again."))
                await self._or_stopped(asyncio.sleep(pause))
                pause = min(LONGEST_PAUSE, 2 * pause)

    async def _take(self, changes: list[Change], since: str, seq: str) -> str:
        async with self._database.begin() as session:
            counts = await imports.take(session, self._wish, changes, since, seq)
        self.counts.add(counts)
        self._told(Told(self.counts))
        return seq

    async def _or_stopped(self, work: Awaitable[T]) -> T:
        """Wait for something, but not longer than until `stop`. Raises Stopped."""
        job = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({job, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                raise Stopped
            return job.result()
        finally:
            job.cancel()
            stop.cancel()
            await asyncio.gather(job, stop, return_exceptions=True)
