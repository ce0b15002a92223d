"""What the holder of a worker's token cannot do, whatever it sends."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from sqlalchemy import text
from tests.remote import worker_token
from tests.site import Mill
from tests.webserver import Web, client_of

Json = dict[str, Any]


@dataclass
class Intruder:
    """Somebody with a good worker's token, who writes requests by hand."""

    client: httpx2.AsyncClient
    worker: int = 0

    async def post(self, path: str, **body: Any) -> httpx2.Response:
        standing = {"worker": self.worker, "kinds": ["python"], "functions": ["python:f"]}
        return await self.client.post(f"/api/worker{path}", json=standing | body)

    async def claim(self, n: int = 1, **more: Any) -> list[Json]:
        answer = await self.post("/exchange", n=n, **more)
        assert answer.status_code == 200, answer.text
        claimed: list[Json] = answer.json()["claimed"]
        return claimed

    async def hand_in(self, *results: Json, documents: Any = ()) -> Json:
        answer = await self.post("/exchange", results=results, documents=documents)
        assert answer.status_code == 200, answer.text
        said: Json = answer.json()
        return said


@pytest.fixture
async def mill(web: Web) -> Mill:
    return Mill(web.site.database, web.site.documents)


async def intruder(web: Web, name: str) -> Intruder:
    token = await worker_token(web.site.database, name)
    headers = {"Authorization": f"Bearer {token}", "tidemill-worker": "1"}
    made = Intruder(client_of(web.url, headers=headers))
    made.worker = (await made.post("/register", hostname=name, slots=4)).json()["worker"]
    return made


@pytest.fixture
async def mallory(web: Web) -> AsyncIterator[Intruder]:
    made = await intruder(web, "mallory")
    yield made
    await made.client.aclose()


@pytest.fixture
async def alice(web: Web) -> AsyncIterator[Intruder]:
    made = await intruder(web, "alice")
    yield made
    await made.client.aclose()


def run_of(mill: Mill, items: int = 2) -> Any:
    def same(document: Json, _: Json) -> Json:
        return document

    return mill.start(items=items, steps=["a", "b"], functions={"f": same}, use=["f", "f"])


def done(task: Json, output: str) -> Json:
    return {"task": task["id"], "fence": task["fence"], "outcome": "done", "move": "next", "output": output}


def document(body: str) -> Json:
    return {"sha256": hashlib.sha256(body.encode()).hexdigest(), "size": len(body.encode()), "body": body}


async def test_a_worker_of_another_token_cannot_be_played(mill: Mill, alice: Intruder, mallory: Intruder) -> None:
    await run_of(mill)
    (task,) = await alice.claim()
    mallory.worker = alice.worker
    for path, body in (
        ("/exchange", {"n": 1}), ("/exchange", {"results": [done(task, document("{}")["sha256"])]}),
        ("/renew", {"tasks": []}), ("/disown", {"tasks": []}), ("/release", {"tasks": []}), ("/retire", {}),
        ("/left", {}), ("/records", {"ids": [task["item_id"]]}), ("/specs", {"ids": [1]}), ("/tell", {"tasks": []}),
    ):  # fmt: skip
        answer = await mallory.post(path, **body)
        assert (answer.status_code, answer.json()["error"]["kind"]) == (403, "AccessRefused"), path
    for path in (f"/documents/{task['input']}", "/files?url=file:///etc/passwd", f"/uploads/file/{'0' * 64}?size=1"):
        joined = path + ("&" if "?" in path else "?") + f"worker={alice.worker}"
        assert (await mallory.client.get(f"/api/worker{joined}")).status_code == 403, path
    assert {t["state"] for t in await mill.tasks(1)} == {"running", "waiting"}


async def test_results_for_others_tasks_are_refused(mill: Mill, alice: Intruder, mallory: Intruder) -> None:
    run = await run_of(mill)
    (task,) = await alice.claim()
    body = document('{"by": "mallory"}')
    for fence in (task["fence"], task["fence"] + 1, 0):
        said = await mallory.hand_in(done(task | {"fence": fence}, body["sha256"]), documents=[body])
        assert [one["why"] for one in said["refused"]] == ["This worker was not given this attempt."]
    keys = [{"task": task["id"], "fence": task["fence"]}]
    for path in ("/renew", "/submit", "/release"):
        rows = (await mallory.post(path, tasks=[keys[0] | {"handle": {"x": 1}, "progress": 0.5}])).json()["rows"]
        assert rows == [], path
    await mallory.post("/tell", tasks=[keys[0] | {"progress": 0.9, "log": "owned"}])
    await mallory.post("/disown", tasks=[])
    assert (await mallory.post("/cancelled", tasks=keys)).json()["rows"] == []
    (held,) = [t for t in await mill.tasks(run) if t["id"] == task["id"]]
    assert (held["state"], held["progress"]) == ("running", None)
    assert (await alice.hand_in(done(task, body["sha256"]), documents=[body]))["moved"]


