"""The one place that wires settings → database → services → doors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.catalogue import field_index
from tidemill.catalogue.sync import reader
from tidemill.db.currency import is_current
from tidemill.db.database import Database, Row
from tidemill.db.embedded import EmbeddedServer
from tidemill.executors.addresses import AddressPolicy
from tidemill.executors.own_folder import own_folder
from tidemill.executors.registry import make_executors
from tidemill.executors.workbench import Workbench
from tidemill.publishing.registering import Registrar
from tidemill.publishing.removing import removing
from tidemill.runner import watch
from tidemill.runner.housekeeping import DUTIES, Duty, Housekeeping, prune_changes
from tidemill.runner.link import DatabaseLink
from tidemill.runner.schedules import Doer
from tidemill.runner.worker import Pace, Worker
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore
from tidemill.storage.files import FileStore

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.types import ASGIApp

    from tidemill.executors.contract import Report
    from tidemill.runner.remote_client import SiteClient
    from tidemill.runner.remote_desk import Desk
    from tidemill.runner.spool import Spool


@dataclass(frozen=True, slots=True)
class Site:
    """A site that is open: its database is up and its schema is current."""

    settings: Settings
    database: Database
    documents: DocumentStore
    addresses: AddressPolicy
    url: str
    """The database's address (libpq form, with the password): for `tidemill db shell`, never for a page or a log."""

    @property
    def files(self) -> FileStore:
        """The store of what steps put out."""
        return FileStore(self.settings.files_url)

    def workbench(self) -> Workbench:
        """Where this site's steps handle files."""
        return Workbench(own_folder(self.settings.work_folder), self.files)

    def desk(self) -> Desk:
        """Where workers without a database are served."""
        from tidemill.runner.remote_desk import Desk
        from tidemill.runner.remote_uploads import Uploads

        folder, key = self.settings.work_folder / "uploads", self.settings.signing_key("uploads")
        uploads = Uploads(folder, key, self.documents, self.files, self.settings.files_url)
        return Desk(self.database, self.documents, uploads, longest_lease=self.settings.longest_lease)

    def housekeeping(self) -> Housekeeping:
        """What the site does by itself; see `runner/housekeeping.py`."""
        from tidemill.publishing import datasets  # with all that plans packages

        clock = Doer(self.documents, reader(self.database)).duties()
        days = self.settings.changes_kept
        pruning = [prune_changes(days)] if days else []
        packages = (Registrar(self.documents).duty(), removing(), *datasets.duties())
        lists = Duty("declared fields", field_index.tend, every=10.0)
        return Housekeeping(self.database, (*DUTIES, *watch.duties(self.documents), *clock, *packages, lists, *pruning))

    @asynccontextmanager
    async def keeping_house(self) -> AsyncIterator[None]:
        """Within: this process does its part of the housekeeping."""
        job = asyncio.create_task(self.housekeeping().run())
        try:
            yield
        finally:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)

    def worker(self, functions: Mapping[str, Callable[..., Any]] | None = None, slots: int | None = None) -> Worker:
        """A worker of this site. `functions`: the Python steps that it has, by name."""
        bench = self.workbench()
        executors = make_executors(
            allowed_addresses=self.settings.app_addresses, functions=functions or {}, bench=bench, builder=_built
        )
        pace = Pace(slots or self.settings.slots, self.settings.lease, self.settings.poll)
        return Worker(
            DatabaseLink(self.database),
            executors,
            self.documents,
            pace=pace,
            functions=tuple(f"python:{name}" for name in functions or {}),
            bench=bench,
        )

    def packer(self, slots: int, packers: Mapping[str, str]) -> Worker:
        """A worker of this site that makes packages and nothing else, so many at once. `packers`: the apps that pack,
        with their kinds."""
        from tidemill.executors.package import PackageExecutor

        bench = self.workbench()
        every = make_executors(allowed_addresses=self.settings.app_addresses, bench=bench, builder=_built)
        every["package"] = PackageExecutor(_built, slots)
        executors = {kind: engine for kind, engine in every.items() if kind in packers.values()}
        pace = Pace(slots, self.settings.lease, self.settings.poll)
        link = DatabaseLink(self.database)
        return Worker(link, executors, self.documents, pace=pace, bench=bench, apps=list(packers))


async def _built(plan: bytes, report: Report) -> bytes:
    """What the engine of packages builds with."""
    from tidemill.publishing.build import build

    return (await build(plan, report)).document()


def remote_worker(
    settings: Settings,
    client: SiteClient,
    spool: Spool,
    functions: Mapping[str, Callable[..., Any]],
    *,
    slots: int,
    lease: float | None = None,
) -> Worker:
    """A worker that reaches its site over HTTP and has no database; `settings` are those of its own machine."""
    from tidemill.runner.remote import RemoteLink
    from tidemill.runner.remote_files import RemoteDocuments, RemoteFiles

    link = RemoteLink(client, spool)
    bench = Workbench(spool.work, RemoteFiles(link))
    executors = make_executors(
        allowed_addresses=settings.app_addresses, functions=functions, bench=bench, builder=_built
    )
    return Worker(
        link,
        executors,
        RemoteDocuments(link),
        pace=Pace(slots, lease or settings.lease, settings.poll),
        functions=tuple(f"python:{name}" for name in functions),
        bench=bench,
    )


def make_web(site: Site) -> ASGIApp:
    """The site's pages, API and live socket as one ASGI app, behind its key (`web.serve.serving` serves it)."""
    # Imported only where something is served: commands that do not should start quickly.
    from tidemill.api.app import make_api
    from tidemill.api.live import live_socket
    from tidemill.api.portal.app import make_portal_api
    from tidemill.api.problems import status_of
    from tidemill.feed.live import LiveFeed
    from tidemill.runner import look
    from tidemill.web.app import make_app

    async def some_runs(session: AsyncSession, ids: Sequence[int]) -> list[Row]:
        return await look.runs(session, ids=ids)

    feed = LiveFeed(site.database, look.overview, some_runs)
    desk = site.desk()
    api = make_api(site, feed, desk)
    portal_api = make_portal_api(site)
    live = live_socket(feed)
    return make_app(site, feed, api=api, portal_api=portal_api, live=live, status_of=status_of, beside=[desk.run])


@asynccontextmanager
async def open_site(settings: Settings, *, migrate: bool = True) -> AsyncIterator[Site]:
    """Open a site: start or join the embedded server unless a URL is set, and bring the schema up to date."""
    server = None if settings.database_url else EmbeddedServer(settings.database_folder)
    url = await server.start() if server else str(settings.database_url)

    async def address() -> str:
        return await server.ensure() if server else url

    if migrate and not await asyncio.to_thread(is_current, url):
        from tidemill.db import schema  # brings Alembic along, which most commands need not wait for

        await asyncio.to_thread(schema.migrate, url)
    database = Database(address)
    watch = asyncio.create_task(server.watch()) if server else None
    try:
        yield Site(
            settings,
            database,
            DocumentStore(settings.documents_url, settings.inline_limit),
            AddressPolicy(settings.app_addresses),
            url,
        )
    finally:
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await database.close()
        if server is not None:
            await server.stop()
