"""Tokens: what each role may ask of every route, how they end, and that none is ever shown twice."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, WebSocketRoute
from tests.factory import make_run
from tests.program import Program
from tests.webserver import Web, client_of
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tidemill.accounts import people, tokens
from tidemill.accounts.keyring import Keyring
from tidemill.db.database import Database
from tidemill.domain.roles import Role
from tidemill.errors import Conflict, InvalidInput, NotFound, TidemillError
from tidemill.main import make_web


async def given(database: Database, role: Role, name: str = "", **limits: Any) -> str:
    async with database.begin() as session:
        if role is Role.DOWNLOADER:
            secret, _ = await people.join(session, "a@b.org", accepted=True)
            return secret
        secret, _ = await tokens.create(session, name or role.value, role, **limits)
    return secret


def bearer(web: Web, token: str) -> httpx2.AsyncClient:
    return client_of(web.url, headers={"Authorization": f"Bearer {token}"})


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every method and path below an app; a WebSocket as method `WS`."""
    for route in app.routes:
        if hasattr(route, "original_router"):
            yield from routes(route.original_router, prefix + route.include_context.prefix)
        elif isinstance(route, Mount) and hasattr(route.app, "routes"):
            yield from routes(route.app, prefix + route.path)
        elif isinstance(route, Mount):
            yield "GET", prefix + route.path + "/x"
        elif isinstance(route, WebSocketRoute):
            yield "WS", prefix + route.path
        else:
            for method in route.methods or {"GET"}:
                yield method, prefix + re.sub(r"\{[^}]+\}", "1", route.path)


def may(role: Role, method: str, path: str) -> bool:
    """What the documentation says of the roles, written down a second time."""
    if role is Role.DOWNLOADER:
        return method != "WS" and path.split("/")[1] in {"v1", "portal", "download", "static"}
    if path.startswith("/api/worker/"):
        return role is Role.WORKER and method != "WS"
    if role is Role.WORKER or path.startswith("/api/tokens"):
        return False
    return role is Role.OPERATOR or method in {"GET", "HEAD", "WS"} or path.split("/")[1] in {"v1", "portal"}


async def test_every_route_is_closed_to_the_roles_that_it_is_not_for(database: Database, web: Web) -> None:
    guarded: Any = make_web(web.site)
    every = sorted(set(routes(guarded._app)))
    assert {("POST", "/api/runs"), ("GET", "/"), ("WS", "/live"), ("GET", "/static/x")} <= set(every)
    guarded._app = PlainTextResponse("in")  # who gets this far was let in; what the route then does is not asked here
    for role in Role:
        headers = {"Authorization": f"Bearer {await given(database, role)}"}
        transport = httpx2.ASGITransport(app=guarded)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
            for method, path in every:
                if path == "/api/health":
                    continue
                if method == "WS":
                    allowed = await _opens(web, path, headers["Authorization"])
                else:
                    answer = await client.request(method, path)
                    allowed = answer.status_code == 200
                    assert allowed or (answer.status_code == 403 and (method == "HEAD" or "oken" in answer.text)), path
                assert allowed == may(role, method, path), (role, method, path)


async def _opens(web: Web, path: str, authorization: str) -> bool:
    try:
        async with connect(
            f"ws://127.0.0.1:{web.port}{path}", additional_headers={"Authorization": authorization}, open_timeout=60
        ):
            return True
    except InvalidStatus:
        return False


async def test_a_path_that_no_route_has_is_closed_to_workers(database: Database, web: Web) -> None:
    async with bearer(web, await given(database, Role.WORKER)) as client:
        for path in ("/api/workers", "/api/workerx/y", "/api/worker/../runs", "/api/new", "/new", "//api/worker/x"):
            answer = await client.get(path)
            assert answer.status_code == 403, path
        assert (await client.get("/api/worker/none")).status_code in {403, 404}


async def test_who_has_no_good_token_learns_nothing(database: Database, web: Web) -> None:
    good = await given(database, Role.READER, "good")
    expired = await given(database, Role.READER, "expired", expires=60)
    revoked = await given(database, Role.READER, "revoked")
    async with database.begin() as session:
        await tokens.revoke(session, "revoked")
        await session.execute(text("update token set expires_at = now() - interval '1 second' where name = 'expired'"))
    answers = set()
    for token in (
        expired,
        revoked,
        tokens.new_secret(),
        good[:-1],
        "tm_" + good[3:].swapcase(),
        "tm_",
        "tm_" + "x" * 49,
    ):
        async with bearer(web, token) as client:
            answer = await client.get("/api/runs")
            assert answer.status_code == 401, token
            answers.add(answer.text)
    assert len(answers) == 1, "the answer does not say which tokens there are"
    async with bearer(web, good) as client:
        assert (await client.get("/api/runs")).status_code == 200


