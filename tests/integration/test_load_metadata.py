"""Metadata files of a source loaded: a bucket laid out as a portal has it, changed, locked, broken, cut."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.ceph import Bucket
from tests.program import Program
from tests.transactions import no_transaction_is_open
from tests.webserver import web_site

from tidemill.accounts import tokens
from tidemill.catalogue import edits, metadata, projects, purge
from tidemill.catalogue.metadata import LoadReport, LoadWish
from tidemill.catalogue.sync import sync
from tidemill.db.database import Database, fetch
from tidemill.db.models import Source
from tidemill.domain.roles import Role
from tidemill.errors import Conflict, InvalidInput, NotFound, TablesRefused
from tidemill.pipelines.portal_check import portal_values
from tidemill.pipelines.site_file import parse_site_file

SITE = """
[fields.age]
type = "number"
[fields.formats]
type = "list"
collect = "@format"
[fields.library_count]
type = "integer"
collect = "#libraries"

[project_fields.diagnoses]
type = "list"
[project_fields.sample_count]
type = "integer"
collect = "#items"
[project_fields.technologies]
type = "list"
collect = "libraries.technology"
[project_fields.formats]
type = "list"
collect = "@format"
[project_fields.has_multiplexed]
type = "boolean"
collect = "libraries.is_multiplexed=true"

[[sources]]
name = "inputs"
url = "URL"

[[sources.layout]]
pattern = "{project:SCPCP[0-9]+}/{item:SCPCS[^/]+}/*.rds"
split = ","
attributes = { format = "SINGLE_CELL_EXPERIMENT" }
[[sources.layout]]
pattern = "{project:SCPCP[0-9]+}/{item:SCPCS[^/]+}/**"
split = ","
[[sources.layout]]
pattern = "{project:SCPCP[0-9]+}/**"
[[sources.layout]]
pattern = "{project:SCPCP[0-9]+}.lock"
lock = true
[[sources.layout]]
pattern = "*.csv"
attributes = { role = "metadata" }

[[tables]]
name = "projects"
file = "project_metadata.csv"
describes = "projects"
id = "scpca_project_id"
required = true
columns.project_title.field = "title"
columns.has_bulk.type = "boolean"
[[tables.parallel]]
into = "contacts"
columns = { name = "contact_names", email = "contact_emails" }

[[tables]]
name = "samples"
file = "{project}/samples_metadata.csv"
describes = "items"
id = "scpca_sample_id"

[[tables]]
name = "libraries"
file = "{project}/{item}/**_metadata.json"
describes = "parts"
id = "library_id"
item = "sample_id"
into = "libraries"

