"""The portal's API under a real server: a client written for the portals that researchers know works with it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.portal_catalogue import BODY, PORTAL, lay
from tests.webserver import Web, client_of, web_site

from tidemill.db.database import Database


@dataclass
class Client:
    """As such clients are written: a base URL with `/v1`, slashes at the end, pages of 2000, a token in a header."""

    base: str
    api_token: str | None = None
    session: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=60))

    def get_all(self, resource: str, **params: str) -> list[dict[str, Any]]:
        url: str | None = f"{self.base}/{resource}/"
        asked: dict[str, str] | None = {"limit": "2000", **params}
        found = []
        while url:
            page = self._json(self.session.get(url, params=asked))
            found += page["results"]
            url, asked = page["next"], None
        assert len(found) == page["count"]
        return found

    def get(self, resource: str, id_: Any) -> dict[str, Any]:
        headers = {"API-KEY": self.api_token} if self.api_token else {}
        return self._json(self.session.get(f"{self.base}/{resource}/{id_}", headers=headers))

    def get_token(self, email: str) -> None:
        answer = self.session.post(f"{self.base}/tokens", json={"email": email, "is_activated": True})
        assert answer.status_code == 201, answer.text
        self.api_token = answer.json()["id"]

    def download(self, computed_file: int, folder: Path) -> Path:
        found = self.get("computed-files", computed_file)
        target = folder / found["download_filename"]
        with self.session.stream("GET", found["download_url"]) as answer:
            answer.raise_for_status()
            target.write_bytes(answer.read())
        return target

    @staticmethod
    def _json(answer: httpx2.Response) -> Any:
        answer.raise_for_status()
        return answer.json()


@pytest.fixture
def web(laid: None, web: Web) -> Web:
    """The site, with the catalogue laid; some tests lay one of their own."""
    return web


@pytest.fixture
async def nobody(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(f"{web.url}/v1") as client:
        yield client


def in_thread(function: Any, *args: Any) -> Any:
    import asyncio

    return asyncio.to_thread(function, *args)


async def test_a_client_written_for_such_a_portal(web: Web, tmp_path: Path) -> None:
    def use() -> None:
        client = Client(f"{web.url}/v1")
        projects = client.get_all("projects")
        assert [(one["scpca_id"], one["samples"]) for one in projects] == [("P1", ["S1", "S3"]), ("P2", ["S2", "S3"])]
        packages = projects[0]["computed_files"]
        assert [(one["format"], one["includes_merged"], one["sample"]) for one in packages] == [("ALL", True, None)]
        samples = client.get_all("samples", diagnosis__icontains="ganglio", project__scpca_id="P1")
        assert [(one["scpca_id"], one["project"]) for one in samples] == [("S1", "P1"), ("S3", "P1")]
        project = client.get("projects", "P1")
        assert [one["diagnosis"] for one in project["samples"]] == ["Ganglioglioma", "ganglioglioma, anaplastic"]
        sample = client.get("samples", "S1")
        assert (sample["age"], sample["metadata"], sample["project"]) == (4, {"odd": 1}, "P1")
        number = sample["computed_files"][0]["id"]
        assert "download_url" not in client.get("computed-files", number)
        client.get_token("researcher@example.org")
        assert "download_url" in client.get("computed-files", number)
        path = client.download(number, tmp_path)
        assert path.read_bytes() == BODY
        assert path.name.startswith("S1_ONE_20")
        assert hashlib.sha256(BODY).hexdigest() == client.get("computed-files", number)["sha256"]
        listed = client.session.get(f"{client.base}/computed-files", headers={"API-KEY": client.api_token or ""})
        assert "download_url" not in listed.text
        assert listed.json()["results"][1]["downloads"] == 3

    await in_thread(use)


async def test_a_computed_file_has_the_keys_that_clients_read(nobody: httpx2.AsyncClient) -> None:
    found = (await nobody.get("/computed-files/2")).json()
    assert found | {"created_at": "", "updated_at": ""} == {
        "id": 2, "created_at": "", "updated_at": "", "format": "ONE", "modality": "SINGLE_CELL", "project": "P1",
        "sample": "S1", "samples": ["S1"], "s3_bucket": None, "s3_key": "abc/S1_ONE.zip", "size_in_bytes": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(), "workflow_version": None, "includes_merged": False,
        "name": "S1_ONE.zip", "package": "one", "files": 0, "downloads": 0,
    }  # fmt: skip


async def test_a_bad_key_is_refused_in_the_words_that_clients_know(nobody: httpx2.AsyncClient) -> None:
    answer = await nobody.get("/computed-files/1", headers={"API-KEY": "bad"})
    said = {"message": "Your token is not valid or not activated.", "token_id": "bad"}
    assert (answer.status_code, answer.json()) == (403, said)
    assert (await nobody.get("/computed-files", headers={"API-KEY": "bad"})).status_code == 200
    unaccepted = (await nobody.post("/tokens", json={"email": "a@b.org"})).json()
    answer = await nobody.get("/computed-files/1", headers={"API-KEY": unaccepted["id"]})
    assert (answer.status_code, answer.json()["token_id"]) == (403, unaccepted["id"])


async def test_pages_have_whole_addresses(nobody: httpx2.AsyncClient, web: Web) -> None:
    page = (await nobody.get("/samples/?limit=2&offset=1&diagnosis__isnull=false&ordering=-scpca_id")).json()
    assert (page["count"], [one["scpca_id"] for one in page["results"]]) == (3, ["S2", "S1"])
    assert page["next"] is None
    rest = "diagnosis__isnull=false&ordering=-scpca_id"
    assert page["previous"] == f"{web.url}/v1/samples/?limit=2&{rest}"
    page = (await nobody.get("/samples?limit=1")).json()
    assert page["next"] == f"{web.url}/v1/samples?limit=1&offset=1"
    assert (await nobody.get(page["next"])).json()["previous"] == f"{web.url}/v1/samples?limit=1"
    assert (await nobody.get("/samples?offset=99")).json()["results"] == []
    assert (await nobody.get("/samples?limit=999999")).json()["count"] == 4


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("diagnosys=x", {"diagnosys": ["There is no filter 'diagnosys'. Did you mean 'diagnosis'?"]}),
        ("age=old", {"age": ["'old' is no whole number."]}),
        ("limit=x&age=old", {"limit": ["'x' is no positive whole number."], "age": ["'old' is no whole number."]}),
        ("limit=0", {"limit": ["'0' is no positive whole number."]}),
        ("offset=-1", {"offset": ["'-1' is no whole number."]}),
    ],
)
async def test_what_cannot_be_asked_is_a_400_by_parameter(
    nobody: httpx2.AsyncClient, query: str, faults: dict[str, list[str]]
) -> None:
    answer = await nobody.get(f"/samples?{query}")
    assert (answer.status_code, answer.json()) == (400, faults)


async def test_what_there_is_not(nobody: httpx2.AsyncClient) -> None:
    paths = ("samples/nobody", "samples/S5", "projects/P3", "samples/P1_ALL.zip", "items", "samples/%00", "none/x")
    numbers = ("99", "x", "0", "-1", "1.0", "9" * 19, "9" * 30, "²")
    for path in (*paths, *(f"computed-files/{number}" for number in numbers), "computed-files/x/members"):
        answer = await nobody.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["detail"]), path
    assert "samples" in (await nobody.get("/items")).json()["detail"]
    assert (await nobody.delete("/samples/S1")).status_code == 405


async def test_options_numbers_and_the_root(nobody: httpx2.AsyncClient, web: Web) -> None:
    assert (await nobody.get("/project-options")).json() == {"diagnoses": ["Glioma", "Other"]}
    options = (await nobody.get("/sample-options/")).json()
    assert (options["technologies"], options["is_xenograft"]) == (["10Xv2", "10Xv3", "spatial"], [False, True])
    stats = (await nobody.get("/stats")).json()
    assert (stats["projects_count"], stats["samples_count"], stats["computed_files_count"]) == (2, 4, 2)
    for path in ("/v1", "/v1/"):
        root = (await nobody.get(f"{web.url}{path}")).json()
        assert root["samples"] == f"{web.url}/v1/samples/"
    for name, address in root.items():
        expected = {"tokens": 405, "datasets": 403}.get(name, 200)
        assert (await nobody.get(address)).status_code == expected, address


async def test_how_often_a_field_has_which_value(nobody: httpx2.AsyncClient) -> None:
    found = (await nobody.get("/sample-options/technologies/?contains=10X&limit=1")).json()
    assert (found["values"], found["more"]) == ([{"value": "10Xv2", "count": 1}], True)
    found = (await nobody.get("/sample-options/weight?weight=9&contains=1.")).json()
    assert (found["type"], found["values"]) == ("number", [{"value": 1.5, "count": 1}])
    assert (await nobody.get("/sample-options/colour")).status_code == 404
    assert (await nobody.get("/sample-options/sex?contain=x")).status_code in (400, 404)


async def test_the_description_is_the_sites_own(nobody: httpx2.AsyncClient, web: Web) -> None:
    schema = (await nobody.get("/schema")).json()
    assert {"/projects", "/samples", "/samples/{scpca_id}", "/computed-files/{id}", "/tokens"} <= set(schema["paths"])
    names = {one["name"] for one in schema["paths"]["/samples"]["get"]["parameters"]}
    assert {"limit", "diagnosis__icontains", "age__gte", "project__scpca_id", "technologies"} <= names
    assert "age__icontains" not in names
    listed = (await nobody.get("/samples")).json()["results"][0]
    assert set(listed) == set(schema["components"]["schemas"]["Item"]["properties"])
    project = (await nobody.get("/projects")).json()["results"][0]
    assert set(project) == set(schema["components"]["schemas"]["Project"]["properties"])
    computed = set((await nobody.get("/computed-files/1")).json()) | {"download_url", "download_filename"}
    assert computed == set(schema["components"]["schemas"]["ComputedFile"]["properties"])
    docs = await nobody.get("/docs")
    assert "diagnosis" in docs.text
    assert f"{web.url}/v1/samples" in docs.text
    elsewhere = docs.text.replace(web.url, "").replace("https://", "http://")
    assert "http://" not in elsewhere
    assert "<script" not in docs.text


async def test_every_described_filter_works(nobody: httpx2.AsyncClient) -> None:
    schema = (await nobody.get("/schema")).json()
    given = {"integer": "4", "number": "4", "boolean": "true", "string": "2024-01-01"}
    tried = 0
    for path in ("/projects", "/samples", "/computed-files"):
        for one in schema["paths"][path]["get"]["parameters"]:
            if one["name"] in ("ordering", "search", "limit", "offset"):
                continue
            value = "4" if one["name"].split("__")[-2:][0] in ("age", "weight", "id") else given[one["schema"]["type"]]
            number = ("size_in_bytes__in", "is_xenograft__in", "locked__in", "includes_merged__in")
            value = "1" if one["name"].endswith((*number, "__isnull")) else value
            answer = await nobody.get(path, params={one["name"]: value})
            assert answer.status_code == 200, (path, one["name"], answer.text)
            tried += 1
    assert tried > 200


@pytest.mark.parametrize(
    ("vocabulary", "projects", "items", "project", "item"),
    [
        ({"item": "recording", "items": "recordings", "project": "series", "projects": "series of them"},
         "series-of-them", "recordings", "series", "recording"),
        ({"item": "Data file", "items": "Data files"}, "projects", "data-files", "project", "data_file"),
        ({}, "projects", "items", "project", "item"),
    ],
)  # fmt: skip
async def test_other_sites_have_it_in_their_words(
    database: Database, database_url: str, tmp_path: Path, vocabulary: dict[str, str], projects: str, items: str,
    project: str, item: str,
) -> None:  # fmt: skip
    await lay(database, vocabulary=vocabulary, portal={"public": True})
    async with (
        web_site(database, database_url, tmp_path) as web,
        client_of(f"{web.url}/v1") as nobody,
    ):
        found = (await nobody.get(f"/{projects}")).json()["results"][0]
        assert (found["id"], found[items.replace("-", "_")]) == ("P1", ["S1", "S3"])
        found = (await nobody.get(f"/{items}", params={f"{project}__id": "P1", "age": "4"})).json()["results"]
        assert [(one["id"], one[project]) for one in found] == [("S1", "P1")]
        assert (await nobody.get(f"/{items}/S1")).json()["computed_files"][0][item] == "S1"
        assert (await nobody.get(f"/{item.replace('_', '-')}-options")).status_code == 200
        assert f"/{items}" in (await nobody.get("/schema")).json()["paths"]
        assert (await nobody.get("/samples")).status_code == 404


async def test_a_site_that_is_not_public_answers_those_it_knows(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await lay(database, portal=PORTAL | {"public": False})
    async with web_site(database, database_url, tmp_path) as web:
        async with client_of(f"{web.url}/v1") as nobody:
            for path in ("/", "/projects", "/samples/S1", "/computed-files", "/schema", "/docs", "/stats", "/none"):
                answer = await nobody.get(path)
                assert (answer.status_code, list(answer.json())) == (401, ["detail"]), path
                assert "www-authenticate" in answer.headers
            assert (await nobody.post("/tokens", json={"email": "a@b.org"})).status_code == 401
            given = (await web.client.post("/v1/tokens", json={"email": "a@b.org", "is_activated": True})).json()
            assert (await nobody.get("/samples", headers={"API-KEY": given["id"]})).status_code == 200
            assert (await nobody.get("/samples", headers={"API-KEY": "x"})).status_code == 401
            assert (await nobody.get(f"/tokens/{given['id']}")).status_code == 200
        assert (await web.client.get("/v1/samples")).json()["count"] == 4


async def test_pages_elsewhere_may_read_as_the_site_says(database: Database, database_url: str, tmp_path: Path) -> None:
    await lay(database, portal=PORTAL | {"cors": ["https://lab.example.org/"]})
    async with (
        web_site(database, database_url, tmp_path) as web,
        client_of(web.url) as nobody,
    ):
        ours, other = {"Origin": "https://lab.example.org"}, {"Origin": "https://evil.example"}
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "api-key, content-type"}
        answer = await nobody.get("/v1/samples", headers=ours)
        assert answer.headers["access-control-allow-origin"] == "https://lab.example.org"
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"]
        preflight = await nobody.options("/v1/tokens", headers=ours | asks)
        assert preflight.status_code == 204
        assert "API-KEY" in preflight.headers["access-control-allow-headers"]
        assert (await nobody.get("/v1/none", headers=ours)).headers["access-control-allow-origin"]
        for path, headers in (
            ("/v1/samples", other),
            ("/v1/samples", other | asks),
            ("/portal", ours),
            ("/api/items", ours),
        ):
            for method in ("GET", "OPTIONS"):
                answer = await nobody.request(method, path, headers=headers)
                assert "access-control-allow-origin" not in answer.headers, (path, headers)
                assert "access-control-allow-methods" not in answer.headers


async def test_a_site_that_declares_nothing_answers_too(database: Database, database_url: str, tmp_path: Path) -> None:
    async with web_site(database, database_url, tmp_path) as web:
        assert (await web.client.get("/v1/items")).json() == {"count": 0, "next": None, "previous": None, "results": []}
        assert (await web.client.get("/v1/schema")).status_code == 200
        assert (await web.client.get("/v1/docs")).status_code == 200
        assert (await web.client.get("/v1/stats")).json()["items_count"] == 0
