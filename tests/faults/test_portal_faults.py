"""What goes wrong in portals of this kind, and what must happen instead: seen from outside, by commands and over HTTP.

Each fault of the systems of this kind that are at work today, and where it is shown that it does not happen here (in
`tests/integration`, if no folder is named; "below": in this file):

- Locked projects' file rows are deleted:
  `test_sync_s3.py::test_a_locked_projects_rows_stay_while_its_lock_lies_there_and_come_back_after`.
- A deletion of 99 % passes: below; `test_sync_s3.py::test_the_guard_counts_what_an_unlocking_would_let_go`.
- A reload that fails midway leaves no project:
  `test_load_metadata.py::test_a_load_that_is_killed_midway_leaves_every_project_whole`.
- Old packages go before the new ones are there: below; killed anywhere between: `tests/faults/test_package_faults.py`.
- A failed upload counts as success: below; midway: `test_package_building_s3.py::test_a_store_that_fails_midway`.
- Corrections to contacts never arrive: below.
- Every package lies on the local disk, twice: below.
- A crash submits a package twice:
  `test_cli_packages.py::test_what_is_dispatched_is_left_to_workers_and_not_dispatched_twice`.
- What the engine forgets is "processing" for ever: below;
  `tests/faults/test_package_faults.py::test_killed_between_upload_and_finish`.
- States come by cron, half an hour late: below.

And one that such systems avoid by not loading locked projects at all: what is locked goes out with others. Below.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psycopg
import pytest
from tests.ceph import Bucket, Server, fresh_bucket
from tests.program import TIDEMILL, Program

from tidemill.cli.exits import Exit

pytestmark = pytest.mark.fault

SITE = '''
[vocabulary]
item = "sample"
items = "samples"

[project_fields]
contacts = {{ type = "list" }}

[[sources]]
name = "bucket"
url = "{originals}"
endpoint = "{endpoint}"
region = "us-east-1"
layout = [
  {{ pattern = "{{project}}.lock", lock = true }},
  {{ pattern = "project_metadata.csv", attributes = {{ format = "METADATA" }} }},
  {{ pattern = "{{project}}/{{item:S[^/]+}}/**", split = ",", attributes = {{ format = "DATA" }} }},
]

[[tables]]
name = "projects"
file = "project_metadata.csv"
describes = "projects"
id = "id"
parallel = [{{ into = "contacts", columns = {{ name = "contact_name", email = "contact_email" }} }}]

[[packages]]
name = "project"
per = "project"
file = "{{project}}_DATA.zip"
readme = """{{% for one in project.metadata.get('contacts', []) -%}}
Contact: {{{{ one.name }}}} <{{{{ one.email }}}}>{{% endfor %}}"""
files = [{{ attributes = {{ format = "DATA" }}, into = "{{items}}/{{name}}", required = true }}]

[[packages]]
name = "sample"
per = "item"
file = "{{item}}_DATA.zip"
files = [{{ attributes = {{ format = "DATA" }}, into = "{{name}}", required = true }}]

[publishing]
store = "{packages}"
endpoint = "{endpoint}"
region = "us-east-1"
upload = true

[portal]
public = true
id = "id"
'''
PROJECTS = "id,title,contact_name,contact_email\nP1,First,Ada,{email}\nP2,Second,Bo,bo@example.org\n"
PATIENCE = 60.0


@dataclass
class Portal:
    """A small site whose originals and packages lie on S3; its operators' commands, and what a visitor sees."""

    program: Program
    originals: Bucket
    packages: Bucket

    def publish(self, code: int | None = 0) -> str:
        """All that an operator does after the files changed; how packing ended, in words."""
        self.program("sync-original-files")
        self.program("load-metadata", "--reload-existing")
        ended = self.program("generate-computed-files", "--max-workers", "2", code=code)
        return ended.out + ended.err

    def current(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.program("computed-files", "--json").json}

    def inside(self, name: str) -> dict[str, bytes]:
        """What is in a package, straight from the store."""
        with zipfile.ZipFile(io.BytesIO(self.packages.read(self.current()[name]["key"]))) as package:
            return {one: package.read(one) for one in package.namelist()}