[[tables]]
name = "bulk"
file = "{project}/bulk/*_bulk_metadata.tsv"
describes = "parts"
id = "library_id"
item = "sample_id"
into = "libraries"
"""
PROJECTS = """\
scpca_project_id,project_title,abstract,diagnoses,has_bulk,contact_names,contact_emails
SCPCP999990,First,"A long, quoted text",Ganglioglioma;Glioma,TRUE,Ann;Bob,ann@x.org;bob@x.org
SCPCP999991,Second,=1+1,Glioma,FALSE,Carl,carl@x.org
SCPCP999992,Empty,,NA,FALSE,,
"""
SAMPLES = "scpca_sample_id,age,diagnosis\n"
FILES = {
    "project_metadata.csv": PROJECTS,
    "SCPCP999990/samples_metadata.csv": SAMPLES
    + "SCPCS999990,2,Ganglioglioma\nSCPCS999991,5.5,Glioma\nSCPCS999994,NA,Glioma\n",
    "SCPCP999990/SCPCS999990/SCPCL999990_processed.rds": "data",
    "SCPCP999990/SCPCS999990/SCPCL999990_metadata.json": json.dumps(
        {"library_id": "SCPCL999990", "sample_id": "SCPCS999990", "technology": "10Xv3", "cells": 10}
    ),
    "SCPCP999990/SCPCS999991/SCPCL999991_spatial/SCPCL999991_metadata.json": json.dumps(
        {"library_id": "SCPCL999991", "sample_id": "SCPCS999991", "technology": "visium"}
    ),
    "SCPCP999990/bulk/SCPCP999990_bulk_metadata.tsv": "sample_id\tlibrary_id\ttechnology\n"
    "SCPCS999990\tSCPCL999980\tpaired_end\nSCPCS999994\tSCPCL999981\tpaired_end\n",
    "SCPCP999991/samples_metadata.csv": SAMPLES + "SCPCS999992,3,Glioma\nSCPCS999993,4,Glioma\n",
    "SCPCP999991/SCPCS999992,SCPCS999993/SCPCL999992_metadata.json": json.dumps(
        {
            "library_id": "SCPCL999992", "sample_id": "SCPCS999992,SCPCS999993", "technology": "10Xv3",
            "is_multiplexed": True,
        }
    ),
}  # fmt: skip


def write(folder: Path, files: Mapping[str, str | bytes | None]) -> None:
    """Write files; None takes one away."""
    for key, content in files.items():
        path = folder / key
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        was = path.stat().st_mtime_ns if path.exists() else 0
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if path.stat().st_mtime_ns <= was:
            os.utime(path, ns=(was + 1, was + 1))


async def declare(database: Database, site: str, url: str, options: dict[str, Any] | None = None) -> None:
    """Put what a site file says of its source and tables into the database."""
    file = parse_site_file(site.replace("URL", "bucket"), Path("site.toml"))
    rules = [entry.rule().as_json() for entry in file.content.sources[0].layout]
    values = portal_values(file.content, Path()) | {
        noun: {name: entry.model_dump() for name, entry in getattr(file.content, noun).items()}
        for noun in ("fields", "project_fields")
    }
    async with database.begin() as session:
        session.add(Source(name="inputs", url=url, layout={"rules": rules}, options=options or {}, may_lose=1))
        await session.execute(text("insert into site (title) values ('') on conflict do nothing"))
        for key in ("fields", "project_fields", "tables"):
            statement = text(f"update site set {key} = cast(:value as jsonb)")
            await session.execute(statement, {"value": json.dumps(values[key])})


class Portal:
    """A site on a folder."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder

    async def sync(self, files: Mapping[str, str | bytes | None] | None = None) -> None:
        write(self.folder, files or {})
        await sync(self.database, "inputs", allow_wipe=True)

    async def load(self, **wish: Any) -> LoadReport:
        return await metadata.load(self.database, LoadWish(**wish))

    async def reload(self, files: Mapping[str, str | bytes | None] | None = None, **wish: Any) -> LoadReport:
        await self.sync(files)
        return await self.load(existing=True, **wish)

    async def faults(self, files: Mapping[str, str | bytes | None], **wish: Any) -> list[str]:
        """What a load says after these files were written; and that it wrote nothing."""
        await self.sync(files)
        before = await self.state()
        with pytest.raises(TablesRefused) as error:
            await self.load(existing=True, **wish)
        assert await self.state() == before
        assert error.value.count == len(error.value.faults)
        return [str(fault["told"]) for fault in error.value.faults]

    async def item(self, name: str) -> dict[str, Any]:
        return (await self.items())[name]

    async def items(self) -> dict[str, Any]:
        rows = await self._all(
            "select i.*, array(select p.name from project_item x join project p on p.id = x.project_id "
            "where x.item_id = i.id order by 1) as projects from item i order by i.name"
        )
        return {row["name"]: row for row in rows}

    async def projects(self) -> dict[str, Any]:
        return {row["name"]: row for row in await self._all("select * from project order by name")}

    async def state(self) -> list[Any]:
        tables = ("project", "item", "project_item", "described")
        return [await self._all(f"select * from {name} order by 1, 2") for name in tables]

    async def _all(self, statement: str) -> list[dict[str, Any]]:
        async with self.database.begin() as session:
            return [dict(row) for row in (await session.execute(text(statement))).mappings()]


@pytest.fixture
async def portal(database: Database, tmp_path: Path) -> Portal:
    folder = tmp_path / "bucket"
    folder.mkdir()
    await declare(database, SITE, folder.as_uri())
    portal = Portal(database, folder)
    await portal.sync(FILES)
    return portal


def outcomes(report: LoadReport) -> dict[str | None, str]:
    return {one.project: one.outcome for one in report.projects}


async def test_a_bucket_becomes_projects_samples_and_libraries(portal: Portal) -> None:
    report = await portal.load()
    assert outcomes(report) == dict.fromkeys(["SCPCP999990", "SCPCP999991", "SCPCP999992"], "created")
    assert [(one.items, one.created, one.changed, one.parts) for one in report.projects] == [
        (3, 1, 2, 4), (2, 0, 2, 1), (0, 0, 0, 0)
    ]  # fmt: skip
    found = await portal.projects()
    assert found["SCPCP999990"]["title"] == "First"
    assert found["SCPCP999990"]["metadata"] == {
        "abstract": "A long, quoted text",
        "diagnoses": ["Ganglioglioma", "Glioma"],
        "has_bulk": True,
        "contacts": [{"name": "Ann", "email": "ann@x.org"}, {"name": "Bob", "email": "bob@x.org"}],
        "sample_count": 3,
        "technologies": ["10Xv3", "paired_end", "visium"],
        "formats": ["SINGLE_CELL_EXPERIMENT"],
        "has_multiplexed": False,
    }
    assert found["SCPCP999991"]["metadata"]["abstract"] == "=1+1"
    assert found["SCPCP999991"]["metadata"]["has_multiplexed"] is True
    assert found["SCPCP999992"]["metadata"] == {
        "has_bulk": False, "sample_count": 0, "technologies": [], "formats": [], "has_multiplexed": False
    }  # fmt: skip
    items = await portal.items()
    assert items["SCPCS999990"]["metadata"] == {
        "age": 2,
        "diagnosis": "Ganglioglioma",
        "formats": ["SINGLE_CELL_EXPERIMENT"],
        "library_count": 2,
        "libraries": [
            {"library_id": "SCPCL999980", "technology": "paired_end"},
            {"library_id": "SCPCL999990", "technology": "10Xv3", "cells": 10},
        ],
    }
    assert items["SCPCS999994"]["metadata"]["library_count"] == 1
    shared = [items[name]["metadata"]["libraries"] for name in ("SCPCS999992", "SCPCS999993")]
    assert shared[0] == shared[1]
    assert shared[0][0]["library_id"] == "SCPCL999992"
    assert {name: row["projects"] for name, row in items.items()} == {
        f"SCPCS99999{n}": ["SCPCP999991" if n in (2, 3) else "SCPCP999990"] for n in range(5)
    }


