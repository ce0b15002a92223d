"""Which packages a site's declarations call for: a collection laid out as research portals have it."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.packing import built

from tidemill.catalogue.sync import sync
from tidemill.db.database import Database
from tidemill.domain.package_plan import FileEntry, PackagePlan, StorePlace, TextEntry, read_plan
from tidemill.errors import NotFound
from tidemill.executors.addresses import AddressPolicy
from tidemill.pipelines import apply
from tidemill.pipelines.site_file import parse_site_file
from tidemill.publishing.planning import Survey, surveys

SITE = """
title = "Cells"
[vocabulary]
item = "sample"
items = "samples"

[[sources]]
name = "bucket"
url = "bucket"
may_lose = 1.0
layout = [
  { pattern = "{project}.lock", lock = true },
  { pattern = "{project}/bulk/{name_of}.tsv", attributes = { modality = "BULK" } },
  { pattern = "{project}/merged/{name_of}.rds", attributes = { merged = true, format = "RDS" } },
  { pattern = '{project}/{item}/{path:(?P<library>L\\d+)_spatial/.+}', attributes = { modality = "SPATIAL" } },
  { pattern = '{project}/{item}/{library}_{s}.rds', split = ",", attributes = { modality = "SC", format = "RDS" } },
  { pattern = '{project}/{item}/{library}_{s}.h5ad', split = ",", attributes = { modality = "SC", format = "H5AD" } },
  { pattern = '{project}/{item}/{library}_qc.html', split = ",", attributes = { modality = "SC", format = "HTML" } },
]

[[packages]]
name = "project-rds"
per = "project"
file = "{project}_SINGLE-CELL_RDS.zip"
files = [
  { attributes = { modality = "SC", format = "RDS" }, into = "{items}/{name}", required = true },
  { attributes = { modality = "SC", format = "HTML" }, into = "{items}/{name}" },
  { of = "project", attributes = { modality = "BULK" }, into = "{name}" },
]
readme = '''# {{ project.title }}
{% for file in files %}{{ file.name }} {{ file.size | amount }}
{% endfor %}{{ items | length }} samples, as of {{ changed_at.date() }}: {{ package.name }}
'''
attributes = { format = "RDS", has_bulk = { has = { modality = "BULK" } }, pi = "{project.pi}" }
[[packages.tables]]
name = "single_cell_metadata.tsv"
rows = "libraries"
where = { unit = "cell", multiplexed = false }
item_column = "scpca_sample_id"

[[packages]]
name = "project-rds-multiplexed"
per = "project"
file = "{project}_SINGLE-CELL_RDS_MULTIPLEXED.zip"
where = { has_multiplexed = true }
shared = "with"
files = [{ attributes = { modality = "SC", format = "RDS" }, into = "{items}/{name}", required = true }]

[[packages]]
name = "project-merged"
per = "project"
file = "{project}_SINGLE-CELL_RDS_MERGED.zip"
holding = { modality = "SC" }
files = [{ of = "project", attributes = { merged = true }, into = "{name}", required = true }]
tables = [{ rows = "libraries" }]

[[packages]]
name = "project-metadata"
per = "project"
file = "{project}_ALL_METADATA.zip"
tables = [{ rows = "libraries" }]

[[packages]]
name = "sample-rds"
per = "item"
file = "{item}_SINGLE-CELL_RDS.zip"
files = [{ attributes = { modality = "SC", format = ["RDS", "HTML"] }, into = "{items}/{name}", required = true }]
tables = [{ rows = "libraries" }]

[[packages]]
name = "sample-multiplexed"
per = "item"
file = "{items}_SINGLE-CELL_RDS_MULTIPLEXED.zip"
shared = "only"
files = [{ attributes = { format = "RDS" }, into = "{items}/{name}", required = true }]

[[packages]]
name = "sample-spatial"
per = "item"
file = "{item}_SPATIAL.zip"
files = [{ attributes = { modality = "SPATIAL" }, into = "{item}/{path}", required = true }]

