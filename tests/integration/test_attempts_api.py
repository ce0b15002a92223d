"""Logs and files of attempts over the API and on the pages."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.step_site import StepSite
from tests.webserver import Web

from tidemill.db.database import Database
from tidemill.storage.documents import DocumentStore
from tidemill.storage.files import FileStore

STEPS = """
@step(inputs={"template": "template.txt"})
def talks(item, task):
    print("begun")
    task.progress(0.25)
    while not os.path.exists(str(task.input("template")).replace("template", "go")):
        time.sleep(0.01)
    task.output("ü #1%.root").write_bytes(bytes(range(256)) * 100)
    print("ended <b>")

@step(tries=1)
def long(item):
    for n in range(20_000):
        print("line", n)
    raise ValueError("in the end")
"""
DATA = bytes(range(256)) * 100


@pytest.fixture
async def site(database: Database, documents: DocumentStore, tmp_path: Path, web: Web) -> StepSite:
    site = StepSite(database, documents, tmp_path)
    site.files = FileStore(web.site.settings.files_url)
    site.bench = type(site.bench)(tmp_path / "work", site.files)
    return site


async def test_a_log_is_read_while_it_grows_and_a_file_in_ranges(site: StepSite, web: Web) -> None:
    (site.folder / "template.txt").write_text("x")
    steps = await site.load(STEPS)
    await site.item("one")
    run = await site.begin(["one"], "talks")
    async with site.at_work(steps):
        (task,) = await site.tasks(run)
        base = f"/api/attempts/{task['id']}-1"

        async def begun() -> bool:
            answer = await web.client.get(f"{base}/log")
            return answer.text == "begun\n" and answer.headers.get("x-log-progress") == "0.2500"

        await site.until(begun)
        page = (await web.client.get("/items/one")).text
        assert f'src="{base}/log"' in page
        assert (await web.client.get(f"/attempts/{task['id']}-1")).status_code == 200
        assert (await web.client.get(f"{base}/files")).status_code == 404
        following = asyncio.create_task(_followed(web, f"{base}/log?follow=true"))
        (site.folder / "go.txt").write_text("")
        assert await asyncio.wait_for(following, 60) == "begun\nended <b>\n"
        await site.until(site.finished(run))

    answer = await web.client.get(f"{base}/log?since=6")
    assert (answer.text, answer.headers["x-log-live"], answer.headers["x-log-state"]) == (
        "ended <b>\n",
        "false",
        "done",
    )
    listed = (await web.client.get(f"{base}/files")).json()
    (kept,), (used,) = listed["files"], listed["inputs"]
    assert (kept["name"], kept["size"], kept["sha256"]) == ("ü #1%.root", 25_600, hashlib.sha256(DATA).hexdigest())
    assert (used["name"], used["sha256"]) == ("template", hashlib.sha256(b"x").hexdigest())
    there = f"{base}/files/%C3%BC%20%231%25.root"
    whole = await web.client.get(there)
    assert whole.content == DATA
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BC%20%231%25.root"
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await web.client.get(there, headers={"range": "bytes=256-511"})
    assert (part.status_code, part.content) == (206, DATA[:256])
    for page in ("/items/one", f"/attempts/{task['id']}-1"):
        shown = (await web.client.get(page)).text
        assert there in shown
        assert kept["sha256"] in shown
        assert used["sha256"] in shown
        assert "ended &lt;b&gt;" in shown


async def _followed(web: Web, path: str) -> str:
    return (await web.client.get(path, timeout=30)).text


async def test_only_files_of_the_sites_own_store_are_handed_out(site: StepSite, web: Web) -> None:
    (site.folder / "template.txt").write_text("x")
    (site.folder / "go.txt").write_text("")
    secret = site.folder / "secret.txt"
    secret.write_text("key")
    steps = await site.load(STEPS)
    await site.item("one")
    (attempt,) = await site.do(steps, await site.begin(["one"], "talks"))
    base = f"/api/attempts/{attempt['task_id']}-1"
    assert (await web.client.get(f"{base}/files/other.root")).status_code == 404
    assert (await web.client.get("/api/attempts/999-1/log")).status_code == 404
    assert (await web.client.get("/api/attempts/999-1/files/x")).status_code == 404
    assert (await web.client.get("/attempts/999-1")).status_code == 404
    store = web.site.settings.files_url
    for url in (secret.as_uri(), f"{store}/../../secret.txt", f"{store}/%2e%2e/%2e%2e/secret.txt", f"{store}"):
        async with site.database.begin() as session:
            await session.execute(
                text("update attempt set files = jsonb_set(files, '{0,url}', to_jsonb(cast(:url as text)))"),
                {"url": url},
            )
        answer = await web.client.get(f"{base}/files/%C3%BC%20%231%25.root")
        assert answer.status_code == 409, url
        assert "secret" not in answer.json()["error"]["message"] or "file store" in answer.json()["error"]["message"]


async def test_a_file_that_is_gone_or_changed_is_said_to_be(site: StepSite, web: Web) -> None:
    (site.folder / "template.txt").write_text("x")
    (site.folder / "go.txt").write_text("")
    await site.item("one")
    (attempt,) = await site.do(await site.load(STEPS), await site.begin(["one"], "talks"))
    there = f"/api/attempts/{attempt['task_id']}-1/files/%C3%BC%20%231%25.root"
    path = site.files.local(attempt["files"][0]["url"])
    assert path is not None
    path.write_bytes(b"cut off")
    assert "25,600" in (await web.client.get(there)).json()["error"]["message"]
    path.unlink()
    gone = await web.client.get(there)
    assert (gone.status_code, gone.json()["error"]["kind"]) == (502, "StorageError")


async def test_a_log_that_is_too_long_for_its_row_is_handed_out_whole(site: StepSite, web: Web) -> None:
    await site.item("one")
    (attempt,) = await site.do(await site.load(STEPS), await site.begin(["one"], "long"))
    there = f"/api/attempts/{attempt['task_id']}-1/log"
    whole = (await web.client.get(there)).text
    assert whole.startswith("line 0\n")
    assert whole.endswith("ValueError: in the end\n")
    assert (await web.client.get(f"{there}?since=7")).text == whole[7:]
    assert (await web.client.get(f"{there}?follow=true")).text == whole
    page = (await web.client.get(f"/attempts/{attempt['task_id']}-1")).text
    assert "line 19999" in page
    assert "the rest is in the download" in page
