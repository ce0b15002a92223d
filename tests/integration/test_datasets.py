"""Datasets over the portal's API, on the site file of the example: what goes in, who sees them, building, expiring."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from sqlalchemy import text
from tests.packaging import Portal
from tests.portal import key_for
from tests.portal_example import copy_example
from tests.webserver import Web, client_of, web_site

from tidemill.catalogue.sync import sync
from tidemill.db.database import Database
from tidemill.pipelines import apply
from tidemill.pipelines.site_file import read_site_file
from tidemill.publishing import datasets
from tidemill.storage.documents import DocumentStore

GLIOMA, TOGETHER, LOCKED, BARE = "SCPCP999990", "SCPCP999991", "SCPCP999993", "SCPCP999994"
KEYS = [
    *(f"{GLIOMA}/SCPCS99999{n}/SCPCL99999{n}_{stage}{end}" for n in (0, 7) for stage in ("filtered", "processed")
      for end in (".rds", "_rna.h5ad")),
    f"{GLIOMA}/SCPCS999990/SCPCL999990_qc.html",
    f"{GLIOMA}/SCPCS999991/SCPCL999991_spatial/spatial/tissue_hires_image.png",
    f"{GLIOMA}/SCPCS999991/SCPCL999991_spatial/SCPCL999991_metadata.json",
    f"{GLIOMA}/merged/{GLIOMA}_merged.rds",
    f"{GLIOMA}/merged/{GLIOMA}_merged-summary-report.html",
    f"{GLIOMA}/bulk/{GLIOMA}_bulk_quant.tsv",
    f"{TOGETHER}/SCPCS999992,SCPCS999993/SCPCL999992_processed.rds",
    f"{TOGETHER}/SCPCS999995/SCPCL999995_processed.rds",
    f"{LOCKED}.lock",
    f"{LOCKED}/SCPCS999994/SCPCL999994_processed.rds",
]  # fmt: skip
R = "SINGLE_CELL_EXPERIMENT"
RECORD = {"diagnosis": "d", "disease_timing": "t", "tissue_location": "l"}


@dataclass
class Asking:
    """A person with a key, and the site's operator."""

    portal: Portal
    web: Web
    client: httpx2.AsyncClient

    async def post(self, data: Any, status: int = 201, **more: Any) -> Any:
        body = {"format": R, "data": data} | more
        answer = await self.client.post("/v1/datasets", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, dataset: Any, status: int = 200) -> Any:
        answer = await self.client.get(f"/v1/datasets/{dataset['id']}")
        assert answer.status_code == status, answer.text
        return answer.json()

    async def built(self, dataset: Any) -> Any:
        """Let the site build what is asked for; the dataset as it is then."""
        async with self.portal.working():
            await self.portal.until("select not exists (select from run where state = 'active')")
        await self.portal.register()
        return await self.get(dataset)

    async def unpacked(self, dataset: Any) -> dict[str, bytes]:
        answer = await self.client.get(dataset["download_url"])
        assert hashlib.sha256(answer.content).hexdigest() == dataset["computed_file"]["sha256"]
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
async def asking(
    database: Database, database_url: str, documents: DocumentStore, tmp_path: Path
) -> AsyncIterator[Asking]:
    example = copy_example(tmp_path)
    for key in KEYS:
        path = example / "data" / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key)
    async with database.begin() as session:
        wanted = await apply.plan(session, read_site_file(example / "site.toml"), {})
        await apply.carry_out(session, wanted)
    await sync(database, "bucket")
    async with web_site(database, database_url, tmp_path / "site") as web:
        portal = Portal(database, web.site.documents, tmp_path)
        await portal.run_sql(
            "update project set metadata = jsonb_build_object('abstract', 'a', 'pi_name', 'p', "
            "'has_multiplexed_data', name = :name)",
            name=TOGETHER,
        )
        await portal.run_sql("update item set metadata = :it", it=orjson.dumps(RECORD).decode())
        await portal.run_sql("insert into project (name) values (:name)", name=BARE)
        headers = {"API-KEY": await key_for(database)}
        async with client_of(web.url, headers=headers) as client:
            yield Asking(portal, web, client)