async def test_what_is_there_is_left_alone_and_a_reload_of_the_same_writes_nothing(portal: Portal) -> None:
    await portal.load()
    before = await portal.state()
    assert set(outcomes(await portal.load()).values()) == {"skipped"}
    assert set(outcomes(await portal.load(existing=True)).values()) == {"unchanged"}
    assert await portal.state() == before
    assert outcomes(await portal.load(projects=["SCPCP999991"])) == {"SCPCP999991": "skipped"}


async def test_a_reload_changes_what_changed_and_nothing_else(portal: Portal) -> None:
    await portal.load()
    before = await portal.items()
    async with portal.database.begin() as session:
        await edits.apply_one(session, {"name": "SCPCS999990", "metadata": {"note": "mine", "age": 99}})
    samples = "scpca_sample_id,age,tissue\nSCPCS999990,2,brain\nSCPCS999991,5.5,NA\nSCPCS999994,NA,NA\n"
    report = await portal.reload(
        {
            "project_metadata.csv": PROJECTS.replace("bob@x.org", "robert@x.org"),
            "SCPCP999990/samples_metadata.csv": samples,
        }
    )
    assert outcomes(report) == {"SCPCP999990": "changed", "SCPCP999991": "unchanged", "SCPCP999992": "unchanged"}
    assert (await portal.projects())["SCPCP999990"]["metadata"]["contacts"][1]["email"] == "robert@x.org"
    after = await portal.items()
    assert {name: row["id"] for name, row in after.items()} == {name: row["id"] for name, row in before.items()}
    changed = after["SCPCS999990"]["metadata"]
    assert (changed["note"], changed["age"], changed["tissue"], changed.get("diagnosis")) == ("mine", 2, "brain", None)
    assert after["SCPCS999990"]["revision"] == before["SCPCS999990"]["revision"] + 2
    assert after["SCPCS999992"] == before["SCPCS999992"]


async def test_a_key_that_two_projects_tables_wrote_goes_with_the_last_of_them(portal: Portal) -> None:
    shared = {"SCPCP999992/samples_metadata.csv": "scpca_sample_id,age\nSCPCS999992,3\n"}
    await portal.sync(shared)
    await portal.load()
    assert (await portal.item("SCPCS999992"))["projects"] == ["SCPCP999991", "SCPCP999992"]
    gone = {"SCPCP999991/samples_metadata.csv": "scpca_sample_id,diagnosis\nSCPCS999992,x\nSCPCS999993,x\n"}
    await portal.reload(gone)
    assert (await portal.item("SCPCS999992"))["metadata"]["age"] == 3
    assert "age" not in (await portal.item("SCPCS999993"))["metadata"]


async def test_items_that_left_a_table_are_reported_and_leave_the_project_but_not_the_catalogue(portal: Portal) -> None:
    await portal.load()
    async with portal.database.begin() as session:
        await edits.apply_one(session, {"name": "SCPCS999994", "metadata": {"note": "mine"}})
    fewer = {
        "SCPCP999990/samples_metadata.csv": SAMPLES + "SCPCS999990,2,Glioma\n",
        "SCPCP999990/bulk/SCPCP999990_bulk_metadata.tsv": None,
        "SCPCP999990/SCPCS999991/SCPCL999991_spatial/SCPCL999991_metadata.json": None,
        "SCPCP999990/SCPCS999991/data.bin": "x",
    }
    await portal.sync(fewer)
    before = await portal.state()
    await portal.load()
    report = await portal.load(existing=True, dry_run=True)
    assert await portal.state() == before
    assert (report.projects[0].left, report.projects[0].kept) == (["SCPCS999994"], ["SCPCS999991"])
    report = await portal.load(existing=True)
    assert (report.projects[0].outcome, report.projects[0].left) == ("changed", ["SCPCS999994"])
    items = await portal.items()
    assert (items["SCPCS999994"]["projects"], items["SCPCS999994"]["metadata"]) == ([], {"note": "mine"})
    assert (items["SCPCS999991"]["projects"], items["SCPCS999991"]["metadata"]) == (["SCPCP999990"], {})
    assert (await portal.projects())["SCPCP999990"]["metadata"]["sample_count"] == 2


