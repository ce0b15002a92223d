"""People and the terms: asking for a key, accepting, terms that change, keys that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from tests.portal import TERMS, describe, key_for, open_site, served
from tests.program import Program

from tidemill.accounts import people, terms, tokens
from tidemill.db.database import Database
from tidemill.errors import KeyRefused, NotFound, SiteFileError, TooMany
from tidemill.pipelines import apply
from tidemill.pipelines.site_file import read_site_file


@pytest.fixture
async def portal(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    await describe(database)
    async with served(open_site(database, database_url, tmp_path)) as client:
        yield client


async def test_a_key_is_asked_for_as_clients_of_such_portals_do(portal: httpx2.AsyncClient, database: Database) -> None:
    answer = await portal.post("/v1/tokens", json={"email": "a@b.org", "is_activated": True})
    assert answer.status_code == 201
    told = answer.json()
    assert told["is_activated"] is True
    assert told["terms_and_conditions"] == TERMS["text"]
    async with database.begin() as session:
        person = await people.downloader(session, told["id"])
        row: Any = (await session.execute(text("select * from token"))).mappings().one()
    assert (person.email, person.terms) == ("a@b.org", "1")
    assert row["accepted_at"] is not None
    assert told["id"].encode() not in b"".join(str(value).encode() for value in row.values())
    assert row["sha256"] == tokens.digest(told["id"])
    assert "127.0.0.1" not in str(dict(row)), "whence it was asked for is kept as a digest alone"


async def test_accepting_can_come_later(portal: httpx2.AsyncClient, database: Database) -> None:
    made = (await portal.post("/v1/tokens", data={"email": "a@b.org"})).json()
    assert made["is_activated"] is False
    async with database.begin() as session:
        with pytest.raises(KeyRefused, match="not valid or not activated"):
            await people.downloader(session, made["id"])
    assert (await portal.get(f"/v1/tokens/{made['id']}")).json()["is_activated"] is False
    path = f"/v1/tokens/{made['id']}"
    other = await portal.patch(path, json={"is_activated": True, "terms_version": "0"})
    assert (other.status_code, list(other.json())) == (400, ["terms_version"]), "these are not what was read"
    changed = await portal.patch(path, json={"is_activated": True, "terms_version": "1"})
    assert (changed.status_code, changed.json()["is_activated"]) == (200, True)
    async with database.begin() as session:
        assert (await people.downloader(session, made["id"])).activated
        left = (await session.execute(text("select expires_at from token"))).scalar_one()
    assert left is None, "an activated token does not expire"
    back = await portal.patch(f"/v1/tokens/{made['id']}", json={"is_activated": False})
    assert back.json()["is_activated"] is False


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("email", {}),
    ("email", {"email": ""}),
    ("email", {"email": "nobody"}),
    ("email", {"email": "a@b"}),
    ("email", {"email": "a..b@c.org"}),
    ("email", {"email": "a@b.org\r\nbcc: x@y.org"}),
    ("email", {"email": "a@b.org\u0000"}),
    ("email", {"email": "a@" + "b" * 300 + ".org"}),
    ("email", {"email": 5}),
    ("is_activated", {"email": "a@b.org", "is_activated": "perhaps"}),
]


async def test_faults_are_told_by_field(portal: httpx2.AsyncClient) -> None:
    for field, body in WRONG:
        answer = await portal.post("/v1/tokens", json=body)
        assert (answer.status_code, list(answer.json())) == (400, [field]), body
        assert all(isinstance(words, list) and words for words in answer.json().values())


async def test_a_body_that_is_none_is_refused_with_words(portal: httpx2.AsyncClient) -> None:
    for body in (b"{", b"[1]", b"\xff\xfe"):
        answer = await portal.post("/v1/tokens", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, list(answer.json())) == (400, ["detail"])


async def test_new_terms_are_asked_for_again_and_the_same_key_accepts_them(
    portal: httpx2.AsyncClient, database: Database
) -> None:
    key = await key_for(database)
    await describe(database, {"version": "2", "text": "# Be kinder"})
    async with database.begin() as session:
        person = await people.holder(session, key)
        assert person is not None
        assert person.outdated
        with pytest.raises(KeyRefused, match=r"this is version 2, you accepted version 1"):
            await people.downloader(session, key)
    shown = (await portal.get(f"/v1/tokens/{key}")).json()
    assert (shown["is_activated"], shown["terms_and_conditions"]) == (False, "# Be kinder")
    assert (shown["terms_version"], shown["accepted_version"]) == ("2", "1")
    await portal.patch(f"/v1/tokens/{key}", json={"is_activated": True})
    async with database.begin() as session:
        assert (await people.downloader(session, key)).terms == "2"
        assert [(row["version"], row["accepted"]) for row in await terms.versions(session)] == [("2", 1), ("1", 0)]
    await describe(database)  # back to the first ones
    async with database.begin() as session:
        person = await people.holder(session, key)
        assert person is not None
        assert not person.activated


async def test_a_site_without_terms_asks_for_an_address_alone(database: Database) -> None:
    await describe(database, None)
    key = await key_for(database)
    async with database.begin() as session:
        assert (await people.downloader(session, key)).terms is None
    await describe(database)
    async with database.begin() as session:
        with pytest.raises(KeyRefused, match="you accepted none"):
            await people.downloader(session, key)


async def test_keys_end(portal: httpx2.AsyncClient, database: Database) -> None:
    mine, other, third = [await key_for(database, email) for email in ("a@b.org", "c@d.org", "C@D.org")]
    assert (await portal.delete(f"/v1/tokens/{mine}")).status_code == 204
    for way in ("get", "patch", "delete"):
        answer = await getattr(portal, way)(f"/v1/tokens/{mine}")
        assert answer.status_code == (204 if way == "delete" else 404)
    async with database.begin() as session:
        assert len(await people.revoke(session, "c@d.org")) == 2
        for key in (mine, other, third):
            assert await people.holder(session, key) is None
        with pytest.raises(NotFound):
            await people.revoke(session, "nobody@x.org")
        with pytest.raises(NotFound):
            await people.revoke(session, "99999999")
        assert {row["state"] for row in await people.listing(session)} == {"revoked"}
    for wrong in ("x", "1", "tm_" + "x" * 49, mine[:-1], "' or '1'='1", tokens.new_secret()):
        assert (await portal.get(f"/v1/tokens/{wrong}")).status_code == 404, wrong
        assert (await portal.delete(f"/v1/tokens/{wrong}")).status_code == 404, wrong


async def test_nobody_gets_too_many_at_once(
    portal: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(n: int) -> int:
        return (await portal.post("/v1/tokens", json={"email": "A@b.org" if n % 2 else "a@B.org"})).status_code

    answers = await asyncio.gather(*(ask(n) for n in range(14)))
    assert sorted(answers) == [201] * people.MOST["email"] + [429] * 4
    refused = await portal.post("/v1/tokens", json={"email": "a@b.org"})
    assert refused.headers["retry-after"] == "3600"
    assert "within an hour" in refused.json()["detail"]
    monkeypatch.setitem(people.MOST, "caller", 12)
    others = [await portal.post("/v1/tokens", json={"email": f"a{n}@b.org"}) for n in range(3)]
    assert [one.status_code for one in others] == [201, 201, 429]
    async with database.begin() as session:
        await session.execute(text("update token set created_at = now() - interval '61 minutes'"))
    assert await ask(0) == 201
    monkeypatch.setitem(people.MOST, "every", 1)
    with pytest.raises(TooMany):
        await key_for(database, "z@z.org")


async def test_what_was_never_activated_goes_and_nothing_else(database: Database) -> None:
    await describe(database)
    waiting = await key_for(database, "w@b.org", accepted=False)
    active = await key_for(database)
    async with database.begin() as session:
        await tokens.create(session, "lab", tokens.Role.READER, expires=60)
        await session.execute(text("update token set expires_at = now() - interval '1 s' where expires_at is not null"))
        assert await people.holder(session, waiting) is None
    async with database.begin() as session:
        await people.prune(session)
        assert [row["email"] for row in await people.listing(session)] == ["a@b.org"]
        assert await people.holder(session, active) is not None
        assert [row["name"] for row in await tokens.listing(session)] == ["lab"]


async def test_terms_of_one_version_have_one_text(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"

    async def applied(version: str, words: str) -> None:
        (tmp_path / "terms.md").write_text(words)
        path.write_text(f'[portal.terms]\nversion = "{version}"\ntext_file = "terms.md"\n')
        async with database.begin() as session:
            await apply.carry_out(session, await apply.plan(session, read_site_file(path), {}))

    await applied("2026-01", "one")
    async with database.begin() as session:
        assert (await terms.current(session)) == terms.Terms("2026-01", "one")
    with pytest.raises(SiteFileError, match="raise the version"):
        await applied("2026-01", "two")
    await applied("2026-02", "two")
    await applied("2026-01", "one")
    async with database.begin() as session:
        assert (await terms.current(session)) == terms.Terms("2026-01", "one")
        assert {row["version"] for row in await terms.versions(session)} == {"2026-01", "2026-02"}


def test_an_operator_lists_and_ends_peoples_tokens(tmp_path: Path, database_url: str) -> None:
    tidemill = Program(tmp_path, database_url)
    made = [asyncio.run(_joined(database_url, email)) for email in ("a@b.org", "c@d.org", "c@d.org")]
    assert "3 tokens of people" in tidemill("tokens").err
    rows = tidemill("tokens", "people", "--json").json
    assert [(row["email"], row["state"], row["downloads"]) for row in rows] == [
        ("c@d.org", "good", 0), ("c@d.org", "good", 0), ("a@b.org", "good", 0),
    ]  # fmt: skip
    shown = tidemill("tokens", "people", "--limit", "2")
    assert f"--before {rows[1]['id']}" in shown.err
    assert not any(secret in shown.out for secret in made)
    assert "2 tokens of c@d.org revoked" in tidemill("tokens", "revoke-person", "c@d.org").out
    assert tidemill("tokens", "revoke-person", rows[2]["id"], "--json").json[0]["email"] == "a@b.org"
    assert "tokens people" in tidemill("tokens", "revoke-person", "x@y.org", code=4).err


async def _joined(database_url: str, email: str) -> str:
    async def address() -> str:
        return database_url

    database = Database(address)
    try:
        return await key_for(database, email)
    finally:
        await database.close()