async def test_a_revoked_token_ends_by_itself_and_a_renewed_one_begins(database: Database, web: Web) -> None:
    token = await given(database, Role.OPERATOR, "night shift")
    async with bearer(web, token) as client:
        assert (await client.get("/api/runs")).status_code == 200
        async with database.begin() as session:
            await tokens.revoke(session, "night shift")
        async with asyncio.timeout(60):
            while (await client.get("/api/runs")).status_code != 401:
                await asyncio.sleep(0.05)
        async with database.begin() as session:
            secret, row = await tokens.renew(session, "night shift")
        assert row["revoked_at"] is None
        assert (await client.get("/api/runs")).status_code == 401, "the old secret stays dead"
    async with bearer(web, secret) as client:
        assert (await client.get("/api/runs")).status_code == 200


async def test_a_reader_is_let_in_by_a_link_and_cannot_change_anything(database: Database, web: Web) -> None:
    made = await make_run(database)
    token = await given(database, Role.READER)
    async with client_of(web.url) as browser:
        assert (await browser.get("/", params={"key": token})).status_code == 303
        page = await browser.get(f"/runs/{made.run}")
        assert page.status_code == 200
        assert token not in page.text
        own = {"Origin": web.url}
        answer = await browser.post(f"/api/runs/{made.run}/pause", headers=own)
        assert (answer.status_code, answer.json()["error"]["kind"]) == (403, "RoleRefused")
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        mine = {"Cookie": cookie, "Origin": web.url}
        async with connect(f"ws://127.0.0.1:{web.port}/live", additional_headers=mine, open_timeout=60):
            pass


async def test_a_reader_keeps_its_own_cursors_and_no_others(database: Database, web: Web) -> None:
    async with bearer(web, await given(database, Role.READER, "spectra")) as client:
        for name, status in (("spectra", 200), ("spectra%2Fnightly", 200), ("other", 403), ("spectra2", 403)):
            answer = await client.put(f"/api/cursors/{name}", json={"seq": "0-0"})
            assert answer.status_code == status, name
        assert "its own cursors, spectra and spectra/…" in answer.json()["error"]["message"]
        assert (await client.delete("/api/cursors/spectra/nightly")).status_code == 200
        assert (await client.delete("/api/cursors/spectra/../other")).status_code in (403, 404)


async def test_the_database_is_asked_about_once_a_second_and_use_is_noted(database: Database, web: Web) -> None:
    token = await given(database, Role.READER)
    asked = 0

    class Counting(Keyring):
        async def _look_up(self, key: bytes) -> Any:
            nonlocal asked
            asked += 1
            return await super()._look_up(key)

    keyring, began = Counting(database), time.monotonic()
    for _ in range(200):
        assert await keyring.holder(token) is not None
    assert asked <= 2 + (time.monotonic() - began)
    async with database.begin() as session:
        (row,) = await tokens.listing(session)
    assert row["used_at"] is not None
    assert "sha256" not in row


async def test_tokens_that_cannot_be_are_refused_with_words(database: Database) -> None:
    wrong: list[tuple[type[TidemillError], str, Role, dict[str, Any]]] = [
        (InvalidInput, "a/b", Role.READER, {}),
        (InvalidInput, "a", Role.READER, {"apps": ["x"]}),
        (InvalidInput, "a", Role.WORKER, {"apps": ["no such app"]}),
        (InvalidInput, "a", Role.WORKER, {"expires": -1}),
        (InvalidInput, "a", Role.DOWNLOADER, {}),
        (Conflict, "taken", Role.WORKER, {}),
    ]
    await given(database, Role.READER, "taken")
    for kind, name, role, limits in wrong:
        with pytest.raises(kind):
            async with database.begin() as session:
                await tokens.create(session, name, role, **limits)
    with pytest.raises(NotFound):
        async with database.begin() as session:
            await tokens.revoke(session, "nobody")


def test_a_person_gives_out_lists_and_revokes_tokens(tmp_path: Path, database_url: str) -> None:
    tidemill = Program(tmp_path, database_url)
    made = tidemill("tokens", "create", "lab", "--role", "worker", "--expires", "90d")
    token = made.out.strip()
    assert tokens.well_formed(token)
    assert token not in made.err
    assert token not in tidemill("tokens").out
    (row,) = tidemill("tokens", "--json").json
    assert (row["name"], row["role"], row["state"]) == ("lab", "worker", "good")
    assert token not in str(row)
    again = tidemill("tokens", "renew", "lab", "--json").json["token"]
    assert again != token
    tidemill("tokens", "revoke", "lab")
    assert tidemill("tokens", "--json").json[0]["state"] == "revoked"
    assert "days" in tidemill("tokens", "create", "x", "--role", "reader", "--expires", "soon", code=3).err