async def test_a_locked_project_is_left_alone_unless_its_reload_is_asked(portal: Portal) -> None:
    await portal.load()
    changed = {"SCPCP999990/samples_metadata.csv": FILES["SCPCP999990/samples_metadata.csv"].replace("5.5", "6")}
    report = await portal.reload({"SCPCP999990.lock": "", **changed})
    assert outcomes(report)["SCPCP999990"] == "locked"
    assert (await portal.item("SCPCS999991"))["metadata"]["age"] == 5.5
    broken = {"SCPCP999990/samples_metadata.csv": "broken"}
    assert outcomes(await portal.reload(broken))["SCPCP999990"] == "locked"
    assert outcomes(await portal.reload(changed, locked=True))["SCPCP999990"] == "changed"
    assert (await portal.item("SCPCS999991"))["metadata"]["age"] == 6
    assert (await portal.projects())["SCPCP999990"]["locked"]


async def test_a_locked_project_that_was_never_loaded_is_left_alone_too(portal: Portal) -> None:
    await portal.sync({"SCPCP999991.lock": ""})
    assert outcomes(await portal.load())["SCPCP999991"] == "locked"
    assert (await portal.item("SCPCS999992"))["metadata"] == {}
    assert outcomes(await portal.load(locked=True))["SCPCP999991"] == "created"


async def test_one_project_is_loaded_without_looking_at_the_others(portal: Portal) -> None:
    await portal.sync({"SCPCP999990/samples_metadata.csv": "broken"})
    assert outcomes(await portal.load(projects=["SCPCP999991"])) == {"SCPCP999991": "created"}
    assert (await portal.projects())["SCPCP999990"]["metadata"] == {}
    with pytest.raises(NotFound, match="SCPCP1"):
        await portal.load(projects=["SCPCP1"])


async def test_every_mistake_is_told_and_nothing_is_written(portal: Portal) -> None:
    await portal.load()
    assert await portal.faults(
        {
            "project_metadata.csv": PROJECTS + "SCPCP999990,Again,,,FALSE,,\nSCPCP/9,Odd,,,maybe,A;B,a@x\n",
            "SCPCP999990/samples_metadata.csv": SAMPLES + "SCPCS999990,old,x\nSCPCS999991,1,y\nSCPCS999991,1,y\n",
            "SCPCP999991/samples_metadata.csv": (SAMPLES + "SCPCS999992,1,für alle\n").encode("latin-1"),
        }
    ) == [
        "project_metadata.csv, row 5, column scpca_project_id: 'SCPCP999990' stands in row 2 already.",
        "project_metadata.csv, row 6, column has_bulk: 'maybe'; it must be true or false.",
        "project_metadata.csv, row 6, column contact_names, contact_emails: these are lists in step, separated by ';', "
        "but contact_names has 2, contact_emails has 1.",
        "SCPCP999990/samples_metadata.csv, row 2, column age: 'old'; it must be a number.",
        "SCPCP999990/samples_metadata.csv, row 4, column scpca_sample_id: 'SCPCS999991' stands in row 3 already.",
        "SCPCP999991/samples_metadata.csv, row 2, column diagnosis: 0xFC (byte 45 of the file, counted from 0) is no "
        'UTF-8; if the file is Latin-1, say encoding = "latin-1" in its table.',
    ]  # fmt: skip


async def test_ids_that_nothing_knows_are_mistakes(portal: Portal) -> None:
    await portal.load()
    stray = json.dumps({"library_id": "SCPCL1", "sample_id": "SCPCS999990"})
    assert await portal.faults(
        {
            "SCPCP999990/samples_metadata.csv": SAMPLES + "SCPCS999990,2,x\nSCPCS999991,2,x\n",
            "SCPCP999991/SCPCS999992/SCPCL1_metadata.json": stray,
            "SCPCP999990/SCPCS999990/SCPCL2_metadata.json": FILES["SCPCP999990/SCPCS999990/SCPCL999990_metadata.json"],
        }
    ) == [
        "SCPCP999990/SCPCS999990/SCPCL999990_metadata.json, row 1, column library_id: 'SCPCL999990' stands in "
        "SCPCP999990/SCPCS999990/SCPCL2_metadata.json, row 1 already.",
        "SCPCP999991/SCPCS999992/SCPCL1_metadata.json, row 1, column sample_id: it names SCPCS999990, but the file's "
        "key SCPCS999992.",
        "SCPCP999990/bulk/SCPCP999990_bulk_metadata.tsv, row 3, column sample_id: there is no item 'SCPCS999994' of "
        "SCPCP999990: neither a table nor a synced file names it.",
    ]  # fmt: skip


async def test_projects_that_contradict_each_other_about_an_item_are_a_mistake(portal: Portal) -> None:
    library = {"library_id": "SCPCL9", "sample_id": "SCPCS999992"}
    assert await portal.faults(
        {
            "SCPCP999992/samples_metadata.csv": SAMPLES + "SCPCS999992,3,Ependymoma\n",
            "SCPCP999992/SCPCS999992/SCPCL9_metadata.json": json.dumps(library),
        }
    ) == [
        "SCPCP999992/samples_metadata.csv, row 2: 'diagnosis' of 'SCPCS999992' is something else in "
        "SCPCP999991/samples_metadata.csv, row 2.",
        "SCPCP999992/SCPCS999992/SCPCL9_metadata.json, row 1: 'libraries' of 'SCPCS999992' is another list than in "
        "SCPCP999991/SCPCS999992,SCPCS999993/SCPCL999992_metadata.json; an item has one, in all its projects.",
    ]