async def test_only_its_own_items_documents_and_files_can_be_read(
    web: Web, mill: Mill, alice: Intruder, mallory: Intruder, tmp_path: Path
) -> None:
    await run_of(mill)
    (theirs,) = await alice.claim()
    (own,) = await mallory.claim()
    read = mallory.client.get
    get = lambda path: read(f"/api/worker{path}{'&' if '?' in path else '?'}worker={mallory.worker}")  # noqa: E731
    assert (await get(f"/documents/{own['input']}")).status_code == 200
    for wrong in (theirs["input"], "../../web.key", "0" * 63, "0" * 64):
        assert (await get(f"/documents/{quote(wrong, safe='')}")).status_code in {404, 422}, wrong
    rows = (await mallory.post("/records", ids=[own["item_id"], theirs["item_id"]])).json()["rows"]
    assert [row["id"] for row in rows] == [own["item_id"]]
    secret = tmp_path / "site" / "web.key"
    assert secret.exists()
    files = web.site.settings.files_url
    for url in (
        secret.as_uri(), str(secret), "file:///etc/passwd", f"{files}/../web.key", f"{files}/%2e%2e/web.key", "s3://b/k",
    ):  # fmt: skip
        assert (await get(f"/files?url={quote(url, safe='')}")).status_code == 404, url
    for path in ("/", "/api/runs", "/api/items/item-0", f"/api/documents/{own['input']}", "/api/changes", "/items"):
        assert (await read(path)).status_code == 403, path


async def test_what_was_not_delivered_cannot_be_referred_to(
    web: Web, mill: Mill, alice: Intruder, mallory: Intruder
) -> None:
    run = await run_of(mill, items=3)
    (theirs,), (own,) = await alice.claim(), await mallory.claim()
    hidden = document('{"secret": "of alice"}')
    await alice.hand_in(done(theirs, hidden["sha256"]), documents=[hidden])
    sha256 = hidden["sha256"]
    for documents in ([], [hidden | {"body": None}], [hidden | {"body": "{}"}], [hidden | {"location": "x"}][:0]):
        said = await mallory.hand_in(done(own, sha256), documents=documents)
        assert said["refused"][0]["missing"] == [sha256]
    store = web.site.settings.files_url
    file = {"name": "x.dat", "size": 1, "sha256": sha256, "url": f"{store}/{sha256[:2]}/{sha256}/x.dat"}
    own_body = document('{"own": 1}')
    for name, receipt in (
        ("x.dat", ""),
        ("x.dat", "0" * 64),
        ("../x", ""),
        ("a/../../x", ""),
        ("..", ""),
        ("a\\b", ""),
    ):
        result = done(own, own_body["sha256"]) | {
            "files": [file | {"name": name}], "receipts": {file["url"]: receipt}
        }  # fmt: skip
        said = await mallory.hand_in(result, documents=[own_body])
        assert len(said["refused"]) == 1, name
    for url in (f"{store}/x.dat", f"{store}/{sha256[:2]}/{sha256}/y.dat", f"{store}/../web.key"):
        said = await mallory.hand_in(
            done(own, own_body["sha256"]) | {"files": [file | {"url": url}]}, documents=[own_body]
        )
        assert "does not lie where it says" in said["refused"][0]["why"], url
    earlier = {"origin_task": theirs["id"], "origin_fence": theirs["fence"], "version": theirs["version_id"]}
    said = await mallory.hand_in(done(own, sha256) | earlier)
    assert len(said["refused"]) == 1
    assert {t["state"] for t in await mill.tasks(run) if t["id"] == own["id"]} == {"running"}


async def test_what_the_site_knows_is_not_taken_from_the_worker(mill: Mill, mallory: Intruder) -> None:
    run = await run_of(mill, items=1)
    (task,) = await mallory.claim()
    body = document('{"own": 1}')
    lies = {"app": 99, "step": 1, "version": 12345, "pipeline_version": 77, "started": "1999-01-01", "worker_id": 1}
    inputs = [{"name": "passwd", "size": 1, "sha256": "0" * 64, "url": "file:///etc/passwd"}]
    more = {"inputs": inputs, "files": [inputs[0], inputs[0] | {"url": "sftp://centre/sps/a.dat"}]}
    said = await mallory.hand_in(done(task, body["sha256"]) | lies | more, documents=[body])
    assert said["moved"]
    (attempt,) = await mill.attempts(run)
    assert (attempt["step"], attempt["app_version_id"], attempt["worker_id"]) == (0, 1, mallory.worker)
    assert attempt["started_at"].year > 2000
    assert attempt["inputs"][0]["url"] == "worker://worker/etc/passwd"
    assert [file["url"] for file in attempt["files"]] == ["worker://worker/etc/passwd", "sftp://centre/sps/a.dat"]