[[packages]]
name = "everything"
per = "site"
file = "PORTAL_ALL_METADATA.zip"
tables = [{}]
readme = "{% for project in projects %}{{ project.name }}: {{ project.title }}\\n{% endfor %}"
"""

KEYS = [
    "P0/S1/L1_raw.rds",
    "P0/S1/L1_raw.h5ad",
    "P0/S1/L1_qc.html",
    "P0/S2/L2_raw.rds",
    "P0/S2/L2_spatial/image/a.png",
    "P0/bulk/P0_bulk_quant.tsv",
    "P0/merged/P0_merged.rds",
    "P1/S3,S4/L3_raw.rds",
    "P1/S3/L4_raw.rds",
    "P2.lock",
    "P2/S5/L5_raw.rds",
    "P4/S6/L6_raw.h5ad",
]


@pytest.fixture
async def folder(database: Database, tmp_path: Path) -> Path:
    """The collection, applied, synced and described. P3 has no files."""
    folder = tmp_path / "bucket"
    for key in KEYS:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_text(key)
        os.utime(folder / key, (1.6e9, 1.6e9))
    site = parse_site_file(SITE, tmp_path / "site.toml")
    async with database.begin() as session:
        plan = await apply.plan(session, site, await apply.look_at_apps(AddressPolicy(), site, offline=True))
        await apply.carry_out(session, plan)
    await sync(database, "bucket")
    async with database.begin() as session:
        for statement in (
            "insert into project (name, title) values ('P3', 'Nothing yet')",
            """update project set title = 'Cells of ' || name, metadata = '{"pi": "A. B."}' where name < 'P3'""",
            """update project set metadata = metadata || '{"has_multiplexed": true}' where name = 'P1'""",
            """update item set metadata = '{"sex": "F", "libraries": [
                 {"library_id": "L1", "unit": "cell", "multiplexed": false, "cells": 7}]}' where name = 'S1'""",
            """update item set metadata = '{"sex": "M", "libraries": [
                 {"library_id": "L2", "unit": "cell", "multiplexed": false},
                 {"library_id": "L2", "unit": "spot"}]}' where name = 'S2'""",
        ):
            await session.execute(text(statement))
    return folder


STORE = StorePlace("file:///packages")


async def _survey(database: Database, *projects: str, store: StorePlace = STORE) -> Survey:
    found = Survey()
    async with database.begin() as session:
        async for part in surveys(session, projects=projects or None, store=store):
            found.plans += part.plans
            found.left_out += part.left_out
    return found


async def _plans(database: Database, *projects: str, store: StorePlace = STORE) -> dict[str, PackagePlan]:
    found = await _survey(database, *projects, store=store)
    assert found.faults == []
    return {plan.name: plan for plan in found.plans}


async def _change(database: Database, statement: str, **values: Any) -> None:
    async with database.begin() as session:
        await session.execute(text(statement), values)


def _inside(plan: PackagePlan) -> list[str]:
    return [entry.into for entry in read_plan(plan.document).entries]


def _text(plan: PackagePlan, name: str) -> str:
    (found,) = [one.text for one in read_plan(plan.document).entries if isinstance(one, TextEntry) and one.into == name]
    return found


async def test_the_packages_of_a_portal(database: Database, folder: Path) -> None:
    made = await _plans(database)
    assert {name: _inside(plan) for name, plan in made.items()} == {
        "P0_SINGLE-CELL_RDS.zip": [
            "P0_bulk_quant.tsv",
            "README.md",
            "S1/L1_qc.html",
            "S1/L1_raw.rds",
            "S2/L2_raw.rds",
            "single_cell_metadata.tsv",
        ],
        "P0_SINGLE-CELL_RDS_MERGED.zip": ["P0_merged.rds", "metadata.tsv"],
        "P0_ALL_METADATA.zip": ["metadata.tsv"],
        "S1_SINGLE-CELL_RDS.zip": ["S1/L1_qc.html", "S1/L1_raw.rds", "metadata.tsv"],
        "S2_SINGLE-CELL_RDS.zip": ["S2/L2_raw.rds", "metadata.tsv"],
        "S2_SPATIAL.zip": ["S2/L2_spatial/image/a.png"],
        "P1_SINGLE-CELL_RDS.zip": ["README.md", "S3/L4_raw.rds"],
        "P1_SINGLE-CELL_RDS_MULTIPLEXED.zip": ["S3/L4_raw.rds", "S3_S4/L3_raw.rds"],
        "P1_ALL_METADATA.zip": ["metadata.tsv"],
        "S3_SINGLE-CELL_RDS.zip": ["S3/L4_raw.rds", "metadata.tsv"],
        "S3-S4_SINGLE-CELL_RDS_MULTIPLEXED.zip": ["S3_S4/L3_raw.rds"],
        "P4_ALL_METADATA.zip": ["metadata.tsv"],
        "PORTAL_ALL_METADATA.zip": ["README.md", "metadata.tsv"],
    }
    whole = made["P0_SINGLE-CELL_RDS.zip"]
    assert (whole.package, whole.project, whole.items) == ("project-rds", "P0", ("S1", "S2"))
    assert whole.attributes == {"format": "RDS", "has_bulk": True, "pi": "A. B."}
    assert made["P1_SINGLE-CELL_RDS.zip"].attributes["has_bulk"] is False
    assert made["S3-S4_SINGLE-CELL_RDS_MULTIPLEXED.zip"].items == ("S3", "S4")
    assert made["P1_SINGLE-CELL_RDS_MULTIPLEXED.zip"].items == ("S3", "S4")
    assert made["P0_ALL_METADATA.zip"].items == ("S1", "S2")
    assert made["PORTAL_ALL_METADATA.zip"].project is None


