"""A site's web app under a real uvicorn, and clients for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from tidemill.db.database import Database
from tidemill.executors.addresses import AddressPolicy
from tidemill.main import Site, make_web
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore
from tidemill.web.serve import serving


@dataclass(frozen=True, slots=True)
class Web:
    """A site that is being served. `client` bears the key."""

    site: Site
    port: int
    key: str
    client: httpx2.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def socket(self, **options: Any) -> connect:
        headers = {"Authorization": f"Bearer {self.key}"}
        patience = {"open_timeout": 60, "ping_interval": None}
        options = patience | {"max_size": None, "compression": None, "additional_headers": headers} | options
        return connect(f"ws://127.0.0.1:{self.port}/live", **options)


def client_of(url: str, **more: Any) -> httpx2.AsyncClient:
    """A client of what is served at this address. It need not read the certificates of all the world first."""
    return httpx2.AsyncClient(base_url=url, timeout=60, verify=False, **more)


@asynccontextmanager
async def web_site(database: Database, database_url: str, folder: Path, port: int = 0) -> AsyncIterator[Web]:
    """The pages, API and socket; on a free port unless one is named."""
    settings = Settings(site=folder, database_url=database_url)
    documents = DocumentStore((folder / "documents").as_uri(), 4096)
    site = Site(settings, database, documents, AddressPolicy(settings.app_addresses), database_url)
    async with serving(make_web(site), "127.0.0.1", port) as port:
        headers = {"Authorization": f"Bearer {settings.web_key()}"}
        async with client_of(f"http://127.0.0.1:{port}", headers=headers) as client:
            yield Web(site, port, settings.web_key(), client)


async def told(socket: ClientConnection, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The next message that is wanted; others are passed over."""
    async with asyncio.timeout(60):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if wanted(message):
                return message


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what
