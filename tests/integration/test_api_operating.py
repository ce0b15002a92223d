"""The calls for operating a site, under a real server."""

from __future__ import annotations

from typing import Any

import pytest
from tests.site import Mill
from tests.webserver import Web
from tests.zones import quiet_zone

from tidemill.db.database import Database
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]


@pytest.fixture
def mill(database: Database, documents: DocumentStore) -> Mill:
    return Mill(database, documents)


async def call(web: Web, method: str, path: str, status: int = 200, body: Any = None) -> Any:
    answer = await web.client.request(method, "/api" + path, **({"json": body} if body is not None else {}))
    assert answer.status_code == status, answer.text
    return answer.json()


def cold(document: Json, parameters: Json) -> Json:
    if parameters["name"] == "fit" and document["item"] in ("item-2", "item-3"):
        raise ValueError(f"{document['item'][5:]}.5 K is too warm")
    return {**document, parameters["name"]: 1}


def mended(document: Json, parameters: Json) -> Json:
    return {**document, parameters["name"]: 2}


async def test_an_operators_day(mill: Mill, web: Web) -> None:
    run = await mill.start(items=4, steps=["copy", "fit"], functions={"f": cold}, use=["f", "f"], tries=1)
    await mill.work({"f": cold}, until=mill.finished(run))
    assert (await call(web, "GET", "/counts"))["items"] == {"good": 4}
    steps = (await call(web, "GET", f"/runs/{run}/counts"))["steps"]
    assert [(step["step"], step["counts"]["done"], step["counts"]["failed"]) for step in steps] == [
        ("copy", 4, 0),
        ("fit", 2, 2),
    ]
    assert [(one["cause"], one["tasks"]) for one in (await call(web, "GET", "/stuck"))["causes"]] == [("failed", 2)]
    assert (await call(web, "GET", "/stuck?cause=held"))["tasks"] == []
    (family,) = (await call(web, "GET", f"/runs/{run}/failures"))["families"]
    assert (family["message"], family["tasks"]) == ("ValueError: # K is too warm", 2)
    assert (await call(web, "GET", "/failures?app=g"))["families"] == []

    wish = {"family": family["id"], "first": 1}
    assert await call(web, "POST", f"/runs/{run}/retry", body=wish) == {"run": run, "tasks": 1}
    await mill.work({"f": mended}, until=mill.finished(run))
    (family,) = (await call(web, "GET", "/failures"))["families"]
    assert [(trial["tried"], trial["done"]) for trial in family["trials"]] == [(1, 1)]

    wanted = {"from_step": "fit", "items": ["item-0", "item-1"]}
    preview = await call(web, "GET", "/rerun/preview?from_step=fit&item=item-0&item=item-1")
    assert (preview["tasks"], preview["steps"], preview["elsewhere"]) == (2, 2, 0)
    assert await call(web, "POST", "/rerun", body=wanted) == {"tasks": 2}
    await mill.work({"f": mended}, until=mill.finished(run))
    (fit,) = (await call(web, "GET", "/compare?item=item-0"))["steps"]
    assert [(d["path"], d["old"], d["new"]) for d in fit["comparison"]["differences"]] == [("fit", 1, 2)]
    (table,) = (await call(web, "GET", f"/runs/{run}/compare"))["steps"]
    assert (table["results"], table["differ"], table["largest"]) == (2, 2, {"fit": 0.5})
    preview = await call(web, "GET", f"/runs/{run}/go-back/preview?item=item-0")
    assert (preview["tasks"], preview["states"]) == (1, {"done": 1})
    assert (await call(web, "POST", f"/runs/{run}/go-back", body={"items": ["item-0"]}))["tasks"] == 1
    (fit,) = (await call(web, "GET", "/compare?item=item-0"))["steps"]
    assert [(d["path"], d["old"], d["new"]) for d in fit["comparison"]["differences"]] == [("fit", 2, 1)]

    found = await call(web, "GET", "/affected?app=f&version=1&limit=3")
    assert (found["results"], len(found["affected"]), found["rerun"]["tasks"]) == (7, 3, 4)
    assert await call(web, "POST", "/affected/rerun", body={"app": "f", "version": "1"}) == {"tasks": 4}
    week = await call(web, "GET", f"/summary?zone={quiet_zone('Asia/Tokyo', 'UTC')}")
    assert (week["totals"]["added"], week["totals"]["failed"]) == (4, 2)


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/runs/9/counts", 404, None),
        ("GET", "/runs/9/failures", 404, None),
        ("GET", "/runs/9/compare", 404, None),
        ("GET", "/runs/9/go-back/preview", 404, None),
        ("POST", "/runs/9/go-back", 404, {}),
        ("GET", "/stuck?cause=bored", 422, None),
        ("GET", "/stuck?longer=-1", 422, None),
        ("GET", "/compare?item=nobody", 404, None),
        ("GET", "/affected", 422, None),
        ("GET", "/affected?app=f&input=t", 422, None),
        ("GET", "/affected?app=nobody", 404, None),
        ("POST", "/affected/rerun", 422, {"app": "f", "sha256": "00"}),
        ("POST", "/rerun", 422, {"from_step": "fit"}),
        ("POST", "/rerun", 422, {"from_step": "fit", "items": ["nobody"]}),
        ("POST", "/rerun", 422, {"from_step": "fit", "search": 'a "b'}),
        ("GET", "/summary?week=yesterday", 422, None),
        ("GET", "/summary?zone=Mars", 422, None),
    ],
)
async def test_what_cannot_be_answered_says_why(web: Web, method: str, path: str, status: int, body: Any) -> None:
    error = (await call(web, method, path, status, body))["error"]
    assert error["message"]
