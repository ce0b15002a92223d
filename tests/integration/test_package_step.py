"""Packing as a step of a run: by the workers' own engine, and by a command that needs neither site nor database."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import orjson
import pytest
from tests.packaging import Portal
from tests.packing import file_entry, folder_plan, plan
from tests.program import Program

from tidemill.db.database import Database
from tidemill.domain.package_plan import StorePlace
from tidemill.errors import Conflict, InvalidInput, StorageError, StorageRefused
from tidemill.executors.contract import AppCall, Done, Failed, Progress, Report, Work
from tidemill.executors.package import PackageExecutor
from tidemill.pipelines import apps
from tidemill.pipelines.apps import AppFacts, AppSettings
from tidemill.publishing.build import build
from tidemill.storage.documents import DocumentStore

APP = AppCall("package", "package", "package:", "json")


async def _built(document: bytes, report: Report) -> bytes:
    return (await build(document, report)).document()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "data" / "S1").mkdir(parents=True)
    (tmp_path / "data" / "S1" / "a.bin").write_bytes(b"a" * 3_000_000)
    return tmp_path / "data"


async def test_what_the_step_puts_out(here: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    document = folder_plan(here, tmp_path / "packages").document
    outcome = await PackageExecutor(_built).submit(Work("1-1", "P1_ALL.zip", APP, {}, document), reports.append)
    assert isinstance(outcome, Done)
    said = orjson.loads(outcome.document)
    assert list(said) == ["package", "name", "fingerprint", "file", "files", "manifest"]
    assert list(said["file"]) == ["store", "key", "size", "sha256", "etag"]
    assert (said["name"], said["files"], said["manifest"][0]["name"]) == ("P1_ALL.zip", 1, "S1/a.bin")
    assert reports[-1].message == "3 of 3 MB"


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (StorageError("the store is away"), True),
        (StorageRefused("there is no such bucket"), False),
        (Conflict("a changed while it was packed: sync again."), False),
        (InvalidInput("no plan", hint="A plan is …"), False),
    ],
)
async def test_failures_say_whether_another_try_helps(error: Exception, retry: bool) -> None:
    async def builder(document: bytes, report: Report) -> bytes:
        raise error

    outcome = await PackageExecutor(builder).submit(Work("1-1", "i", APP, {}, b"{}"), lambda _: None)
    assert isinstance(outcome, Failed)
    assert outcome.retry is retry
    assert str(error).partition("\n")[0] in outcome.reason


async def test_a_deadline_stops_it_and_says_how_far_it_was(here: Path, tmp_path: Path) -> None:
    with (here / "vast").open("wb") as file:
        file.truncate(2 << 30)
    there = tmp_path / "packages"
    document = plan(
        {"data": StorePlace(here.as_uri())}, StorePlace(there.as_uri()), [file_entry(here, "vast")]
    ).document
    app = AppCall("package", "package", "package:", "json", deadline=0.3)
    outcome = await PackageExecutor(_built).submit(Work("1-1", "i", app, {}, document), lambda _: None)
    assert isinstance(outcome, Failed)
    assert outcome.timed_out
    assert outcome.reason.startswith("The package was not finished within its deadline of 0.3 s.")
    assert [path for path in there.rglob("*") if path.is_file()] == []


def test_the_command_needs_no_site(here: Path, tmp_path: Path) -> None:
    wanted = folder_plan(here, tmp_path / "packages")
    (tmp_path / "plan.json").write_bytes(wanted.document)
    program = Program(tmp_path / "nowhere", None)
    ended = program("build-package", tmp_path / "plan.json", tmp_path / "out.json")
    said = json.loads((tmp_path / "out.json").read_text())
    assert (tmp_path / "packages" / said["file"]["key"]).stat().st_size == said["file"]["size"]
    assert [json.loads(line) for line in ended.err.splitlines()][-1] == {"progress": 1.0, "message": "3 of 3 MB"}
    assert ended.out == ""
    assert not (tmp_path / "nowhere").exists()


def test_the_command_tells_what_is_wrong_by_its_exit_code(here: Path, tmp_path: Path) -> None:
    program, out = Program(tmp_path / "nowhere", None), tmp_path / "out.json"
    wanted = folder_plan(here, tmp_path / "packages")
    (tmp_path / "plan.json").write_bytes(wanted.document)
    (here / "S1" / "a.bin").write_text("other")
    assert "sync again" in program("build-package", tmp_path / "plan.json", out, code=5).err
    here.rename(tmp_path / "away")
    assert "is not there" in program("build-package", tmp_path / "plan.json", out, code=10).err
    (tmp_path / "plan.json").write_text("[]")
    assert "This is no plan of a package" in program("build-package", tmp_path / "plan.json", out, code=3).err
    assert "cannot be read" in program("build-package", tmp_path / "nothing", out, code=3).err
    assert not out.exists()


async def test_a_site_can_name_a_command_that_packs(
    database: Database, documents: DocumentStore, tmp_path: Path
) -> None:
    """As the same on a cluster: the engine that the site names runs `tidemill build-package`."""
    portal = Portal(database, documents, tmp_path)
    await portal.lay("S1", "S2")
    tidemill = str(Path(sys.executable).with_name("tidemill"))
    options = {"command": [tidemill, "build-package", "{input}", "{output}"], "exit_retry": [10]}
    async with database.begin() as session:
        settings = AppSettings("packer", "command:packer", "command", "json", options=options)
        await apps.register(session, settings, AppFacts("1"))
    await portal.publish(engine="packer")
    begun = await portal.begin()
    worker = portal.site.packer(2, {"packer": "command"})
    job = asyncio.create_task(worker.run())
    try:
        await portal.until("select count(*) = 0 from run where id = :run and state = 'active'", run=begun.run)
    finally:
        worker.stop()
        await asyncio.wait_for(job, 60)
    await portal.register()
    made = await portal.current()
    assert set(made) == {"P1_ALL.zip", "S1.zip", "S2.zip"}
    assert (portal.packages / made["P1_ALL.zip"]["key"]).stat().st_size == made["P1_ALL.zip"]["size"]