def laid(portal: Portal, service: Server, folder: Path) -> Portal:
    """With two projects of two samples each."""
    portal.originals.put("project_metadata.csv", PROJECTS.format(email="ada@example.org").encode())
    for project, sample in (("P1", "S1"), ("P1", "S2"), ("P2", "S3"), ("P2", "S4")):
        portal.originals.put(f"{project}/{sample}/data.bin", f"the data of {sample}".encode() * 100)
    site = folder / "site.toml"
    text = SITE.format(originals=portal.originals.url, packages=portal.packages.url, endpoint=service.endpoint)
    site.write_text(text)
    portal.program("apply", site, "--yes")
    with psycopg.connect(str(portal.program.database_url)) as connection:
        connection.execute("update app set backoff = 0.1")  # what fails is tried again at once
    return portal


@pytest.fixture
def portal(moto: Server, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Portal:
    buckets = [fresh_bucket(moto, monkeypatch) for _ in range(2)]
    program = Program(tmp_path / "site", database_url, {"TIDEMILL_LEASE": "2"})
    return laid(Portal(program, *buckets), moto, tmp_path)


@pytest.fixture
def real_portal(ceph: Server, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Portal:
    buckets = [fresh_bucket(ceph, monkeypatch) for _ in range(2)]
    return laid(Portal(Program(tmp_path / "site", database_url), *buckets), ceph, tmp_path)


@contextmanager
def up(program: Program, *words: str) -> Iterator[httpx.Client]:
    """The site, up; a client that knows its address and has no key."""
    with program.start("up", "--port", "0", *words) as site:
        address = site.until(r"http://127\.0\.0\.1:\d+")[0]
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client
        site.signal(signal.SIGTERM)
        site.end()


def until(condition: Callable[[], Any]) -> Any:
    ends = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.05)
    return found


def test_a_deletion_of_nearly_everything_is_stopped_and_says_how_to_allow_it(portal: Portal) -> None:
    for number in range(95):
        portal.originals.put(f"P1/S1/{number:03d}.bin")
    portal.publish()
    before = portal.current()
    keys = [key for key in portal.originals.keys() if key != "P2/S4/data.bin"]  # noqa: SIM118 - a method of ours
    portal.originals.remove(*keys)
    refused = portal.program("sync-original-files", code=None)
    assert refused.code != 0
    assert "99% of its 100 files are gone" in refused.err
    assert "--allow-bucket-wipe" in refused.err
    assert len(portal.program("item", "S1", "--json").json["files"]) == 96
    assert _places(portal.current()) == _places(before)
    assert "99" in portal.program("sync-original-files", "--allow-bucket-wipe", "--dry-run").out
    portal.program("sync-original-files", "--allow-bucket-wipe")
    assert portal.program("item", "S1", "--json").json["files"] == []


def test_corrections_to_contacts_arrive_everywhere(portal: Portal) -> None:
    portal.publish()
    portal.originals.put("project_metadata.csv", PROJECTS.format(email="ada@new.example.org").encode())
    before = portal.current()
    portal.publish()
    after = portal.current()
    assert {name for name in after if after[name]["key"] != before[name]["key"]} == {"P1_DATA.zip"}
    assert portal.inside("P1_DATA.zip")["README.md"] == b"Contact: Ada <ada@new.example.org>"
    with up(portal.program, "--no-worker") as client:
        assert client.get("/v1/projects/P1").json()["contacts"] == [{"name": "Ada", "email": "ada@new.example.org"}]


def test_a_refused_upload_fails_and_the_package_before_stays(real_portal: Portal) -> None:
    portal = real_portal
    portal.publish()
    before = portal.current()
    with up(portal.program, "--no-worker") as client:
        key = client.post("/v1/tokens", json={"email": "a@example.org", "is_activated": True}).json()["id"]
        link = client.get(f"/v1/computed-files/{before['S1_DATA.zip']['id']}", headers={"API-KEY": key}).json()
        portal.originals.put("P1/S1/data.bin", b"better data")
        with _refusing_writes(portal.packages, "*"):
            assert "AccessDenied" in portal.publish(code=Exit.STORAGE), "no run is begun"
            assert _places(portal.current()) == _places(before)
        with _refusing_writes(portal.packages, "*/S1_DATA.zip"):
            said = portal.publish(code=Exit.SOME_FAILED)
            assert re.search(r"S1_DATA.zip failed.*AccessDenied", said), said
            assert _places(portal.current())["S1_DATA.zip"] == _places(before)["S1_DATA.zip"]
            assert hashlib.sha256(httpx.get(link["download_url"], timeout=60).content).hexdigest() == link["sha256"]
        portal.publish()
        assert portal.inside("S1_DATA.zip")["data.bin"] == b"better data"
        again = httpx.get(link["download_url"], timeout=60)
        assert hashlib.sha256(again.content).hexdigest() == link["sha256"], "a link that was given out holds"


def _places(current: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {name: (one["key"], one["sha256"]) for name, one in current.items()}


@contextmanager
def _refusing_writes(bucket: Bucket, keys: str) -> Iterator[None]:
    """Within: nothing can be put under these keys of a bucket, by its own policy."""
    place = f"arn:aws:s3:::{bucket.name}/{keys}"
    those = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": place}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [those]})
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=policy)
    try:
        yield
    finally:
        bucket.client.delete_bucket_policy(Bucket=bucket.name)


def test_no_package_lies_on_the_local_disk(portal: Portal) -> None:
    large = os.urandom(24 * 1024 * 1024)
    portal.originals.put("P2/S3/data.bin", large)
    portal.program("sync-original-files")

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 1024 * 1024, 2 * 1024 * 1024))

    command = [str(TIDEMILL), "generate-computed-files", "--project-id", "P2"]
    subprocess.run(command, env=portal.program.environment, check=True, preexec_fn=no_large_files, timeout=60)
    assert portal.inside("S3_DATA.zip")["data.bin"] == large


