"""A portal for tests: a site row with terms and a store, computed files in it, and the portal's doors being served."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from tests.webserver import client_of
from tidemill.accounts import people
from tidemill.api.portal import problems, tokens
from tidemill.api.problems import status_of
from tidemill.db.database import Database
from tidemill.db.models import ComputedFile, Item, Site, Terms
from tidemill.executors.addresses import AddressPolicy
from tidemill.main import Site as OpenSite
from tidemill.publishing import downloads as handing
from tidemill.publishing.links import Link
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore
from tidemill.web import downloads
from tidemill.web.serve import serving

BODY = random.Random(7).randbytes(700_001)
"""Of the package in `atlas_folder`."""
TERMS = {"version": "1", "text": "# Be kind\n\nCite us."}


def open_site(database: Database, database_url: str, folder: Path) -> OpenSite:
    settings = Settings(site=folder, database_url=database_url)
    documents = DocumentStore((folder / "documents").as_uri(), 4096)
    return OpenSite(settings, database, documents, AddressPolicy(settings.app_addresses), database_url)


async def describe(database: Database, terms: Mapping[str, str] | None = TERMS, **columns: Any) -> None:
    """Make the site's row say this of its portal, as `apply` would."""
    portal = {"terms": dict(terms)} if terms else {}
    values = {"id": 1, "portal": portal | columns.pop("portal", {}), **columns}
    async with database.begin() as session:
        made = insert(Site.__table__).values(values)
        await session.execute(made.on_conflict_do_update(index_elements=["id"], set_=values))
        if terms:
            row = insert(Terms.__table__).values({"version": terms["version"], "body": terms["text"]})
            await session.execute(row.on_conflict_do_nothing())


async def publish(database: Database, store: str, key: str, body: bytes, **columns: Any) -> int:
    """Register a computed file that is in its store; its id."""
    name = columns.pop("name", key.rpartition("/")[2])
    async with database.begin() as session:
        item = Item(name=columns.pop("item", name), kind="package")
        session.add(item)
        await session.flush()
        row = ComputedFile(
            item_id=item.id,
            name=name,
            store=store,
            key=key,
            sha256=hashlib.sha256(body).hexdigest(),
            fingerprint="f" * 64,
            **({"package": "atlas", "size": len(body)} | columns),
        )
        session.add(row)
        await session.flush()
        return row.id


async def key_for(database: Database, email: str = "a@b.org", *, accepted: bool = True) -> str:
    async with database.begin() as session:
        secret, _ = await people.join(session, email, accepted)
    return secret


async def link_for(site: OpenSite, file: int, key: str | None, base: Any = "") -> Link:
    """A link for the holder of a key, or for an operator."""
    async with site.database.begin() as session:
        person = None if key is None else await people.holder(session, key)
        assert key is None or person is not None
        return await handing.link(session, site, file, person, base=str(base))


async def counted(database: Database) -> tuple[int, int]:
    async with database.begin() as session:
        rows = (await session.execute(text("select count(*) from download"))).scalar_one()
        return rows, (await session.execute(text("select coalesce(sum(downloads), 0) from computed_file"))).scalar_one()


@asynccontextmanager
async def served(site: OpenSite) -> AsyncIterator[httpx2.AsyncClient]:
    """The portal's doors under a real server, without the guard."""
    api = FastAPI()
    api.include_router(tokens.router)
    problems.answer_errors(api)
    api.state.site = site
    app = FastAPI()
    app.state.site = site
    app.state.status_of = status_of
    app.include_router(downloads.router)
    app.mount("/v1", api)
    async with (
        serving(app, "127.0.0.1", 0) as port,
        client_of(f"http://127.0.0.1:{port}") as client,
    ):
        yield client


@pytest.fixture
def atlas_folder(tmp_path: Path) -> Path:
    """A folder of packages with one in it, `0123/atlas.zip`, of `BODY`."""
    folder = tmp_path / "packages"
    (folder / "0123").mkdir(parents=True)
    (folder / "0123" / "atlas.zip").write_bytes(BODY)
    return folder


@pytest.fixture
async def portal_site(database: Database, database_url: str, tmp_path: Path) -> OpenSite:
    """A site with terms."""
    await describe(database)
    return open_site(database, database_url, tmp_path)


@pytest.fixture
async def portal_web(portal_site: OpenSite) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that site's portal."""
    async with served(portal_site) as client:
        yield client