async def test_a_project_without_what_it_must_have_is_a_mistake(portal: Portal) -> None:
    told = await portal.faults({"project_metadata.csv": PROJECTS.replace("SCPCP999991", "SCPCP999993")})
    assert told == ["project_metadata.csv: SCPCP999991 has no row, which table 'projects' says it must have."]


async def test_a_project_that_no_table_names_any_more_stays_as_it_is(portal: Portal) -> None:
    await portal.load()
    before = (await portal.projects())["SCPCP999992"]
    fewer = "\n".join(line for line in PROJECTS.splitlines() if "SCPCP999992" not in line)
    report = await portal.reload({"project_metadata.csv": fewer})
    assert report.gone == ["SCPCP999992"]
    assert (await portal.projects())["SCPCP999992"] == before


async def test_a_file_that_changed_since_the_sync_is_a_mistake(portal: Portal) -> None:
    write(portal.folder, {"SCPCP999990/samples_metadata.csv": SAMPLES + "SCPCS999990,9,x\n"})
    (portal.folder / "SCPCP999991/samples_metadata.csv").unlink()
    with pytest.raises(TablesRefused) as error:
        await portal.load()
    assert [fault["told"] for fault in error.value.faults] == [
        f"SCPCP99999{n}/samples_metadata.csv: it has changed since its source was synced; sync first." for n in (0, 1)
    ]


async def test_a_load_cut_between_projects_leaves_each_of_them_whole(portal: Portal) -> None:
    await portal.load()
    raised = {key: text.replace(",Glioma", ",Ependymoma") for key, text in FILES.items() if "samples" in key}
    await portal.sync(raised)

    def cut(done: metadata.ProjectReport) -> None:
        raise RuntimeError(done.project)

    with pytest.raises(RuntimeError, match="SCPCP999990"):
        await metadata.load(portal.database, LoadWish(existing=True), cut)
    assert (await portal.item("SCPCS999991"))["metadata"]["diagnosis"] == "Ependymoma"
    assert (await portal.item("SCPCS999992"))["metadata"]["diagnosis"] == "Glioma"
    report = await portal.load(existing=True)
    assert outcomes(report)["SCPCP999990"] == "unchanged"
    assert outcomes(report)["SCPCP999991"] == "changed"


async def test_a_second_load_at_the_same_time_says_so(portal: Portal) -> None:
    async def other() -> None:
        with pytest.raises(Conflict, match="being loaded"):
            await portal.load()

    async with metadata._alone(portal.database):
        await other()
    await portal.load()


async def test_a_site_without_tables_or_a_source_never_synced_says_so(database: Database, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="declares no metadata files"):
        await metadata.load(database, LoadWish())
    await declare(database, SITE, tmp_path.as_uri())
    with pytest.raises(Conflict, match="never synced"):
        await metadata.load(database, LoadWish())
    (tmp_path / "other.csv").write_text("x")
    await sync(database, "inputs")
    with pytest.raises(InvalidInput, match="No synced file matches project_metadata"):
        await metadata.load(database, LoadWish())


async def test_one_table_for_all_projects_and_one_for_items_of_none(database: Database, tmp_path: Path) -> None:
    site = """
    [[sources]]
    name = "inputs"
    url = "URL"
    layout = [{ pattern = "*.csv", attributes = { role = "metadata" } }]
    [[tables]]
    name = "samples"
    file = "samples.csv"
    describes = "items"
    id = "id"
    project = "project"
    [[tables]]
    name = "loose"
    file = "loose.csv"
    describes = "items"
    id = "id"
    [[tables]]
    name = "more"
    file = "more.csv"
    describes = "items"
    id = "id"
    project = "project"
    """
    await declare(database, site, tmp_path.as_uri())
    portal = Portal(database, tmp_path)
    await portal.sync(
        {
            "samples.csv": "id,project,a\nS1,P1,1\nS2,P2,2\nS3,P1,3\n",
            "more.csv": "id,project,b\nS1,P1,x\n",
            "loose.csv": "id,c\nS4,4\n",
        }
    )
    assert outcomes(await portal.load()) == {None: "changed", "P1": "created", "P2": "created"}
    items = await portal.items()
    assert {name: (row["projects"], row["metadata"]) for name, row in items.items()} == {
        "S1": (["P1"], {"a": "1", "b": "x"}), "S2": (["P2"], {"a": "2"}), "S3": (["P1"], {"a": "3"}),
        "S4": ([], {"c": "4"}),
    }  # fmt: skip
    assert set(outcomes(await portal.load()).values()) == {"skipped"}
    report = await portal.reload({"loose.csv": "id,c\nS5,5\n"})
    assert (outcomes(report)[None], report.projects[0].left) == ("changed", ["S4"])
    assert (await portal.item("S4"))["metadata"] == {}
    assert await portal.faults({"more.csv": "id,project,a\nS1,P1,9\n"}) == [
        "more.csv, row 2: 'a' of 'S1' is something else in samples.csv, row 2."
    ]