def test_what_a_killed_worker_had_in_hand_is_packed_by_the_next(portal: Portal) -> None:
    portal.originals.put("P1/S1/data.bin", os.urandom(48 * 1024 * 1024))
    portal.program("sync-original-files")
    run = portal.program("dispatch-to-batch", "--project-id", "P1", "--json").json
    with portal.program.start("worker") as worker:
        until(lambda: any(run["running"] for run in portal.program("runs", "--json").json))
        worker.signal(signal.SIGKILL)
        worker.end()
    with up(portal.program) as client:
        until(lambda: client.get("/v1/computed-files").json()["count"] == 3)
    assert set(portal.current()) == {"P1_DATA.zip", "S1_DATA.zip", "S2_DATA.zip"}, run


def test_what_is_dispatched_is_seen_by_visitors_as_soon_as_it_is_packed(portal: Portal) -> None:
    portal.program("sync-original-files")
    with up(portal.program) as client:
        assert client.get("/v1/computed-files").json()["count"] == 0
        portal.program("dispatch-to-batch")
        until(lambda: client.get("/v1/computed-files").json()["count"] == 6)
        assert [one["name"] for one in client.get("/v1/samples/S3").json()["computed_files"]] == ["S3_DATA.zip"]


def test_nothing_of_a_project_that_is_locked_goes_out_with_others(portal: Portal) -> None:
    portal.originals.put("P3.lock", b"")
    portal.originals.put("P3/S1/secret.bin", b"not yet released")
    portal.originals.put("P3/S9/secret.bin", b"not yet released")
    portal.publish()
    assert set(portal.current()) == {f"{name}_DATA.zip" for name in ("P1", "P2", "S1", "S2", "S3", "S4")}
    assert not any("secret" in name for package in portal.current() for name in portal.inside(package))
    with up(portal.program, "--no-worker") as client:
        everything = json.dumps([client.get(f"/v1/{one}?limit=100").json() for one in ("projects", "samples")])
        assert "P3" not in everything
        assert "S9" not in everything
        assert client.get("/v1/samples/S9").status_code == 404
    portal.originals.remove("P3.lock")
    portal.publish()
    assert portal.inside("S9_DATA.zip")["secret.bin"] == b"not yet released"