async def test_paths_in_uploads_stay_in_their_folder(web: Web, mallory: Intruder, tmp_path: Path) -> None:
    content = b"x"
    sha256 = hashlib.sha256(content).hexdigest()
    before = set(tmp_path.rglob("*"))
    for name in ("../x", "..", "/etc/x", "a/../../x", "a\\..\\x", "x\x00", "", "y" * 300, "."):
        answer = await mallory.client.put(
            f"/api/worker/uploads/file/{sha256}",
            params={"worker": mallory.worker, "size": 1, "offset": 0, "name": name}, content=content,
        )  # fmt: skip
        assert answer.status_code == 422, name
    for digest in ("../../x", "..%2f..%2fx", sha256.upper(), "0"):
        answer = await mallory.client.put(
            f"/api/worker/uploads/document/{digest}",
            params={"worker": mallory.worker, "size": 1, "offset": 0}, content=content,
        )  # fmt: skip
        assert answer.status_code in {404, 405, 422}, digest
    assert {path for path in tmp_path.rglob("*") if path.is_file()} <= before | {tmp_path / "site" / "web.key"}


async def test_uploads_are_what_they_were_announced_as(web: Web, mallory: Intruder) -> None:
    content = b"y" * 1000
    sha256 = hashlib.sha256(content).hexdigest()
    path, about = f"/api/worker/uploads/document/{sha256}", {"worker": mallory.worker, "size": 1000}

    async def put(offset: int, piece: bytes) -> httpx2.Response:
        return await mallory.client.put(path, params=about | {"offset": offset}, content=piece)

    assert (await put(0, content[:400])).json() == {"offset": 400, "receipt": None}
    assert (await put(0, content)).status_code == 409
    assert (await put(400, content)).status_code == 422, "more than was announced"
    assert (await mallory.client.get(path, params=about)).json() == {"offset": 400}
    assert (await put(400, b"z" * 600)).status_code == 422, "another checksum"
    assert (await put(0, content)).json()["receipt"], "and then from the start"
    huge = {"worker": mallory.worker, "size": 2**62, "offset": 0}
    assert (await mallory.client.put(path, params=huge, content=b"y")).status_code == 422
    huge["name"] = "x"
    answer = await mallory.client.put(path.replace("document", "file"), params=huge, content=b"y")
    assert (answer.status_code, "no room" in answer.text) == (502, True)


async def test_bodies_beyond_bounds_are_refused_before_they_are_unpacked(mallory: Intruder) -> None:
    bomb = gzip.compress(b'{"log": "' + b" " * 200_000_000, 1)
    post = mallory.client.post
    tracemalloc.start()
    answer = await post("/api/worker/exchange", content=bomb, headers={"content-encoding": "gzip"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.status_code, "at most" in answer.text) == (422, True)
    assert peak < 200_000_000
    for content, encoding in (
        (b"x" * 100, "gzip"),
        (b"{}", "br"),
        (b"{", "identity"),
        (gzip.compress(b"{}")[:-5], "gzip"),
    ):
        answer = await post("/api/worker/renew", content=content, headers={"content-encoding": encoding})
        assert answer.status_code == 422, encoding
    answer = await post("/api/worker/renew", content=b" " * (65 * 1024 * 1024))
    assert (answer.status_code, "at most" in answer.text) == (422, True)
    for body in ({"tasks": [{"task": -1, "fence": 0}]}, {"tasks": "x"}, {"tasks": [{}] * 20_000}, [], None):
        assert (await post("/api/worker/disown", json=body)).status_code == 422


async def test_impossible_results_are_refused_alone(mill: Mill, mallory: Intruder) -> None:
    run = await run_of(mill, items=2)
    first, second = await mallory.claim(2)
    body = document('{"own": 1}')
    wrong = done(first, body["sha256"]) | {"move": "retry"}
    said = await mallory.hand_in(wrong, done(second, body["sha256"]), documents=[body])
    assert [one["task"] for one in said["refused"]] == [first["id"]]
    assert [one["id"] for one in said["moved"]] == [second["id"]]
    nothing = {"task": first["id"], "fence": first["fence"], "outcome": "done", "move": "next"}
    assert (await mallory.hand_in(nothing))["refused"]
    async with mill.database.begin() as session:
        assert await session.scalar(text("select count(*) from attempt")) == 1
    assert run