async def test_a_dataset_is_gathered_sized_built_and_downloaded(asking: Asking) -> None:
    data = {
        GLIOMA: {"SINGLE_CELL": ["SCPCS999990"], "SPATIAL": ["SCPCS999991"], "includes_bulk": True},
        TOGETHER: {"SINGLE_CELL": ["SCPCS999992", "SCPCS999995"], "SPATIAL": [], "includes_bulk": False},
    }
    made = await asking.post(data)
    assert (made["state"], made["is_started"], made["email"]) == ("open", False, "a@b.org")
    assert made["data"] == data
    files = [key for key in KEYS if key.startswith((f"{GLIOMA}/SCPCS999990", TOGETHER, f"{GLIOMA}/SCPCS999991"))]
    files = [*(key for key in files if not key.endswith(".h5ad")), f"{GLIOMA}/bulk/{GLIOMA}_bulk_quant.tsv"]
    assert made["estimated_size_in_bytes"] >= sum(len(key) for key in files)
    started = (await asking.client.patch(f"/v1/datasets/{made['id']}", json={"start": True})).json()
    assert (started["state"], started["is_processing"], started["progress_note"]) == ("processing", True, "waiting")
    assert "download_url" not in started
    done = await asking.built(made)
    assert (done["state"], done["is_succeeded"], done["is_processing"]) == ("succeeded", True, False)
    assert done["expires_at"] > done["succeeded_at"]
    assert done["download_filename"].startswith("dataset-")
    inside = await asking.unpacked(done)
    assert {body.decode() for name, body in inside.items() if body.startswith(b"SCPCP")} == set(files)
    assert f"{GLIOMA}_SINGLE_CELL/SCPCS999990/SCPCL999990_processed.rds" in inside
    assert f"{GLIOMA}_BULK/{GLIOMA}_bulk_quant.tsv" in inside
    assert f"{TOGETHER}_SINGLE_CELL/SCPCS999992_SCPCS999993/SCPCL999992_processed.rds" in inside
    assert f"{GLIOMA}_SPATIAL/README.md" in inside
    assert await asking.portal.value("select sum(downloads) from computed_file") == 1
    assert await asking.portal.value("select count(*) from computed_file_item") == 0, (
        "whose items: their owner's matter"
    )


async def test_what_is_merged_comes_whole(asking: Asking) -> None:
    made = await asking.post({GLIOMA: {"SINGLE_CELL": "MERGED"}}, start=True)
    inside = await asking.unpacked(await asking.built(made))
    assert f"{GLIOMA}_SINGLE_CELL_MERGED/{GLIOMA}_merged.rds" in inside
    assert not any("bulk_quant" in name for name in inside)


async def test_every_fault_is_named(asking: Asking) -> None:
    faults = await asking.post(
        {
            GLIOMA: {"SINGLE_CELL": ["SCPCS999990", "SCPCS999991", "SCPCS999992", "S"], "PROTEIN": ["SCPCS999990"]},
            TOGETHER: {"SINGLE_CELL": "MERGED", "SPATIAL": ["SCPCS999995"], "includes_bulk": True},
            LOCKED: {"SINGLE_CELL": ["SCPCS999994"]},
            "SCPCP0": {"SINGLE_CELL": ["x"]},
            BARE: {"includes_wings": True},
        },
        400,
    )
    assert list(faults) == ["data"]
    told = "\n".join(faults["data"])
    for words in (
        f"{GLIOMA}.SINGLE_CELL: SCPCS999991 has nothing of it as {R}.",
        f"{GLIOMA}.SINGLE_CELL: SCPCS999992 is not in this project.",
        f"{GLIOMA}.SINGLE_CELL: S is not in this project.",
        f"{GLIOMA}.PROTEIN: there is no such part as {R}; there are: SINGLE_CELL, SPATIAL.",
        f"{TOGETHER}.SINGLE_CELL: MERGED:",
        f"{TOGETHER}.SPATIAL: SCPCS999995 has nothing of it",
        f"{TOGETHER}.includes_bulk: this project has none.",
        f"{LOCKED}: is locked",
        "SCPCP0: there is no such project.",
        f"{BARE}.includes_wings: no package of this site has such files.",
    ):
        assert words in told
    assert len(faults["data"]) == 10


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("format", {"format": "PDF", "data": {GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}}}),
    ("format", {"format": 5}),
    ("email", {"email": "x"}),
    ("start", {"start": "yes"}),
    ("data", {"start": True}),
    ("data", {"data": []}),
    ("data", {"data": {GLIOMA: 5}}),
    ("data", {"data": {GLIOMA: {"SINGLE_CELL": [5]}}}),
    ("data", {"data": {GLIOMA: {"SINGLE_CELL": {}}}}),
    ("data", {"data": {GLIOMA: {"includes_bulk": "yes"}}}),
    ("data", {"data": {GLIOMA: {"SINGLE_CELL": ["SCPCS999990", "SCPCS999990"]}}}),
    ("data", {"data": {"' or 1=1 --": {"SINGLE_CELL": ["x"]}}}),
    ("data", {"data": {GLIOMA: {"SINGLE_CELL": ["x\u0000y"]}}}),
    ("data", {"data": {"x\u0000y": {"SINGLE_CELL": ["x"]}}}),
    ("colour", {"colour": "red"}),
]