async def test_a_bucket_is_read_as_it_was_synced_and_named_by_bucket_and_prefix(
    database: Database, quick_s3: Bucket
) -> None:
    await declare(database, SITE, f"{quick_s3.url}/2026/input", quick_s3.options)
    for key, content in FILES.items():
        quick_s3.put(f"2026/input/{key}", content.encode())
    await sync(database, "inputs")
    portal = Portal(database, Path())
    with pytest.raises(NotFound, match="elsewhere"):
        await portal.load(bucket="elsewhere")
    assert outcomes(await portal.load(bucket=f"{quick_s3.name}/2026/input"))["SCPCP999990"] == "created"
    assert outcomes(await portal.load(bucket="inputs", existing=True))["SCPCP999990"] == "unchanged"
    quick_s3.put("2026/input/project_metadata.csv", PROJECTS.replace("First", "1st").encode())
    quick_s3.client.delete_object(Bucket=quick_s3.name, Key="2026/input/SCPCP999991/samples_metadata.csv")
    with pytest.raises(TablesRefused) as error:
        await portal.load(existing=True)
    assert [fault["told"].partition(":")[2] for fault in error.value.faults] == [
        " it has changed since its source was synced; sync first."
    ] * 2


async def test_a_file_of_many_columns_and_rows_is_loaded_in_pieces(portal: Portal) -> None:
    wide = ",".join(f"c{n}" for n in range(1000))
    cells = ",".join(["value"] * 1000)
    rows = "".join(f"W{n},{cells}\n" for n in range(50))
    many = "".join(f"M{n:05},{n}\n" for n in range(5100))
    await portal.sync(
        {
            "SCPCP999992/samples_metadata.csv": f"scpca_sample_id,{wide}\n{rows}",
            "SCPCP999991/samples_metadata.csv": f"{FILES['SCPCP999991/samples_metadata.csv']}"
            + "".join(f"{line},x\n" for line in many.splitlines()),
        }
    )
    report = await portal.load()
    assert [one.items for one in report.projects] == [3, 5102, 50]
    assert len((await portal.item("W49"))["metadata"]) == 1002
    assert {row["revision"] for name, row in (await portal.items()).items() if name[0] in "WM"} == {1}


async def test_a_purged_project_takes_its_own_items_along_and_comes_back(portal: Portal) -> None:
    await portal.sync({"SCPCP999992/samples_metadata.csv": "scpca_sample_id,age\nSCPCS999992,3\n"})
    await portal.load()
    async with portal.database.begin() as session:
        await session.execute(text("insert into batch (name) values ('b')"))
        await session.execute(
            text(
                "insert into batch_item (batch_id, position, item_id) "
                "select 1, 0, id from item where name = 'SCPCS999993'"
            )
        )
        await session.execute(
            text(
                "insert into computed_file "
                "(project_id, package, name, store, key, size, sha256, fingerprint, downloads) "
                "select id, 'p', 'P.zip', 's3://out', 'k/P.zip', 5, repeat('a', 64), 'f', 3 from project "
                "where name = 'SCPCP999991'"
            )
        )
        await projects.lock(session, "SCPCP999991")
        with pytest.raises(NotFound):
            await purge.touches(session, "nothing")
        would = await purge.touches(session, "SCPCP999991")
        with pytest.raises(Conflict, match="locked"):
            await purge.purge(session, "SCPCP999991")
    async with portal.database.begin() as session:
        await projects.lock(session, "SCPCP999991", locked=False)
        did = await purge.purge(session, "SCPCP999991")
    assert (would.items, would.items_elsewhere, would.items_with_history, would.files, would.downloads) == (
        0,
        1,
        1,
        2,
        3,
    )
    assert [(row["store"], row["key"]) for row in did.computed_files] == [("s3://out", "k/P.zip")]
    assert "SCPCP999991" not in await portal.projects()
    items = await portal.items()
    assert items["SCPCS999992"]["projects"] == ["SCPCP999992"]
    assert items["SCPCS999992"]["metadata"] == {"age": 3, "formats": [], "library_count": 0}
    assert (items["SCPCS999993"]["projects"], items["SCPCS999993"]["metadata"]) == ([], {})
    async with portal.database.begin() as session:
        assert (await purge.purge(session, "SCPCP999990")).items == 3
        assert (await fetch(session, "feed.projects", {"names": ["SCPCP999990"]})) == []
        assert await session.scalar(text("select count(*) from file")) == len(FILES) + 1
        assert (
            await session.scalar(text("select state from change where kind = 'project' order by id desc limit 1"))
            == "deleted"
        )
    assert "SCPCS999990" not in await portal.items()
    await portal.sync()
    assert set(outcomes(await portal.load()).values()) == {"created", "skipped"}
    assert (await portal.item("SCPCS999993"))["metadata"]["age"] == 4


