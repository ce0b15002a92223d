"""The manifest of a project: as JSON, as a table, for sha256sum and for curl; with links only for who may download."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from tests.packaging import Portal
from tests.portal import describe, key_for
from tests.webserver import Web, web_site

from tidemill.db.database import Database
from tidemill.publishing.manifests import Listed, as_sums, as_tsv
from tidemill.storage.documents import DocumentStore

PATH = "/v1/projects/P1/manifest"


@pytest.fixture
async def web(database: Database, database_url: str, documents: DocumentStore, tmp_path: Path) -> AsyncIterator[Web]:
    portal = Portal(database, documents, tmp_path)
    await portal.lay("S1", "S2")
    await describe(database, portal={"public": True})
    await portal.made()
    async with web_site(database, database_url, tmp_path / "site") as web:
        yield web


async def test_everybody_sees_names_sizes_and_checksums_and_gets_no_link(web: Web, nobody: httpx2.AsyncClient) -> None:
    told = (await nobody.get(PATH)).json()
    assert (told["count"], [one["name"] for one in told["files"]]) == (1, ["P1_ALL.zip"])
    assert "url" not in told["files"][0]
    every = (await nobody.get(f"{PATH}/?per=all")).json()
    assert [one["name"] for one in every["files"]] == ["P1_ALL.zip", "S1.zip", "S2.zip"]
    assert every["size_in_bytes"] == sum(one["size_in_bytes"] for one in every["files"])
    narrow = (await nobody.get(f"{PATH}?per=all&package=single")).json()
    assert [one["name"] for one in narrow["files"]] == ["S1.zip", "S2.zip"]
    table = (await nobody.get(PATH, headers={"Accept": "text/tab-separated-values"})).text.splitlines()
    assert table[0] == "name\tsize_in_bytes\tsha256\tupdated_at"
    assert (await nobody.get(f"{PATH}?format=curl")).status_code == 403
    assert (await nobody.get(f"{PATH}?format=pdf")).status_code == 400
    assert (await nobody.get("/v1/projects/none/manifest")).status_code == 404
    assert (await nobody.get("/v1/items/S1/manifest")).status_code == 404
    assert (await nobody.get(PATH, headers={"API-KEY": "bad"})).json()["token_id"] == "bad"


async def test_a_whole_project_is_fetched_and_checked_by_two_lines(
    web: Web, nobody: httpx2.AsyncClient, tmp_path: Path
) -> None:
    key = {"API-KEY": await key_for(web.site.database)}
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "fetch").write_bytes((await nobody.get(f"{PATH}?per=all&format=curl", headers=key)).content)
    (folder / "SHA256SUMS").write_bytes((await nobody.get(f"{PATH}?per=all&format=sha256")).content)
    line = "curl -sS -K fetch && sha256sum -c SHA256SUMS"
    done = await _shell(line, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["P1_ALL.zip: OK", "S1.zip: OK", "S2.zip: OK"]
    (folder / "S1.zip").write_bytes((folder / "S1.zip").read_bytes()[:100])
    await _shell("curl -sS -K fetch", folder)
    assert (await _shell("sha256sum -c SHA256SUMS", folder)).returncode == 0
    async with web.site.database.begin() as session:
        assert (await session.execute(text("select count(*) from download"))).scalar_one() == 3
    linked = (await nobody.get(f"{PATH}?format=tsv", headers=key)).text.splitlines()
    assert linked[0].endswith("\turl")
    assert (await nobody.get(linked[1].split("\t")[-1])).status_code == 200


async def test_original_files_are_had_one_by_one_where_the_site_says_so(web: Web, nobody: httpx2.AsyncClient) -> None:
    database, key = web.site.database, {"API-KEY": await key_for(web.site.database)}
    assert (await nobody.get("/v1/original-files?item=S1")).json()["count"] == 0
    await describe(database, portal={"public": True}, publishing={"originals": True})
    (file,) = (await nobody.get("/v1/original-files/?item=S1")).json()["results"]
    assert (file["key"], file["size_in_bytes"]) == ("S1/S1.bin", 2000)
    both = (await nobody.get("/v1/original-files?project=P1&limit=1")).json()
    assert (both["count"], both["previous"]) == (2, None)
    assert (await nobody.get(both["next"])).json()["results"][0]["key"] == "S2/S2.bin"
    assert (await nobody.get("/v1/original-files")).status_code == 400
    assert (await nobody.get(f"/v1/original-files/{file['id']}")).status_code == 403
    link = (await nobody.get(f"/v1/original-files/{file['id']}", headers=key)).json()
    assert link["download_filename"] == "S1.bin"
    assert (await nobody.get(link["download_url"])).content == b"S1" * 1000
    assert (await nobody.get("/v1/original-files/99999", headers=key)).status_code == 404


async def test_the_description_of_the_api_names_all_of_it(nobody: httpx2.AsyncClient) -> None:
    paths = (await nobody.get("/v1/schema")).json()["paths"]
    wanted = {
        "/tokens",
        "/tokens/{key}",
        "/datasets",
        "/datasets/{number}",
        "/original-files",
        "/projects/{id}/manifest",
    }
    assert wanted <= set(paths)
    assert "manifest" in (await nobody.get("/v1/docs")).text


async def _shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run, ["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_odd_names_do_not_break_lines(tmp_path: Path) -> None:
    name = "a\nb\\c.zip"
    (tmp_path / name).write_bytes(b"x")
    row = {"name": name, "size": 1, "sha256": hashlib.sha256(b"x").hexdigest(), "updated_at": dt.datetime.now(dt.UTC)}
    assert len(as_tsv([Listed(row)]).splitlines()) == 2
    checked = subprocess.run(["sha256sum", "-c"], input=as_sums([Listed(row)]), cwd=tmp_path, text=True, check=False)
    assert checked.returncode == 0
