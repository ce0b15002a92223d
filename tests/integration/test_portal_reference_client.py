"""A client written from the reference's words alone, with the standard library: told another base URL and another
address, it works."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import text
from tests.portal_catalogue import BODY, lay
from tests.webserver import Web, web_site

from tidemill.db.database import Database

COMPUTED_FILE = {
    "id": int, "created_at": str, "updated_at": str, "format": str, "modality": str, "project": str, "sample": str,
    "s3_bucket": str, "s3_key": str, "size_in_bytes": int, "workflow_version": str, "has_bulk_rna_seq": bool,
    "has_cite_seq_data": bool, "has_multiplexed_data": bool, "includes_merged": bool, "includes_celltype_report": bool,
    "metadata_only": bool, "portal_metadata_only": bool,
}  # fmt: skip
"""Every key that the reference's computed files have, with its type; what is no truth value may be null."""

DECLARED = [
    {
        "name": "all", "per": "project", "file": "x",
        "attributes": {
            "format": "ALL", "includes_merged": True, "has_bulk_rna_seq": {"has": {"modality": "BULK"}},
            "has_cite_seq_data": {"has": {"assay": "adt"}}, "has_multiplexed_data": False, "workflow_version": "v1",
            "includes_celltype_report": {"has": {"report": "celltype-report"}},
        },
    },
    {"name": "one", "per": "item", "file": "x", "attributes": {"format": "ONE", "modality": "SINGLE_CELL"}},
    {"name": "meta", "per": "project", "file": "x", "attributes": {"metadata_only": True}},
    {"name": "site", "per": "site", "file": "x", "attributes": {"portal_metadata_only": True}},
]  # fmt: skip


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any


