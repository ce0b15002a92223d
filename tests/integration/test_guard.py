"""What the guard lets through without a key, under which names the site answers, and what a proxy may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from tests.integration.test_tokens import given, routes

from tidemill.accounts.keyring import HOLDER, Keyring
from tidemill.db.database import Database
from tidemill.domain.roles import Role
from tidemill.executors.addresses import AddressPolicy
from tidemill.main import Site, make_web
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore
from tidemill.web.guard import Guard
from tidemill.web.origins import Hosts

KEY = "k" * 32
OPEN = ("/v1", "/v1/", "/v1/projects", "/portal", "/portal/x", "/download/1/a/b", "/static/site.css")
SHUT = (
    "/", "/v", "/v10", "/v1x/y", "/V1/projects", "/portals", "/portal2/x", "/downloads", "/staticx", "//v1/projects",
    "/api", "/api/v1/projects", "/api/items", "/items/v1", "/live", "/none", "/api/%2e%2e/v1/x", "/runs?x=/v1/",
)  # fmt: skip


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says who was let in and what the request looks like."""
    holder: Any = scope.get(HOLDER, "nobody")
    who = holder if isinstance(holder, str) else "key" if holder is None else str(holder.role)
    await JSONResponse({"who": who, "base": str(Request(scope).base_url)})(scope, receive, send)


@pytest.fixture
def guard(database: Database) -> Guard:
    return Guard(_echo, key=KEY, hosts=Hosts("127.0.0.1", ["portal.example.org"]), keyring=Keyring(database))


def client(guard: Guard, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=guard)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


def test_a_guard_without_a_key_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="everybody"):
        Guard(_echo, key="", hosts=Hosts("127.0.0.1", []), keyring=Keyring(database))


async def test_the_portals_paths_are_open_and_no_others(guard: Guard) -> None:
    async with client(guard) as nobody:
        for path in OPEN:
            for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
                answer = await nobody.request(method, path)
                assert answer.status_code == 200, (method, path)
            assert (await nobody.get(path)).json()["who"] == "nobody"
        for path in SHUT:
            for method in ("GET", "POST", "OPTIONS"):
                assert (await nobody.request(method, path)).status_code == 401, (method, path)


async def test_every_route_of_the_site_but_the_portals_is_shut(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(site=tmp_path, database_url=database_url)
    documents = DocumentStore((tmp_path / "documents").as_uri(), 4096)
    whole: Any = make_web(Site(settings, database, documents, AddressPolicy([]), database_url))
    every = sorted(set(routes(whole._app)))
    assert len(every) > 100
    whole._app = _echo
    async with client(whole) as nobody:
        for method, path in every:
            if method == "WS" or path == "/api/health":
                continue
            let_in = (await nobody.request(method, path)).status_code == 200
            assert let_in == (path.split("/")[1] in {"v1", "portal", "download", "static"}), (method, path)


async def test_who_it_is_goes_along_on_open_paths(database: Database, guard: Guard) -> None:
    bearers = {"key": KEY} | {role: await given(database, role) for role in (Role.READER, Role.OPERATOR)}
    for who, word in bearers.items():
        async with client(guard, Authorization=f"Bearer {word}") as known:
            assert (await known.get("/v1/projects")).json()["who"] == who
            assert (await known.post("/v1/tokens")).status_code == 200
    async with client(guard, Authorization=f"Bearer {await given(database, Role.DOWNLOADER)}") as person:
        assert (await person.get("/v1/projects")).json()["who"] == "downloader"
        assert (await person.get("/api/items")).status_code == 403
    async with client(guard, Authorization="Bearer tm_nonsense") as forger:
        answer = await forger.get("/v1/projects")
        assert (answer.status_code, list(answer.json())) == (401, ["detail"])


async def test_a_cookie_reads_the_portals_api_and_never_acts_there(guard: Guard) -> None:
    async with client(guard) as browser:
        await browser.get("/portal", params={"key": KEY})
        assert (await browser.get("/v1/projects")).json()["who"] == "key"
        for origin in ("http://evil.example", "http://127.0.0.1"):
            answer = await browser.post("/v1/tokens", headers={"Origin": origin})
            assert (answer.status_code, answer.json()["who"]) == (200, "nobody")
        assert (await browser.post("/portal", headers={"Origin": "http://evil.example"})).status_code == 403
        assert (await browser.post("/portal", headers={"Origin": "http://127.0.0.1"})).json()["who"] == "key"


async def test_only_the_portals_api_may_be_read_from_elsewhere(guard: Guard) -> None:
    async with client(guard) as nobody:
        for path, policy in (("/v1/projects", "cross-origin"), ("/portal", "same-origin"), ("/none", "same-origin")):
            assert (await nobody.get(path)).headers["cross-origin-resource-policy"] == policy


async def test_the_site_answers_to_the_names_that_it_was_given(guard: Guard) -> None:
    async with client(guard) as nobody:
        for host in ("portal.example.org", "PORTAL.example.org:443", "localhost:8400"):
            assert (await nobody.get("/v1/", headers={"Host": host})).status_code == 200, host
        for host in (
            "example.org",
            "x.portal.example.org",
            "portal.example.org.evil.example",
            "portal.example.org@evil",
        ):
            assert (await nobody.get("/v1/", headers={"Host": host})).status_code == 421, host


async def test_a_proxy_is_believed_only_where_one_stands(database: Database, guard: Guard) -> None:
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "portal.example.org"}
    async with client(guard) as nobody:
        assert (await nobody.get("/v1/", headers=said)).json()["base"] == "http://127.0.0.1/"
    behind = Guard(
        _echo, key=KEY, hosts=Hosts("127.0.0.1", ["portal.example.org"]), keyring=Keyring(database), behind_proxy=True
    )
    async with client(behind) as nobody:
        assert (await nobody.get("/v1/", headers=said)).json()["base"] == "https://portal.example.org/"
        assert (await nobody.get("/v1/")).json()["base"] == "http://127.0.0.1/"
        forged = said | {"X-Forwarded-Host": "portal.example.org, evil.example"}
        assert (await nobody.get("/v1/", headers=forged)).status_code == 421
        odd = said | {"X-Forwarded-Proto": "javascript"}
        assert (await nobody.get("/v1/", headers=odd)).json()["base"] == "http://portal.example.org/"