async def test_the_texts_in_them(database: Database, folder: Path) -> None:
    made = await _plans(database)
    assert _text(made["P0_SINGLE-CELL_RDS.zip"], "single_cell_metadata.tsv") == (
        "project\tscpca_sample_id\tcells\tlibrary_id\tmultiplexed\tsex\tunit\n"
        "P0\tS1\t7\tL1\tfalse\tF\tcell\nP0\tS2\tNA\tL2\tfalse\tM\tcell\n"
    )
    assert _text(made["P0_SINGLE-CELL_RDS.zip"], "README.md") == (
        "# Cells of P0\nP0_bulk_quant.tsv 25 bytes\nS1/L1_qc.html 16 bytes\nS1/L1_raw.rds 16 bytes\n"
        "S2/L2_raw.rds 16 bytes\n2 samples, as of 2020-09-13: P0_SINGLE-CELL_RDS.zip\n"
    )
    everything = _text(made["PORTAL_ALL_METADATA.zip"], "metadata.tsv").splitlines()
    assert [line.split("\t")[:2] for line in everything] == [
        ["project", "sample"],
        *(["P0", f"S{n}"] for n in (1, 2)),
        *(["P1", f"S{n}"] for n in (3, 4)),
        ["P4", "S6"],
    ]
    assert _text(made["PORTAL_ALL_METADATA.zip"], "README.md").startswith("P0: Cells of P0\nP1: Cells of P1\n")


async def test_what_is_left_out_and_why(database: Database, folder: Path) -> None:
    await _change(database, "update item set status = 'bad' where name = 'S2'")
    found = await _survey(database)
    told = {(one.package, one.project): one.why for one in found.left_out}
    assert told["project-rds", "P2"] == "the project is locked"
    assert told["project-metadata", "P3"] == "there are no files"
    assert told["project-rds", "P4"] == "it has no files with format = RDS, modality = SC, which must be in it"
    assert told["sample-rds", "P0"] == "its status is not good"
    assert found.faults == []
    assert not {plan.name for plan in found.plans} & {"S2_SINGLE-CELL_RDS.zip", "S5_SINGLE-CELL_RDS.zip"}
    (whole,) = [plan for plan in found.plans if plan.name == "P0_SINGLE-CELL_RDS.zip"]
    assert whole.items == ("S1",)
    sentences = [one.sentence() for one in found.left_out]
    assert "project-rds of P2: the project is locked" in sentences
    assert "sample-rds of S2 of P0: its status is not good" in sentences


async def test_only_the_projects_that_are_asked_for(database: Database, folder: Path) -> None:
    assert {plan.project for plan in (await _plans(database, "P1", "P0")).values()} == {"P0", "P1"}
    with pytest.raises(NotFound, match=r"There is no project named 'P9'\."):
        await _plans(database, "P1", "P9")


async def test_the_fingerprint_is_of_what_is_in_it_alone(database: Database, folder: Path) -> None:
    before = await _plans(database)
    elsewhere = await _plans(database, store=StorePlace("s3://bucket", {"endpoint": "http://x"}))
    assert {name: plan.fingerprint for name, plan in before.items()} == {
        name: plan.fingerprint for name, plan in elsewhere.items()
    }

    async def changed() -> set[str]:
        after = await _plans(database)
        return {name for name in before if after[name].fingerprint != before[name].fingerprint}

    await _change(database, "update item set updated_at = now(), revision = revision + 1 where name = 'S1'")
    assert await changed() == set()
    (folder / "P0/S1/L1_qc.html").write_text("other")
    await sync(database, "bucket")
    assert await changed() == {"P0_SINGLE-CELL_RDS.zip", "S1_SINGLE-CELL_RDS.zip"}
    before = await _plans(database)
    await _change(database, """update item set metadata = metadata || '{"sex": "X"}' where name = 'S6'""")
    assert await changed() == {"P4_ALL_METADATA.zip", "PORTAL_ALL_METADATA.zip"}
    before = await _plans(database)
    await _change(database, "update project set title = 'Another' where name = 'P1'")
    assert await changed() == {"P1_SINGLE-CELL_RDS.zip", "PORTAL_ALL_METADATA.zip"}


