"""The API under a real server: every call does what its page of the reference says, and errors say what is right."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.apps import ScriptedApp
from tests.factory import MadeRun, make_run
from tests.transactions import the_feed_tells_all
from tests.webserver import Web, client_of, web_site

from tidemill.db.database import Database
from tidemill.domain.states import TaskState, grid_code
from tidemill.errors import Conflict
from tidemill.web.serve import serving


async def sql(database: Database, *statements: str) -> None:
    connection = await database.connect()
    async with connection:
        for statement in statements:
            await connection.execute(statement.encode(), prepare=False)


async def call(web: Web, method: str, path: str, status: int = 200, body: Any = None) -> Any:
    answer = await web.client.request(method, path, **({"json": body} if body is not None else {}))
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_run_from_start_to_cancel(database: Database, web: Web) -> None:
    made = await make_run(database, items=5, steps=2)
    wish = {"batch": made.batch, "pipeline": made.pipeline, "priority": 3, "paused": True}
    run = (await call(web, "POST", "/api/runs", 201, wish))["id"]
    assert run != made.run
    listed = (await call(web, "GET", "/api/runs?limit=1"))["runs"]
    assert [(row["id"], row["waiting"], row["priority"], row["paused"]) for row in listed] == [(run, 5, 3, True)]
    assert (await call(web, "POST", f"/api/runs/{run}/resume"))["paused"] is False
    assert (await call(web, "POST", f"/api/runs/{run}/pause"))["paused"] is True
    assert (await call(web, "POST", f"/api/runs/{run}/priority", body={"priority": -4}))["priority"] == -4
    some = {"items": [made.item(1), made.item(2)]}
    assert (await call(web, "POST", f"/api/runs/{run}/cancel", body=some))["tasks"] == 2
    assert (await call(web, "GET", f"/api/runs/{run}"))["totals"]["cancelled"] == 2
    assert (await call(web, "POST", f"/api/runs/{run}/cancel"))["tasks"] == 3
    assert (await call(web, "GET", f"/api/runs/{run}"))["state"] == "cancelled"
    assert (await call(web, "POST", f"/api/runs/{run}/pause", 409))["error"]["kind"] == "Conflict"
    only_new = wish | {"only_not_done": True}
    assert "nothing" in (await call(web, "POST", "/api/runs", 409, only_new))["error"]["message"]


async def test_what_failed_is_retried_and_rerun_after_a_preview(database: Database, web: Web) -> None:
    made = await make_run(database, items=4, steps=2)
    await sql(
        database,
        "update task set state = 'failed', finished_at = now(), reason = 'no sound', fence = 1 where position = 0",
        "update task set state = 'failed', finished_at = now(), reason = 'no video', fence = 1 where position = 1",
        """insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, started_at, input)
           select id, 1, 0, 1, '{}', 'failed', now(), document from task where position < 2""",
    )
    run = f"/api/runs/{made.run}"
    assert (await call(web, "POST", f"{run}/retry", body={"reason": "sound"}))["tasks"] == 1
    preview = await call(web, "GET", f"{run}/rerun/preview?from_step=0&state=failed")
    assert (preview["tasks"], preview["busy"]) == (1, 0)
    assert (await call(web, "POST", f"{run}/rerun", body={"from_step": 0, "states": ["failed"]}))["tasks"] == 1
    assert (await call(web, "GET", run))["totals"]["waiting"] == 4
    assert "0 to 1" in (await call(web, "POST", f"{run}/rerun", 422, {"from_step": 9}))["error"]["message"]
    assert (await call(web, "POST", f"{run}/retry", 409))["error"]["kind"] == "Conflict"
    assert (await call(web, "POST", "/api/attempts/1-7/promote", 404))["error"]["kind"] == "NotFound"
    assert (await call(web, "POST", "/api/attempts/1-1/promote", 409))["error"]["kind"] == "Conflict"


async def test_the_grid_and_a_window_of_tasks(database: Database, web: Web) -> None:
    made = await make_run(database, items=8, steps=2)
    grid = await call(web, "GET", f"/api/runs/{made.run}/grid")
    assert grid["cells"] == grid_code(0, TaskState.WAITING) * 8
    page = await call(
        web, "GET", f"/api/runs/{made.run}/tasks?from=6&limit=1&state=waiting&step=0&search={made.prefix}"
    )
    assert ([task["item"] for task in page["tasks"]], page["next"]) == ([made.item(6)], 7)
    for wrong in ("from=-1", "limit=0", "limit=1000000", "state=odd", "step=x", "from=99999999999999"):
        error = (await call(web, "GET", f"/api/runs/{made.run}/tasks?{wrong}", 422))["error"]
        assert wrong.partition("=")[0] in error["message"]


async def test_items_and_documents(database: Database, web: Web) -> None:
    made = await make_run(database, items=2, prefix="a/b c")
    assert [row["name"] for row in (await call(web, "GET", "/api/items?search=000001"))["items"]] == [made.item(1)]
    item = await call(web, "GET", f"/api/items/{made.item(1)}")
    assert (item["item"]["name"], item["tasks"][0]["run_id"]) == (made.item(1), made.run)
    sha256 = item["tasks"][0]["document"]
    answer = await web.client.get(f"/api/documents/{sha256}")
    assert answer.json() == {"item": "source"}
    assert "immutable" in answer.headers["cache-control"]
    again = await web.client.get(f"/api/documents/{sha256}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await call(web, "GET", "/api/documents/" + "0" * 64, 404))["error"]["kind"] == "NotFound"
    assert (await call(web, "GET", "/api/documents/xyz", 422))["error"]["kind"] == "InvalidInput"
    assert (await call(web, "GET", "/api/items/nobody", 404))["error"]["kind"] == "NotFound"


async def test_batches_are_made_from_one_source_or_not_at_all(database: Database, web: Web) -> None:
    made = await make_run(database, items=5)
    pasted = {"name": "some", "ids": f"{made.item(0)}, {made.item(3)}"}
    assert (await call(web, "POST", "/api/batches", 201, pasted))["size"] == 2
    assert (await call(web, "POST", "/api/batches", 409, pasted))["error"]["kind"] == "Conflict"
    error = (await call(web, "POST", "/api/batches", 422, pasted | {"name": "other", "ids": ["x", made.item(1)]}))[
        "error"
    ]
    assert (error["kind"], error["ids"]) == ("UnknownIds", ["x"])
    assert "none" in (await call(web, "POST", "/api/batches", 422, {"name": "other"}))["error"]["message"]
    assert "search" in (await call(web, "POST", "/api/batches", 422, pasted | {"search": "x"}))["error"]["message"]
    union = {"name": "both", "batches": ["some", made.batch]}
    assert (await call(web, "POST", "/api/batches", 201, union))["size"] == 5
    assert [row["name"] for row in (await call(web, "GET", "/api/batches"))["batches"]][:2] == ["both", "some"]
    assert (await call(web, "GET", "/api/batches/some"))["size"] == 2
    assert (await call(web, "GET", "/api/batches/none", 404))["error"]["kind"] == "NotFound"


async def test_apps_are_paused_resumed_and_asked_again(database: Database, web: Web) -> None:
    with ScriptedApp("ok") as app:
        made = await make_run(database, kind="http", url=app.url)
        await sql(database, "update app set protocol = 'clams'")
        name = made.app
        assert (await call(web, "POST", f"/api/apps/{name}/pause"))["changed"] is True
        overview = await call(web, "GET", f"/api/runs/{made.run}")
        assert overview["steps"][0]["held_back"] == f"{name} is paused"
        assert (await call(web, "POST", f"/api/apps/{name}/resume"))["changed"] is True
        assert (await call(web, "POST", f"/api/apps/{name}/refresh"))["changed"] is True
        assert (await call(web, "GET", "/api/apps"))["apps"][0]["name"] == name
    assert (await call(web, "POST", f"/api/apps/{name}/refresh", 502))["error"]["kind"] == "AppRefused"
    assert (await call(web, "POST", "/api/apps/none/pause", 404))["error"]["kind"] == "NotFound"
    assert (await call(web, "GET", "/api/pipelines"))["pipelines"][0]["name"] == made.pipeline
    assert (await call(web, "GET", "/api/workers"))["workers"] == []


async def test_the_change_feed_in_pages_and_as_a_longpoll(database: Database, web: Web) -> None:
    made = await make_run(database, items=3)
    run = f"/api/runs/{made.run}"
    await call(web, "POST", f"{run}/pause")
    await the_feed_tells_all(database)
    page = await call(web, "GET", "/api/changes")
    assert [(change["id"], change["changes"][0]["state"]) for change in page["results"] if change["kind"] == "run"] == [
        (f"run:{made.run}", "paused")
    ]
    assert (await call(web, "GET", f"/api/changes?since={page['last_seq']}"))["results"] == []
    waiting = asyncio.create_task(call(web, "GET", f"/api/changes?since={page['last_seq']}&feed=longpoll"))
    await call(web, "POST", f"{run}/resume")
    assert (await waiting)["results"][0]["changes"][0]["state"] == "active"
    none = await call(web, "GET", "/api/changes?since=now&feed=longpoll&timeout=0.05")
    assert none["results"] == []
    assert (await call(web, "GET", "/api/changes?since=abc", 422))["error"]["kind"] == "InvalidInput"


async def test_the_zip_comes_over_the_wire(database: Database, web: Web) -> None:
    made = await make_run(database, items=2, steps=1)
    await sql(database, "update task set state = 'done', finished_at = now() where position = 0")
    answer = await web.client.get(f"/api/runs/{made.run}/documents.zip?steps=final")
    assert answer.headers["content-disposition"] == f'attachment; filename="run-{made.run}-{made.batch}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as zipped:
        assert zipped.namelist() == [f"{made.item(0)}.json", "manifest.json"]
        assert json.loads(zipped.read("manifest.json"))["missing"] == 1
    assert (await call(web, "GET", "/api/runs/99/documents.zip", 404))["error"]["kind"] == "NotFound"


async def test_wrong_bodies_and_paths_are_told_apart(database: Database, web: Web) -> None:
    made = await make_run(database)
    error = (await call(web, "POST", "/api/runs", 422, {"batch": made.batch}))["error"]
    assert "body.pipeline" in error["message"]
    assert "body.nonsense" in (await call(web, "POST", "/api/runs", 422, {"nonsense": 1}))["error"]["message"]
    bad = await web.client.post("/api/runs", content=b"{", headers={"Content-Type": "application/json"})
    assert (bad.status_code, bad.json()["error"]["kind"]) == (422, "InvalidInput")
    unknown = {"batch": "none", "pipeline": made.pipeline}
    assert (await call(web, "POST", "/api/runs", 404, unknown))["error"]["hint"]
    assert (await call(web, "GET", "/api/none", 404))["error"]["kind"] == "NotFound"
    assert (await call(web, "DELETE", "/api/runs", 405))["error"]["kind"] == "MethodNotAllowed"
    for number in ("0", "-1", "x", "99999999999999999999999"):
        assert (await call(web, "GET", f"/api/runs/{number}", 422))["error"]["kind"] == "InvalidInput"


async def test_every_call_is_described_and_stands_in_the_reference(web: Web) -> None:
    text = (await web.client.get("/api/openapi.json")).text
    paths = json.loads(text)["paths"]
    assert len(paths) > 20
    assert "cdn" not in text
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    for path, methods in paths.items():
        parent, _, last = path.rpartition("/")
        assert path in reference or (parent in reference and f"`/{last}`" in reference), path
        assert all(method.get("summary") for method in methods.values()), path


async def test_a_lost_database_is_503_and_then_comes_back(tmp_path: Path, database_url: str) -> None:
    away = True

    async def address() -> str:
        return "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2" if away else database_url

    database = Database(address)
    async with web_site(database, database_url, tmp_path) as web:
        answer = await web.client.get("/api/runs")
        assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "DatabaseUnavailable")
        assert "Traceback" not in answer.text
        assert (await web.client.get("/api/health")).status_code == 503
        page = await web.client.get("/")
        assert page.status_code == 503
        assert "text/html" in page.headers["content-type"]
        away = False
        assert (await web.client.get("/api/runs")).status_code == 200
    await database.close()


async def test_the_key_is_needed_everywhere_but_for_health(database: Database, web: Web) -> None:
    made: MadeRun = await make_run(database)
    async with client_of(web.url) as nobody:
        for path in ("/", "/api/runs", f"/api/runs/{made.run}/grid", "/api/openapi.json", "/none"):
            assert (await nobody.get(path)).status_code == 401, path
            assert (await nobody.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401
            assert (await nobody.get(path, params={"key": "wrong"})).status_code == 401
            assert (await nobody.get(path, headers={"Cookie": f"tidemill-{web.port}={web.key}"})).status_code == 401
        assert (await nobody.post(f"/api/runs/{made.run}/cancel")).status_code == 401
        assert (await nobody.get("/api/health")).json() == {"status": "ok"}
    assert (await call(web, "GET", f"/api/runs/{made.run}"))["state"] == "active"


async def test_the_key_in_the_address_becomes_a_cookie_and_leaves_it(web: Web) -> None:
    async with client_of(web.url) as browser:
        answer = await browser.get("/runs", params={"state": "done", "key": web.key, "a": "b c"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs?state=done&a=b+c")
        cookie = answer.headers["set-cookie"]
        assert web.key not in cookie
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert (await browser.get("/api/runs")).status_code == 200
        away = await browser.get(f"//evil.example/%2F?key={web.key}")
        assert not away.headers["location"].startswith(("//", "http"))


async def test_other_sites_pages_cannot_act_here(database: Database, web: Web) -> None:
    made = await make_run(database)
    pause = f"/api/runs/{made.run}/pause"
    own = {"Origin": web.url}
    async with client_of(web.url) as browser:
        await browser.get("/", params={"key": web.key})
        for origin in (
            "http://evil.example",
            "null",
            f"http://127.0.0.1:{web.port + 1}",
            f"http://localhost:{web.port}",
        ):
            assert (await browser.post(pause, headers={"Origin": origin})).status_code == 403, origin
        assert (await browser.post(pause)).status_code == 403, "a cookie alone is no proof of where it comes from"
        assert (await browser.post(pause, headers=own)).status_code == 200
        for host in (
            "evil.example",
            f"evil.example:{web.port}",
            f"127.0.0.1.evil.example:{web.port}",
            "",
            "a@127.0.0.1",
        ):
            answer = await browser.get("/api/runs", headers={"Host": host, "Authorization": f"Bearer {web.key}"})
            assert answer.status_code in (400, 421), host
            assert (await browser.get("/api/health", headers={"Host": host})).status_code in (400, 421)
        for host in (f"localhost:{web.port}", f"127.0.0.1:{web.port}", f"[::1]:{web.port}", "LOCALHOST"):
            answer = await browser.get("/api/runs", headers={"Host": host, "Authorization": f"Bearer {web.key}"})
            assert answer.status_code == 200, host


async def test_the_socket_needs_the_key_and_our_origin(web: Web) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    url = f"ws://127.0.0.1:{web.port}/live"
    async with client_of(web.url) as browser:
        await browser.get("/", params={"key": web.key})
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    refused: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Cookie": cookie},
        {"Cookie": cookie, "Origin": "http://evil.example"},
        {"Authorization": f"Bearer {web.key}", "Origin": "http://evil.example"},
    ]
    for headers in refused:
        with pytest.raises(InvalidStatus):
            await connect(url, additional_headers=headers, open_timeout=60)
    with pytest.raises(InvalidStatus):
        await connect(f"{url}?key={web.key}")
    for headers in ({"Cookie": cookie, "Origin": web.url}, {"Authorization": f"Bearer {web.key}"}):
        async with connect(url, additional_headers=headers, open_timeout=60) as socket:
            await socket.send("{}")
            await socket.ping()


async def test_every_answer_tells_browsers_what_they_must_not_do(web: Web) -> None:
    for path in ("/", "/api/runs", "/none", "/static/site.css"):
        headers = (await web.client.get(path)).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "public" not in headers["cache-control"]


async def test_a_port_that_is_taken_is_a_clear_message(web: Web) -> None:
    with pytest.raises(Conflict, match=str(web.port)):
        async with serving(lambda *_: None, "127.0.0.1", web.port):  # type: ignore[arg-type, return-value]
            pass