async def test_faults_of_a_body_are_told_by_field(asking: Asking) -> None:
    for field, body in WRONG:
        answer = await asking.client.post("/v1/datasets", content=json.dumps(body))
        assert (answer.status_code, list(answer.json())) == (400, [field]), (body, answer.text)
    assert await asking.portal.value("select count(*) from dataset") == 0


async def test_only_its_owner_and_operators_see_a_dataset(asking: Asking) -> None:
    made = await asking.post({GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}}, start=True)
    done = await asking.built(made)
    path = f"/v1/datasets/{made['id']}"
    other = {"API-KEY": await key_for(asking.portal.database, "c@d.org")}
    for way in ("get", "patch", "put", "delete"):
        more = {"json": {"start": True}} if way in ("patch", "put") else {}
        answer = await asking.client.request(way, path, headers=other, **more)
        assert answer.status_code == 404, way
    async with client_of(asking.web.url) as nobody:
        assert (await nobody.get(path)).status_code == 403
        assert (await nobody.post("/v1/datasets", json={})).status_code == 403
        number = done["computed_file"]["id"]
        assert (await nobody.get(f"/v1/computed-files/{number}", headers=other)).status_code == 404
        assert done["computed_file"]["name"] not in (await nobody.get("/v1/computed-files?limit=2000")).text
        assert done["computed_file"]["name"] not in (await nobody.get("/v1/samples/SCPCS999990")).text
    assert (await asking.web.client.get(path)).json()["email"] == "a@b.org"
    assert (await asking.web.client.get("/v1/datasets")).json()["count"] == 1
    assert (await asking.client.get("/v1/datasets", headers=other)).json()["results"] == []
    for _ in range(3):
        await asking.post({})
    listed = (await asking.client.get("/v1/datasets?limit=2")).json()
    assert (listed["count"], len(listed["results"])) == (4, 2)
    assert (await asking.client.get(listed["next"])).json()["next"] is None


async def test_the_same_dataset_asked_for_twice_is_built_once(asking: Asking) -> None:
    data = {GLIOMA: {"SINGLE_CELL": ["SCPCS999990", "SCPCS999997"]}}
    same = {GLIOMA: {"SINGLE_CELL": ["SCPCS999997", "SCPCS999990"]}}
    headers = {"API-KEY": await key_for(asking.portal.database, "c@d.org")}
    body = {"format": R, "data": same, "start": True}
    other = asking.client.post("/v1/datasets", json=body, headers=headers)
    first, answer = await asyncio.gather(asking.post(data, start=True), other)
    second = answer.json()
    assert first["state"] == second["state"] == "processing"
    assert await asking.portal.value("select count(*) from run") == 1
    done = await asking.built(first)
    also = (await asking.client.get(f"/v1/datasets/{second['id']}", headers=headers)).json()
    assert done["computed_file"] == also["computed_file"]
    third = await asking.post(data, start=True)
    assert third["state"] == "succeeded"
    assert await asking.portal.value("select count(*) from run") == 1


async def test_a_dataset_expires_and_can_be_built_again(asking: Asking) -> None:
    data = {GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}}
    done = await asking.built(await asking.post(data, start=True))
    await asking.portal.run_sql("update computed_file set expires_at = now() - interval '1 second'")
    for _ in range(2):  # before and after its bytes are removed
        gone = await asking.get(done)
        assert (gone["state"], gone["is_expired"], gone["computed_file"]) == ("expired", True, None)
        assert "download_url" not in gone
        assert (await asking.client.get(done["download_url"])).status_code == 410
        await asking.portal.remove()
    assert not list(asking.portal.packages.rglob("dataset-*"))
    again = await asking.client.patch(f"/v1/datasets/{done['id']}", json={"start": True})
    assert again.json()["state"] == "processing"
    back = await asking.built(done)
    assert back["computed_file"]["sha256"] == done["computed_file"]["sha256"]
    assert back["computed_file"]["id"] != done["computed_file"]["id"]