@dataclass
class Client:
    base: str
    key: str = ""

    def __call__(self, method: str, path: str, body: Any = None, form: Any = None, **params: Any) -> Answer:
        url = path if path.startswith("http") else self.base + path
        url += f"?{urlencode(params)}" if params else ""
        headers = {"API-KEY": self.key} if self.key else {}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif form is not None:
            data = urlencode(form).encode()
        try:
            with urlopen(Request(url, data, headers, method=method), timeout=60) as answer:
                return Answer(answer.status, self._read(answer.read()), answer.headers)
        except HTTPError as error:
            return Answer(error.code, self._read(error.read()), error.headers)

    def results(self, path: str, **params: Any) -> list[dict[str, Any]]:
        page = self("GET", path, **params)
        assert (page.status, list(page.body)) == (200, ["count", "next", "previous", "results"])
        found: list[dict[str, Any]] = page.body["results"]
        return found

    def ids(self, path: str, **params: Any) -> list[str]:
        return [one["scpca_id"] for one in self.results(path, **params)]

    @staticmethod
    def _read(raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except ValueError:
            return raw


@pytest.fixture
async def web(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Web]:
    await lay(database, store=tmp_path / "store", terms="2026-1")
    async with database.begin() as session:
        await session.execute(text("update site set packages = :says"), {"says": json.dumps(DECLARED)})
    async with web_site(database, database_url, tmp_path) as web:
        yield web


async def test_lists_and_records(web: Web) -> None:
    def use() -> None:
        client = Client(f"{web.url}/v1")
        root = client("GET", "/")
        assert {"projects", "samples", "computed-files", "tokens", "project-options", "stats"} <= set(root.body)
        for slash in ("", "/"):
            assert client.ids(f"/projects{slash}", limit=2000) == ["P1", "P2"]
            assert client("GET", f"/projects/P1{slash}").body["scpca_id"] == "P1"
            assert client("GET", f"/samples/S1{slash}").body["project"] == "P1"
        (first, second) = client.results("/projects", limit=2000)
        assert (first["samples"], second["samples"]) == (["S1", "S3"], ["S2", "S3"])
        assert [one["project"] for one in first["computed_files"]] == ["P1"]
        alone = client("GET", "/projects/P1").body
        assert [one["scpca_id"] for one in alone["samples"]] == ["S1", "S3"]
        assert client("GET", "/project-options/").body["diagnoses"] == ["Glioma", "Other"]
        assert client("GET", "/stats").status == 200
        page = client("GET", "/samples", limit=1, offset=1).body
        assert (page["count"], len(page["results"])) == (4, 1)
        after = client("GET", page["next"]).body
        assert client("GET", after["previous"]).body["results"] == page["results"]
        gone = client("GET", "/samples/none")
        assert (gone.status, list(gone.body)) == (404, ["detail"])

    await asyncio.to_thread(use)


async def test_filters(web: Web) -> None:
    def use() -> None:
        client = Client(f"{web.url}/v1")
        assert client.ids("/samples", diagnosis="Ganglioglioma") == ["S1"]
        assert client.ids("/samples", project__scpca_id="P2") == ["S2", "S3"]
        assert client.ids("/samples", diagnosis__icontains="GANGLIO") == ["S1", "S3"]
        assert client.ids("/samples", age__gte=5) == ["S2"]
        assert client.ids("/samples", diagnosis__isnull=True) == ["S4"]
        assert client.ids("/samples", is_xenograft=True) == ["S2"]
        assert client.ids("/projects", diagnoses="Glioma,Other") == ["P1"]
        assert client.ids("/projects", diagnoses="Glioma,Ependymoma") == []
        number = {name: len(client.results("/computed-files", **{name: value})) for name, value in
                  {"includes_merged": False, "has_bulk_rna_seq": False, "metadata_only": False}.items()}  # fmt: skip
        assert number == {"includes_merged": 1, "has_bulk_rna_seq": 2, "metadata_only": 2}
        assert [one["sample"] for one in client.results("/computed-files", sample="S1", modality="SINGLE_CELL")] == [
            "S1"
        ]

    await asyncio.to_thread(use)


async def test_computed_files_have_every_key_in_its_type(web: Web) -> None:
    def use() -> None:
        client = Client(f"{web.url}/v1")
        nested = [one for record in client.results("/samples") for one in record["computed_files"]]
        for found in (*client.results("/computed-files"), *nested, client("GET", "/computed-files/1").body):
            assert not {"download_url", "download_filename"} & set(found)
            for name, type_ in COMPUTED_FILE.items():
                value = found[name]
                assert isinstance(value, type_) or (value is None and type_ is not bool), (name, value)

    await asyncio.to_thread(use)


async def test_tokens_and_downloads(web: Web) -> None:
    def use() -> None:
        client = Client(f"{web.url}/v1")
        wrong = client("POST", "/tokens", body={"email": "nobody", "is_activated": True})
        assert (wrong.status, list(wrong.body)) == (400, ["email"])
        made = client("POST", "/tokens/", body={"email": "a@b.org", "is_activated": True})
        assert made.status == 201
        assert {"id", "is_activated", "terms_and_conditions"} <= set(made.body)
        assert (made.body["is_activated"], made.body["terms_and_conditions"]) == (True, "Be kind.")
        posted = client("POST", "/tokens", form={"email": "c@d.org", "is_activated": "true"})
        assert (posted.status, posted.body["is_activated"]) == (201, True)
        refused = Client(client.base, "no-such-key")("GET", "/computed-files/2")
        assert refused.status == 403
        assert refused.body == {"message": "Your token is not valid or not activated.", "token_id": "no-such-key"}
        client.key = made.body["id"]
        assert client("GET", f"/tokens/{client.key}").body["is_activated"] is True
        assert not any("download_url" in one for one in client.results("/computed-files"))
        found = client("GET", "/computed-files/2/").body
        assert re.fullmatch(r"S1_ONE_\d{4}-\d\d-\d\d\.zip", found["download_filename"])
        with urlopen(found["download_url"], timeout=60) as answer:
            assert answer.read() == BODY
            assert found["download_filename"] in answer.headers["Content-Disposition"]

    await asyncio.to_thread(use)
