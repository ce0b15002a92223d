"""A site with packages to be made of a real folder: its source, its declarations, workers that pack."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import text

from tidemill.db.database import Database, Row
from tidemill.db.models import File, Item, ItemFile, Project, ProjectItem, Site, Source
from tidemill.executors.addresses import AddressPolicy
from tidemill.main import Site as OpenSite
from tidemill.publishing import package_runs
from tidemill.publishing.package_runs import Begun, Wish
from tidemill.publishing.registering import Registered, Registrar
from tidemill.publishing.removing import Removed, remove_replaced
from tidemill.runner import redo, runs
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore

PACKAGES = [
    {
        "name": "all",
        "per": "project",
        "file": "{project}_ALL.zip",
        "files": [{"into": "{item}/{name}"}],
        "attributes": {"format": "BIN"},
    },
    {"name": "single", "per": "item", "file": "{item}.zip", "files": [{"into": "{name}"}]},
]


class Portal:
    """A folder with files of items in projects, catalogued, and the declarations of two packages."""

    def __init__(self, database: Database, documents: DocumentStore, folder: Path, database_url: str = "") -> None:
        self.database, self.documents = database, documents
        self.folder = folder / "bucket"
        self.settings = Settings(site=folder / "site", database_url=database_url or None, slots=8, poll=0.2)
        self.packages = self.settings.packages_folder
        self.registrar = Registrar(documents)
        self.site = OpenSite(self.settings, database, documents, AddressPolicy(), database_url)

    async def lay(self, *items: str, project: str = "P1") -> None:
        """These items with a file each, in a project; the site's declarations with the first."""
        async with self.database.begin() as session:
            if await session.get(Site, 1) is None:
                session.add(Site(id=1, title="Lab", packages=PACKAGES, publishing={}))
                session.add(Source(name="bucket", url=self.folder.as_uri()))
                await session.flush()
            source = await session.scalar(text("select id from source"))
            place = Project(name=project)
            session.add(place)
            await session.flush()
            for name in items:
                await self._item(session, name, place.id, source)

    async def _item(self, session: Any, name: str, project: int, source: int) -> None:
        key = f"{name}/{name}.bin"
        size, etag = self.write(key, name)
        item = Item(name=name)
        file = File(source_id=source, key=key, size=size, etag=etag, project_id=project)
        session.add_all([item, file])
        await session.flush()
        session.add_all([ProjectItem(project_id=project, item_id=item.id), ItemFile(item_id=item.id, file_id=file.id)])

    def write(self, key: str, body: str) -> tuple[int, str]:
        """Write a file of the bucket; its size and ETag as a sync would see them."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body * 1000, encoding="utf-8")
        seen = path.stat()
        return seen.st_size, f"{seen.st_mtime_ns:x}-{seen.st_size:x}"

    async def change(self, item: str, body: str) -> None:
        """Other bytes in an item's file, and the catalogue knows."""
        key = f"{item}/{item}.bin"
        size, etag = self.write(key, body)
        await self.run_sql("update file set size = :size, etag = :etag where key = :key", size=size, etag=etag, key=key)

    async def publish(self, **settings: Any) -> None:
        """What the site says of publishing."""
        await self.run_sql("update site set publishing = cast(:to as jsonb)", to=orjson.dumps(settings).decode())

    async def begin(self, **wish: Any) -> Begun:
        async with self.database.begin() as session:
            return await package_runs.begin(session, self.documents, Wish(self.packages, **wish))

    async def register(self) -> list[Registered]:
        return await self.registrar.register(self.database)

    async def remove(self, **how: Any) -> list[Removed]:
        return await remove_replaced(self.database, **how)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Any]:
        """A worker of the site, at work."""
        worker = self.site.packer(8, {"package-builder": "package"})
        job = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(job, 60)

    async def work(self, run: int | None) -> None:
        """Let a worker work until a run is over."""
        assert run is not None
        async with self.working():
            await self.until("select count(*) = 0 from run where id = :run and state = 'active'", run=run)

    async def until(self, question: str, seconds: float = 60, **params: Any) -> None:
        async with asyncio.timeout(seconds):
            while not await self.value(question, **params):
                await asyncio.sleep(0.02)

    async def until_there(self, path: Path, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not path.exists():
                await asyncio.sleep(0.02)

    async def made(self, **wish: Any) -> Begun:
        """Begin, work, register."""
        begun = await self.begin(**wish)
        if begun.run is not None:
            await self.work(begun.run)
        await self.register()
        return begun

    async def rerun(self, run: int | None, package: str) -> None:
        async with self.database.begin() as session:
            await redo.rerun(session, run or 0, 0, redo.Filter(items=[package]))

    async def cancel(self, run: int | None, package: str) -> None:
        async with self.database.begin() as session:
            tasks = await redo.matching(session, run or 0, redo.Filter(items=[package]))
            await runs.cancel(session, run or 0, tasks)

    async def output(self, package: str) -> Any:
        """What the newest standing result of a package says."""
        (row,) = await self.rows(
            "select d.body from attempt a join task t on t.id = a.task_id join item i on i.id = t.item_id"
            " join document d on d.sha256 = a.output where i.name = :name and a.superseded_at is null"
            " order by a.task_id desc limit 1",
            name=package,
        )
        return orjson.loads(row["body"])

    async def put_out(self, package: str, told: Any) -> None:
        """Let the newest standing result of a package say something else."""
        body = orjson.dumps(told).decode()
        digest = hashlib.sha256(body.encode()).hexdigest()
        await self.run_sql(
            "insert into document (sha256, size, body) values (decode(:sha, 'hex'), :size, :body)",
            sha=digest, size=len(body), body=body,
        )  # fmt: skip
        await self.run_sql(
            "update attempt a set output = decode(:sha, 'hex') from task t join item i on i.id = t.item_id"
            " where a.task_id = t.id and i.name = :name and a.superseded_at is null",
            sha=digest, name=package,
        )  # fmt: skip

    async def run_sql(self, statement: str, **params: Any) -> None:
        async with self.database.begin() as session:
            await session.execute(text(statement), params)

    async def value(self, question: str, **params: Any) -> Any:
        async with self.database.begin() as session:
            return await session.scalar(text(question), params)

    async def rows(self, question: str, **params: Any) -> list[Row]:
        async with self.database.begin() as session:
            return [dict(row) for row in (await session.execute(text(question), params)).mappings()]

    async def current(self) -> dict[str, Row]:
        """The current computed files by name."""
        rows = await self.rows("select * from computed_file where replaced_at is null order by name")
        return {row["name"]: row for row in rows}

    def lying(self) -> set[str]:
        """Names of the packages that lie in the folder, with the beginning of their fingerprints."""
        return {path.relative_to(self.packages).as_posix() for path in self.packages.rglob("*") if path.is_file()}