async def test_what_is_asked_for_again_in_its_last_moment_is_not_removed(asking: Asking) -> None:
    done = await asking.built(await asking.post({GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}}, start=True))
    await asking.portal.run_sql("update computed_file set expires_at = now() - interval '1 second'")
    async with asking.portal.database.begin() as session:
        await session.execute(text("select from item where kind = 'package' for update"))
        removing = asyncio.create_task(asking.portal.remove())
        await asking.portal.until(
            "select exists (select from pg_stat_activity "
            "where wait_event_type = 'Lock' and datname = current_database())"
        )
        await session.execute(text("update computed_file set expires_at = now() + interval '1 day'"))
    assert await removing == []
    assert (await asking.get(done))["state"] == "succeeded"


async def test_what_was_asked_for_stays_as_it_is(asking: Asking) -> None:
    made = await asking.post({GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}})
    path = f"/v1/datasets/{made['id']}"
    changed = await asking.client.put(path, json={"data": {GLIOMA: {"SINGLE_CELL": ["SCPCS999997"]}}, "start": True})
    assert changed.json()["state"] == "processing"
    assert (await asking.client.patch(path, json={"start": True})).json()["state"] == "processing"
    refused = await asking.client.patch(path, json={"data": {}})
    assert (refused.status_code, list(refused.json())) == (409, ["detail"])
    assert (await asking.get(made))["data"] == {GLIOMA: {"SINGLE_CELL": ["SCPCS999997"]}}
    assert (await asking.client.delete(path)).status_code == 204
    await asking.get(made, 404)
    await asking.get({"id": "no-uuid"}, 404)


async def test_a_dataset_that_cannot_be_built_says_why_and_can_be_tried_again(asking: Asking) -> None:
    made = await asking.post({GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}}, start=True)
    path = next((asking.portal.folder.parent / "portal").rglob("SCPCL999990_processed.rds"))
    path.write_text("other bytes than the catalogue knows")
    failed = await asking.built(made)
    assert (failed["state"], failed["is_failed"]) == ("failed", True)
    assert "sync" in failed["failed_reason"]
    await sync(asking.portal.database, "bucket")
    again = await asking.client.patch(f"/v1/datasets/{made['id']}", json={"start": True})
    assert again.json()["state"] == "processing"
    assert (await asking.built(made))["state"] == "succeeded"


async def test_what_a_dataset_waits_for_names_no_places_to_visitors(asking: Asking) -> None:
    made = await asking.post({GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}}, start=True)
    why = "s3://secret-bucket/made cannot be written: the service does not answer."
    await asking.portal.run_sql("update task set reason = :why where state = 'waiting'", why=why)
    assert (await asking.get(made))["progress_note"] == "waiting: … cannot be written: the service does not answer."
    async with asking.portal.database.begin() as session:
        kept = await datasets.get(session, None, uuid.UUID(made["id"]))
    assert kept.note == f"waiting: {why}"


async def test_nobody_asks_for_too_many(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MOST_OPEN", 2)
    monkeypatch.setattr(datasets, "MOST_STARTED", 1)
    await asking.post({}), await asking.post({})
    await asking.post({}, 429)
    await asking.portal.run_sql("update dataset set updated_at = now() - interval '31 days'")
    await datasets.duties()[0].do(asking.portal.database)
    assert await asking.portal.value("select count(*) from dataset") == 0
    await asking.post({GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}}, start=True)
    await asking.post({GLIOMA: {"SINGLE_CELL": ["SCPCS999997"]}}, 429, start=True)


async def test_nobody_hangs_while_packages_are_planned(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "PATIENCE", 0.3)
    data = {GLIOMA: {"SINGLE_CELL": ["SCPCS999990"]}}
    async with asking.portal.database.begin() as session:
        await session.execute(text("select pg_advisory_xact_lock(hashtext('tidemill packages'))"))
        told = await asking.post(data, 503, start=True)
        assert "planning" in told["detail"]
        await asking.post(data)
    assert (await asking.post(data, start=True))["state"] == "processing"


async def test_who_did_not_accept_the_terms_gathers_nothing(asking: Asking) -> None:
    not_yet = {"API-KEY": await key_for(asking.portal.database, accepted=False)}
    answer = await asking.client.post("/v1/datasets", json={}, headers=not_yet)
    assert answer.status_code == 403
    assert answer.json() == {"message": "Your token is not valid or not activated.", "token_id": not_yet["API-KEY"]}