# ——— the command ———


@pytest.fixture
def program(database_url: str, tmp_path: Path) -> Program:
    write(tmp_path / "bucket", FILES)
    (tmp_path / "site.toml").write_text(SITE.replace("URL", "bucket"))
    program = Program(tmp_path / "site", database_url)
    program("apply", "--yes", tmp_path / "site.toml")
    program("sync")
    return program


def test_the_command_tells_of_each_project_and_of_every_mistake(program: Program, tmp_path: Path) -> None:
    ended = program("load-metadata", "--dry-run")
    assert "SCPCP999990: created; 3 items, 1 new, 2 changed, 4 parts" in ended.out
    assert "dry run: nothing was written" in ended.err
    flags = ("--clean-up-input-data", "--update-s3", "--input-bucket-name", "inputs")
    ended = program("load-metadata", *flags, "--json")
    assert ended.json["counts"] == {"created": 3, "items_created": 1, "items_changed": 4}
    ended = program("load-metadata", *flags, "--reload-existing", "--reload-locked", "--project-id", "SCPCP999990")
    assert ended.out == "SCPCP999990: unchanged; 3 items, 0 new, 0 changed, 4 parts\n"
    assert "nothing to clean up" in ended.err
    write(tmp_path / "bucket", {"SCPCP999990/samples_metadata.csv": SAMPLES + "SCPCS999990,old,x\nS2,,\n,1,1\n"})
    program("sync")
    ended = program("load-metadata", "--reload-existing", code=3)
    assert ended.out.splitlines() == [
        "SCPCP999990/samples_metadata.csv, row 2, column age: 'old'; it must be a number.",
        "SCPCP999990/samples_metadata.csv, row 4, column scpca_sample_id: there is no id.",
    ]
    assert "2 mistakes in 1 metadata file." in ended.err
    assert "Nothing was written." in ended.err
    ended = program("load-metadata", "--reload-existing", "--json", code=3)
    assert (ended.json["mistakes"], ended.json["faults"][0]["column"]) == (2, "age")
    program("load-metadata", "--project-id", "SCPCP1", code=4)
    exported = program("export").out
    assert parse_site_file(exported, tmp_path / "again.toml").content.tables[0].name == "projects"


@pytest.mark.fault
async def test_a_load_that_is_killed_midway_leaves_every_project_whole(
    program: Program, database: Database, tmp_path: Path
) -> None:
    numbers = [f"SCPCP{n:06}" for n in range(16)]
    heads = PROJECTS.splitlines()[0]

    def files(diagnosis: str) -> dict[str, str]:
        rows = "".join(f"{name},{diagnosis},,,FALSE,,\n" for name in numbers)
        samples = {
            f"{name}/samples_metadata.csv": SAMPLES
            + "".join(f"SCPCS{name[5:]}{n:02},1,{diagnosis}\n" for n in range(10))
            for name in numbers
        }
        return {"project_metadata.csv": f"{heads}\n{rows}", **samples}

    gone = dict.fromkeys((key for key in FILES if "/" in key), None)
    write(tmp_path / "bucket", {**gone, **files("old")})
    program("sync", "--allow-bucket-wipe")
    program("load-metadata")
    portal = Portal(database, tmp_path / "bucket")
    write(tmp_path / "bucket", files("new"))
    program("sync")
    with program.start("load-metadata", "--reload-existing") as loading:
        loading.until(r"SCPCP000002: changed")
        loading.signal(signal.SIGKILL)
        loading.end()
    await no_transaction_is_open(database)
    found: dict[str, set[str]] = {}
    for row in (await portal.items()).values():
        for name in set(row["projects"]).intersection(numbers):
            found.setdefault(name, set()).add(row["metadata"]["diagnosis"])
    projects_now = {name: row["title"] for name, row in (await portal.projects()).items()}
    assert all(found[name] == {projects_now[name]} for name in numbers)
    assert {projects_now[name] for name in numbers[:3]} == {"new"}
    assert program("load-metadata", "--reload-existing", "--json").json["counts"].get("created") is None
    assert {row["metadata"]["diagnosis"] for row in (await portal.items()).values() if row["name"] < "SCPCS9"} == {
        "new"
    }


def test_the_site_file_and_the_metadata_files_leave_each_others_words_alone(program: Program, tmp_path: Path) -> None:
    program("load-metadata")
    assert program("apply", "--dry-run", tmp_path / "site.toml").out == "nothing to change\n"
    exported = program("export").out
    assert "Ganglioglioma" not in exported
    assert "First" not in exported
    own = '\n[[projects]]\nname = "SCPCP999990"\nmetadata = { grant = "G-1" }\n'
    site = tmp_path / "own.toml"
    site.write_text(SITE.replace("URL", "bucket") + own)
    program("apply", "--yes", site)
    assert program("apply", "--dry-run", site).out == "nothing to change\n"
    assert program("load-metadata", "--reload-existing", "--json").json["counts"]["unchanged"] == 3
    again = tmp_path / "again.toml"
    again.write_text(program("export").out)
    assert 'grant = "G-1"' in again.read_text()
    assert program("apply", "--dry-run", again).out == "nothing to change\n"


