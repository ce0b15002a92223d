"""Records over the API: one or many, each row answered for itself, a stale edit told what there is now."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from tests.factory import make_run
from tests.transactions import the_feed_tells_all
from tests.webserver import Web

from tidemill.api import items
from tidemill.db.database import Database
from tidemill.domain.plain_json import dumped


async def call(web: Web, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
    answer = await web.client.request(method, f"/api{path}", content=content, headers=named)
    return answer.status_code, answer.json() if answer.content else None, answer.headers.get("etag", "")


async def test_one_item_is_created_edited_and_deleted(web: Web) -> None:
    odd = quote("a/b c?d#é", safe="")
    assert await call(web, "POST", "/items", {"name": "a/b c?d#é", "metadata": {"x": 1}}) == (
        201,
        {"name": "a/b c?d#é", "outcome": "created", "revision": 1},
        '"1"',
    )
    status, view, tag = await call(web, "GET", f"/items/{odd}")
    assert (status, view["item"]["metadata"], tag) == (200, {"x": 1}, '"1"')
    edit = {"metadata": {"y": 2, "x": None}, "status": "bad", "reason": "no signal"}
    assert (await call(web, "PATCH", f"/items/{odd}", edit, if_match=tag))[::2] == (200, '"2"')
    status, stale, _ = await call(web, "PATCH", f"/items/{odd}", {"metadata": {"z": 3}}, if_match=tag)
    assert (status, stale["error"]["kind"]) == (409, "Conflict")
    assert stale["record"] == {
        "name": "a/b c?d#é",
        "status": "bad",
        "status_reason": "no signal",
        "metadata": {"y": 2},
        "revision": 2,
    }
    assert (await call(web, "PATCH", f"/items/{odd}", {"metadata": {"z": 3}, "revision": 2}))[0] == 200
    assert (await call(web, "DELETE", f"/items/{odd}", if_match='"2"'))[0] == 409
    assert (await call(web, "DELETE", f"/items/{odd}", if_match='"3"'))[0] == 204
    assert (await call(web, "DELETE", f"/items/{odd}"))[0] == 404


async def test_a_number_of_any_length_is_told_as_it_was_written(web: Web, database: Database) -> None:
    assert (await call(web, "POST", "/items", {"name": "long", "metadata": {"mass": 10**30, "at": [1.5]}}))[0] == 201
    await the_feed_tells_all(database)
    for path in (
        "/api/items/long", "/api/items", "/api/changes?include_docs=true",
        "/api/changes?feed=continuous&include_docs=true&timeout=100&since=0", "/api/changes/snapshot?include_docs=true",
    ):  # fmt: skip
        answer = await web.client.get(path)
        assert (answer.status_code, f'"mass":{10**30}' in answer.text.replace(": ", ":")) == (200, True), path
    assert str(10**30) in (await web.client.get("/items/long")).text
    assert dumped(Row(dt.datetime(2026, 11, 21, tzinfo=dt.UTC), 10**30, {"b", "a"})) == (
        b'{"at":"2026-11-21T00:00:00Z","long":1000000000000000000000000000000,"words":["a","b"]}'
    )


@dataclass(frozen=True)
class Row:
    at: dt.datetime
    long: int
    words: set[str]


async def test_what_cannot_be_done_is_said_and_not_done(web: Web, database: Database) -> None:
    made = await make_run(database, items=1)
    assert (await call(web, "PATCH", "/items/nobody", {"status": "bad"}))[0] == 404
    assert (await call(web, "GET", "/items/nobody"))[0] == 404
    assert (await call(web, "POST", "/items", b"{"))[0] == 422
    assert (await call(web, "POST", "/items", {"name": "x", "metadata": "y"}))[0] == 422
    assert (await call(web, "POST", "/items", [{"name": "x"}] * 10_001))[0] == 422
    assert (await call(web, "PATCH", f"/items/{made.item(0)}", {"status": "bad"}, if_match="next"))[0] == 422
    assert (await call(web, "PATCH", f"/items/{made.item(0)}", {"revision": 2}, if_match='"1"'))[0] == 422
    assert (await call(web, "PATCH", f"/items/{made.item(0)}", {"name": "other"}))[0] == 422
    status, refused, _ = await call(web, "DELETE", f"/items/{made.item(0)}")
    assert (status, refused["error"]["message"]) == (
        409,
        f"'{made.item(0)}' cannot be deleted: there are places in batches (1), tasks (1).",
    )
    _, view, tag = await call(web, "GET", f"/items/{made.item(0)}")
    assert (view["item"]["status"], tag) == ("good", '"1"')


async def test_many_rows_are_answered_one_by_one(web: Web) -> None:
    rows = [{"name": "a"}, {"name": "b", "revision": 4}, {"name": "a", "metadata": {"x": 1}}]
    _, dry, _ = await call(web, "POST", "/items?dry_run=true", rows)
    status, told, _ = await call(web, "POST", "/items", rows)
    assert dry == told
    assert (status, told["created"], told["changed"], told["refused"]) == (200, 1, 1, 1)
    assert [(row["outcome"], row["revision"]) for row in told["items"]] == [
        ("created", 2),
        ("refused", None),
        ("changed", 2),
    ]
    assert told["items"][1]["error"]["kind"] == "NotFound"
    lines = '{"name": "c", "metadata": {"t": "one\u2028line"}}\n{"name": "d",\n\n{"name": "e"}\n'.encode()
    status, told, _ = await call(web, "POST", "/items", lines, content_type="application/x-ndjson; charset=utf-8")
    assert [row["outcome"] for row in told["items"]] == ["created", "refused", "created"]
    assert told["items"][1]["error"]["message"].startswith("Line 2: This is no JSON")


async def test_a_body_that_never_ends_is_refused(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "LARGEST_BODY", 1000)
    status, told, _ = await call(web, "POST", "/items", b" " * 5000)
    assert (status, told["error"]["hint"]) == (422, "Send fewer rows at a time.")