async def test_planned_packages_can_be_built(database: Database, folder: Path, tmp_path: Path) -> None:
    store = StorePlace((tmp_path / "packages").as_uri())
    for plan in (await _plans(database, "P0", store=store)).values():
        made = await built(plan)
        with zipfile.ZipFile(tmp_path / "packages" / made.key) as archive:
            assert archive.namelist()[:-1] == _inside(plan)
            for entry in read_plan(plan.document).entries:
                wanted = entry.text if isinstance(entry, TextEntry) else (folder / entry.key).read_text()
                assert archive.read(entry.into).decode() == wanted


async def test_faults_keep_nothing_else_from_being_planned(database: Database, folder: Path) -> None:
    (folder / "P1/S3/l4_RAW.rds").write_text("x")
    (folder / "P1/S3/L4_RAW.rds").write_text("x")
    await sync(database, "bucket")
    found = await _survey(database)
    assert {(one.package, one.project) for one in found.faults} == {
        ("project-rds", "P1"),
        ("project-rds-multiplexed", "P1"),
        ("sample-rds", "P1"),
    }
    told = "bucket: P1/S3/L4_RAW.rds and bucket: P1/S3/L4_raw.rds have names inside that differ only in their case"
    assert told in found.faults[0].why
    assert "P0_SINGLE-CELL_RDS.zip" in {plan.name for plan in found.plans}


async def test_of_two_packages_of_one_name_one_is_made_and_the_other_told(database: Database, folder: Path) -> None:
    await _change(
        database,
        "update site set packages = packages || jsonb_build_array(packages -> 0 || cast(:more as jsonb))",
        more='{"name": "again"}',
    )
    found = await _survey(database, "P0")
    (fault,) = found.faults
    assert fault.sentence() == (
        "again of P0: the file name 'P0_SINGLE-CELL_RDS.zip' is that of a package of 'project-rds', too"
    )
    assert [plan.package for plan in found.plans if plan.name == "P0_SINGLE-CELL_RDS.zip"] == ["project-rds"]


async def test_a_readme_that_asks_for_what_is_not_there(database: Database, folder: Path) -> None:
    await _change(
        database,
        """update site set packages = jsonb_set(packages, '{0,readme}', '"{{ project.metadata.abstract }}"')""",
    )
    found = await _survey(database, "P0")
    assert [(one.package, one.why) for one in found.faults] == [
        ("project-rds", "The readme cannot be made: it asks for 'abstract', which the metadata do not have.")
    ]


async def test_a_readme_cannot_get_out_of_its_template(database: Database, folder: Path) -> None:
    out = "{{ ().__class__.__base__.__subclasses__() }}"
    await _change(
        database, "update site set packages = jsonb_set(packages, '{0,readme}', to_jsonb(cast(:out as text)))", out=out
    )
    (fault,) = (await _survey(database, "P0")).faults
    assert "unsafe" in fault.why


async def test_items_without_a_project_get_theirs(database: Database, folder: Path) -> None:
    """As in an archive, which has recordings and no projects. An item of two projects has its packages in the first."""
    await _change(database, "delete from project_item using item i where item_id = i.id and i.name in ('S1', 'S4')")
    await _change(
        database,
        """insert into project_item select p.id, i.id from project p, item i where p.name = 'P4' and i.name = 'S2'""",
    )
    made = await _plans(database)
    assert made["S1_SINGLE-CELL_RDS.zip"].project is None
    assert made["S2_SINGLE-CELL_RDS.zip"].project == "P0"
    assert made["S3-S4_SINGLE-CELL_RDS_MULTIPLEXED.zip"].items == ("S3", "S4")
    assert set(await _plans(database, "P4")) == {"P4_SINGLE-CELL_RDS.zip", "P4_ALL_METADATA.zip"}


async def test_odd_keys_reach_the_plan_as_they_are(database: Database, folder: Path) -> None:
    odd = "P0/S1/L1_sp ace, ü & 'q' #1 %41.rds"
    (folder / odd).write_text("odd")
    await sync(database, "bucket")
    plan = (await _plans(database, "P0"))["S1_SINGLE-CELL_RDS.zip"]
    entries = [one for one in read_plan(plan.document).entries if isinstance(one, FileEntry)]
    assert {one.key: one.into for one in entries}[odd] == "S1/L1_sp ace, ü & 'q' #1 %41.rds"