async def test_metadata_are_loaded_over_the_api_by_who_may(portal: Portal, database_url: str, tmp_path: Path) -> None:
    secrets = {}
    async with portal.database.begin() as session:
        for role in (Role.READER, Role.OPERATOR):
            secrets[role], _ = await tokens.create(session, role.value, role)

    async with web_site(portal.database, database_url, tmp_path) as web:

        async def ask(role: Role, body: Any = None) -> tuple[int, Any]:
            bearer = {"Authorization": f"Bearer {secrets[role]}"}
            answer = await web.client.post("/api/load-metadata", json=body, headers=bearer)
            return answer.status_code, answer.json()

        status, told = await ask(Role.READER, {"dry_run": True})
        assert (status, told["error"]["kind"]) == (403, "RoleRefused")
        status, told = await ask(Role.OPERATOR, {"dry_run": True})
        assert (status, told["dry_run"], told["counts"]["created"]) == (200, True, 3)
        assert (await portal.projects())["SCPCP999990"]["described"] is None
        status, told = await ask(Role.OPERATOR, {"projects": ["SCPCP999990"], "source": "inputs"})
        assert (status, [one["outcome"] for one in told["projects"]]) == (200, ["created"])
        status, told = await ask(Role.OPERATOR)
        assert (status, told["counts"]) == (200, {"skipped": 1, "created": 2, "items_created": 0, "items_changed": 2})
        await portal.sync({"SCPCP999990/samples_metadata.csv": SAMPLES + "SCPCS999990,old,x\n"})
        status, told = await ask(Role.OPERATOR, {"reload_existing": True})
        assert (status, told["error"]["kind"], told["error"]["hint"]) == (422, "TablesRefused", "Nothing was written.")
        assert told["error"]["mistakes"] == 1
        (fault,) = told["error"]["faults"]
        assert (fault["row"], fault["column"]) == (2, "age")
        assert (await ask(Role.OPERATOR, {"source": "nowhere"}))[0] == 404
        assert (await ask(Role.OPERATOR, {"project": "SCPCP999990"}))[0] == 422


async def test_metadata_are_loaded_on_a_page_that_first_says_what_it_will_do(
    portal: Portal, database_url: str, tmp_path: Path
) -> None:
    async with portal.database.begin() as session:
        reader, _ = await tokens.create(session, "reader", Role.READER)
    async with web_site(portal.database, database_url, tmp_path) as web:

        async def press(**fields: str) -> str:
            answer = await web.client.post("/load-metadata", data=fields, follow_redirects=True)
            while "being l" in answer.text:
                answer = await web.client.get("/load-metadata")
            return " ".join(re.sub("<[^>]+>", " ", answer.text).split())

        assert 'href="/load-metadata"' in (await web.client.get("/sources")).text
        assert "See what a load would do" in (await web.client.get("/load-metadata")).text
        refused = await web.client.post("/load-metadata", headers={"Authorization": f"Bearer {reader}"})
        assert refused.status_code == 403
        look = await press(dry_run="true")
        assert "3 projects new" in look
        assert "Nothing was changed. Looked at" in look
        assert (await portal.projects())["SCPCP999990"]["described"] is None
        done = await press()
        assert "SCPCP999990 created" in done
        assert (await portal.projects())["SCPCP999990"]["described"] is not None
        assert "There is nothing to do." in await press(dry_run="true")
        await portal.sync({"SCPCP999990/samples_metadata.csv": SAMPLES + "SCPCS999990,old,x\n"})
        wrong = await press(dry_run="true", existing="true")
        assert "Nothing was written." in wrong
        assert re.search(r"SCPCP999990/samples_metadata\.csv 2 age [^.]*old", wrong)
        assert "Load now" not in wrong


async def test_the_page_says_what_a_load_wrote_before_it_failed(
    portal: Portal, database_url: str, tmp_path: Path
) -> None:
    async with portal.database.begin() as session:
        refuse = "create function no() returns trigger language plpgsql as $$ begin raise exception 'no room'; end $$"
        await session.execute(text(refuse))
        last = "before insert or update on project for each row when (new.name = 'SCPCP999992')"
        await session.execute(text(f"create trigger no {last} execute function no()"))
    async with web_site(portal.database, database_url, tmp_path) as web:
        answer = await web.client.post("/load-metadata", data={}, follow_redirects=True)
        while "being l" in answer.text:
            answer = await web.client.get("/load-metadata")
    said = " ".join(re.sub("<[^>]+>", " ", answer.text).split())
    assert "no room" in said
    assert "What is listed here was written before that, and stays; the rest is as it was." in said
    assert re.search(r"SCPCP999990 created .* SCPCP999991 created", said)
    assert "SCPCP999992 created" not in said
