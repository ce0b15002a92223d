"""Syncs at the doors: the API, the pages, the command line."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.ceph import Bucket
from tests.program import Program
from tests.stalling_s3 import stalling_s3
from tests.webserver import Web

from tidemill.db.database import Database
from tidemill.db.models import Source

RULES = [{"pattern": "{project}/{item}.wav"}]


@pytest.fixture
async def folder(database: Database, tmp_path: Path) -> Path:
    folder = tmp_path / "tapes"
    (folder / "a").mkdir(parents=True)
    for n in range(20):
        (folder / "a" / f"{n:02}.wav").touch()
    async with database.begin() as session:
        session.add(Source(name="tapes 1", url=folder.as_uri(), layout={"rules": RULES}))
    return folder


async def _call(web: Web, method: str, path: str, status: int = 200, body: Any = None) -> Any:
    answer = await web.client.request(method, "/api" + path, **({"json": body} if body is not None else {}))
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_source_is_read_over_the_api_and_its_history_is_there(web: Web, folder: Path) -> None:
    (before,) = (await _call(web, "GET", "/sources"))["sources"]
    assert (before["files"], before["last_sync"], before["synced_at"]) == (0, None, None)
    dry = await _call(web, "POST", "/sources/tapes 1/sync", body={"dry_run": True})
    assert (dry["created"], dry["dry_run"]) == (20, True)
    done = await _call(web, "POST", "/sources/tapes 1/sync")
    assert (done["created"], done["items"], done["new"]["count"]) == (20, 20, 20)
    for path in folder.rglob("*.wav"):
        path.unlink()
    refused = await _call(web, "POST", "/sources/tapes 1/sync", 409)
    assert "all its 20 files are gone" in refused["error"]["message"]
    (now,) = (await _call(web, "GET", "/sources"))["sources"]
    assert (now["files"], now["reading"]) == (20, False)
    assert now["last_sync"]["details"]["error"] == refused["error"]["message"]
    rows = (await _call(web, "GET", "/syncs?source=tapes 1"))["syncs"]
    assert [(row["id"], row["created"], row["details"]["dry_run"]) for row in rows] == [
        (3, 0, False),
        (2, 20, False),
        (1, 20, True),
    ]
    assert [row["id"] for row in (await _call(web, "GET", "/syncs?before=3&limit=1"))["syncs"]] == [2]
    assert (await _call(web, "GET", "/syncs/2"))["details"]["new"]["keys"][:1] == ["a/00.wav"]
    assert (await _call(web, "POST", "/sources/tapes 1/sync", body={"allow_wipe": True}))["deleted"] == 20
    await _call(web, "GET", "/syncs/99", 404)
    await _call(web, "GET", "/syncs?source=nowhere", 404)
    await _call(web, "GET", "/sources/nowhere", 404)
    await _call(web, "POST", "/sources/nowhere/sync", 404)
    await _call(web, "POST", "/sources/tapes 1/sync", 422, {"dry": True})


async def test_a_person_looks_first_and_then_syncs(web: Web, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.web.pages.sources.PATIENCE", 60.0)

    async def page(path: str, **form: str) -> str:
        if form:
            answer = await web.client.post(path, data=form, follow_redirects=True)
        else:
            answer = await web.client.get(path)
        assert answer.status_code == 200, answer.text
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))

    (folder / "notes.txt").touch()
    (folder / "\x1b[31mred.txt").touch()
    assert "never" in await page("/sources")
    look = await page("/sources/tapes%201/sync", dry_run="true")
    assert "What a sync would do" in look
    assert "20 new files" in look
    assert "notes.txt" in look
    assert "\\x1b[31mred.txt" in look
    assert "Sync now" in look
    assert "20 new files" in await page("/sources/tapes%201/sync", dry_run="false")
    assert "20 files" in await page("/sources/tapes%201")
    assert "There was another sync since" in await page("/syncs/1")
    for n in range(5):
        (folder / "a" / f"{n:02}.wav").unlink()
    look = await page("/sources/tapes%201/sync", dry_run="true")
    assert "25% of its 20 files are gone" in look
    assert "Let these 5 files go" in look
    assert "25% of its 20 files are gone" in await page("/sources/tapes%201/sync", dry_run="false")
    assert "5 files gone" in await page("/sources/tapes%201/sync", allow_wipe="true")
    history = await page("/sources/tapes%201?effective=true")
    assert "failed" in history
    assert (await web.client.get("/sources/nowhere")).status_code == 404


async def test_a_sync_that_takes_long_goes_on_behind_the_page(
    web: Web, database: Database, quick_s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.web.pages.sources.PATIENCE", 0.01)
    with stalling_s3() as service:
        async with database.begin() as session:
            options = quick_s3.options | {"endpoint": service.endpoint}
            session.add(Source(name="b", url="s3://b", options=options, layout={"rules": [{"pattern": "P1/{item}"}]}))
        answer = await web.client.post("/sources/b/sync", data={"dry_run": "true"}, follow_redirects=True)
        assert "b is being read" in answer.text
        assert "every 2s" in (await web.client.get("/sources")).text
        again = await web.client.post("/sources/b/sync", data={"dry_run": "true"}, follow_redirects=True)
        assert "being" in again.text
        service.go_on.set()
        while not (rows := (await _call(web, "GET", "/syncs"))["syncs"]):
            await asyncio.sleep(0.05)
        assert rows[0]["created"] == 2000


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url, {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"})


def _site_file(tmp_path: Path, *sources: tuple[str, str, str]) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(
        "\n".join(
            f'[[sources]]\nname = "{name}"\nurl = "{url}"\n{more}\n'
            '[[sources.layout]]\npattern = "{project:P[0-9]+}/{item}.dat"\n'
            for name, url, more in sources
        )
    )
    return path


def test_buckets_are_synced_from_the_command_line(tidemill: Program, quick_s3: Bucket, tmp_path: Path) -> None:
    endpoint = f'endpoint = "{quick_s3.server.endpoint}"\nregion = "us-east-1"'
    for n in range(10):
        quick_s3.put(f"raw/P1/{n}.dat")
        quick_s3.put(f"other/P2/{n}.dat")
    quick_s3.put("raw/P1/odd\x1b[2J.txt")
    (tmp_path / "media").mkdir()
    file = _site_file(
        tmp_path,
        ("raw", f"{quick_s3.url}/raw", endpoint),
        ("other", f"{quick_s3.url}/other", endpoint),
        ("disk", "media", ""),
    )
    tidemill("apply", file, "--yes")
    (tmp_path / "media").rmdir()
    stopped = tidemill("sync", "--dry-run", "--json", code=10)
    assert [row["source"] for row in stopped.json] == ["other", "raw"], "a disk that is away keeps no bucket waiting"
    assert "Source 'disk' cannot be read. The folder is not there" in stopped.err
    said = tidemill("sync-original-files", "--bucket", f"{quick_s3.name}/raw", "--dry-run")
    assert said.out == (
        "raw: 10 files seen, 10 new, 0 changed, 0 gone; 10 new items, 1 new project (a dry run: nothing was changed).\n"
    )
    assert "1 matched by no layout rule: P1/odd\\x1b[2J.txt" in said.err
    both = tidemill("sync-original-files", "--bucket", quick_s3.name, "--json").json
    assert [(row["source"], row["created"]) for row in both] == [("other", 10), ("raw", 10)]
    assert both[1]["unmatched"]["keys"] == ["P1/odd\x1b[2J.txt"]
    assert "raw at s3://" in tidemill("sync", "--bucket", "nowhere", code=4).err
    assert "does not lie in the bucket" in tidemill("sync", "disk", "--bucket", quick_s3.name, code=4).err
    quick_s3.remove(*(f"raw/P1/{n}.dat" for n in range(2)))
    assert "--allow-bucket-wipe" in tidemill("sync", "raw", code=5).err
    assert "2 gone" in tidemill("sync", "raw", "--allow-bucket-wipe").out
    rows = tidemill("syncs", "raw", "--json").json
    assert [(row["deleted"], row["details"]["error"][:12]) for row in rows] == [
        (2, ""), (0, "Source 'raw'"), (0, ""), (0, ""), (0, "")
    ]  # fmt: skip
    assert "failed: Source 'raw': 20% of its 10 files" in tidemill("syncs", "--effective").out


def test_every_key_that_no_rule_matches_is_listed(tidemill: Program, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for n in range(1500):
        (media / f"{n}\n.txt").touch()
    tidemill("apply", _site_file(tmp_path, ("disk", "media", "")), "--yes")
    (report,) = tidemill("sync", "--json").json
    assert report["unmatched"]["count"] == 1500
    assert sorted(report["unmatched"]["keys"]) == sorted(f"{n}\n.txt" for n in range(1500))


def test_a_killed_sync_changes_nothing_and_the_next_one_goes_on(tidemill: Program, tmp_path: Path) -> None:
    with stalling_s3() as service:
        tidemill(
            "apply", _site_file(tmp_path, ("b", "s3://b", f'endpoint = "{service.endpoint}"\nregion = "x"')), "--yes"
        )
        shown = tidemill.on_terminal("sync", "b")
        shown.until("Reading b: 1,000 files seen")
        assert "being synced already" in tidemill("sync", "b", code=5).err
        waiting = tidemill.start("sync", "b", "--wait", "--json")
        shown.kill()
        assert shown.end() == -signal.SIGKILL
        service.go_on.set()
        with waiting:
            waiting.until(r"\]\s*$")
            assert waiting.end() == 0
            assert json.loads(waiting.said)[0]["created"] == 2000
    assert len(tidemill("syncs", "--json").json) == 1


def test_ctrl_c_ends_what_waits_for_a_bucket_that_does_not_answer(tidemill: Program, tmp_path: Path) -> None:
    with stalling_s3() as service:
        file = _site_file(tmp_path, ("b", "s3://b", f'endpoint = "{service.endpoint}"\nregion = "x"'))
        file.write_text(
            file.read_text()
            + '[[tables]]\nname = "all"\nfile = "P1/item-00000.dat"\nformat = "csv"\ndescribes = "items"\nid = "name"\n'
            + '[[packages]]\nname = "all"\nper = "project"\nfile = "{project}.zip"\nfiles = [{ into = "{name}" }]\n'
        )
        tidemill("apply", file, "--yes")
        _interrupted(tidemill, service.stalled, "sync", "b")
        assert not service.go_on.is_set(), "it has ended though the bucket has not answered"
        assert tidemill("syncs", "--json").json == []
        service.go_on.set()
        assert "2,000 new" in tidemill("sync", "b").out
        _interrupted(tidemill, service.asked_for_object, "load-metadata")
        service.asked_for_object.clear()
        _interrupted(tidemill, service.asked_for_object, "generate-computed-files")


def _interrupted(tidemill: Program, asked: threading.Event, *words: str) -> None:
    """Start a command; when the bucket was asked for something, press Ctrl-C, and see it end."""
    with tidemill.start(*words) as started:
        assert asked.wait(60)
        started.signal(signal.SIGINT)
        assert started.end() == 130
    assert "Traceback" not in started.said
