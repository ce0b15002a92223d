"""Somebody from outside, in the portal's demo: knows its address and nothing else, and trusts no byte unchecked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tidemill.cli.demo_stages import stage
from tidemill.cli.output import table, tell
from tidemill.errors import TidemillError
from tidemill.web.wording import size

EMAIL = "visitor@example.org"
WANTED = "SCPCS999990_SINGLE-CELL_ANN-DATA.zip"
DATASET = {
    "SCPCP999990": {"SINGLE_CELL": ["SCPCS999990", "SCPCS999997"], "includes_bulk": True},
    "SCPCP999992": {"SINGLE_CELL": ["SCPCS999996"]},
}
PATIENCE = 120.0
"""Seconds that a dataset may take."""

Json = dict[str, Any]


class Visitor:
    """Reads the catalogue, accepts the terms, downloads a package and a dataset."""

    def __init__(self, where: str, downloads: Path) -> None:
        self._where = where
        self._downloads = downloads
        self._client = httpx.AsyncClient(base_url=where, timeout=60)
        self._key: dict[str, str] = {}
        self.wrong: list[str] = []

    async def visit(self) -> list[str]:
        """The whole visit; what was not as it should be."""
        async with self._client:
            await self._look_around()
            await self._accept_terms()
            await self._take_package()
            await self._take_dataset()
        return self.wrong

    async def _look_around(self) -> None:
        found = (await self._get("/v1/projects?limit=2000"))["results"]
        rows = [
            [
                project["scpca_id"],
                len(project["samples"]),
                len(project["computed_files"]),
                size(sum(file["size_in_bytes"] for file in project["computed_files"])),
                project["title"],
            ]
            for project in found
        ]
        table(["project", "samples#", "packages#", "size#", "title"], rows, empty="There is no project.")
        if any(project["scpca_id"] == "SCPCP999993" for project in found):
            self.wrong.append("the locked project SCPCP999993 is shown")

    async def _accept_terms(self) -> None:
        token = await self._post("/v1/tokens", {"email": EMAIL, "is_activated": True})
        self._key = {"API-KEY": token["id"]}
        title = token["terms_and_conditions"].partition("\n")[0].lstrip("# ")
        tell(f"  {title}, version {token['terms_version']}: accepted. The key is shown this once: {token['id'][:10]}…")

    async def _take_package(self) -> None:
        found = (await self._get("/v1/computed-files?limit=2000&sample__scpca_id=SCPCS999990"))["results"]
        (wanted,) = [file for file in found if file["s3_key"].endswith(WANTED)]
        file = await self._get(f"/v1/computed-files/{wanted['id']}")
        await self._download(file["download_url"], file["download_filename"], file["sha256"])

    async def _take_dataset(self) -> None:
        asked = {"format": "ANN_DATA", "email": EMAIL, "data": DATASET, "start": True}
        dataset = await self._post("/v1/datasets", asked)
        ends = time.monotonic() + PATIENCE
        with stage("The dataset is built"):
            while not dataset.get("download_url"):
                if dataset.get("is_failed") or time.monotonic() > ends:
                    raise TidemillError(f"The dataset was not built: {json.dumps(dataset)[:500]}")
                await asyncio.sleep(0.2)
                dataset = await self._get(f"/v1/datasets/{dataset['id']}", told=False)
        file = dataset["computed_file"]
        await self._download(dataset["download_url"], dataset["download_filename"], file["sha256"])

    async def _download(self, url: str, name: str, sha256: str) -> None:
        """Fetch a package, hold it against its checksum, and each file in it against the manifest."""
        self._downloads.mkdir(parents=True, exist_ok=True)
        path = self._downloads / name
        tell(f"\n$ curl -C - -o {name} '{_short(url)}'")
        whole = hashlib.sha256()
        async with self._client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise TidemillError(f"The download was refused with {answer.status_code}.")
            with path.open("wb") as file:
                async for piece in answer.aiter_bytes():
                    whole.update(piece)
                    file.write(piece)
        if whole.hexdigest() != sha256:
            self.wrong.append(f"{name} has not the checksum that the site gives")
        checked = await asyncio.to_thread(self._check, path)
        tell(
            f"  {size(path.stat().st_size)} with the SHA-256 that the site gives; {checked} files, as its manifest says"
        )

    def _check(self, path: Path) -> int:
        """How many files of a package are as its manifest says."""
        right = 0
        with zipfile.ZipFile(path) as package:
            for line in package.read("MANIFEST.sha256").decode().splitlines():
                sha256, _, name = line.partition("  ")
                if hashlib.sha256(package.read(name)).hexdigest() == sha256:
                    right += 1
                else:
                    self.wrong.append(f"{name} in {path.name} is not as its manifest says")
            if right != len(package.namelist()) - 1:
                self.wrong.append(f"the manifest of {path.name} does not name all that is in it")
        return right

    async def _get(self, path: str, *, told: bool = True) -> Json:
        if told:
            key = " -H 'API-KEY: …'" if self._key else ""
            tell(f"\n$ curl{key} '{self._where}{path}'")
        return _answer(await self._client.get(path, headers=self._key))

    async def _post(self, path: str, body: Mapping[str, Any]) -> Json:
        key = " -H 'API-KEY: …'" if self._key else ""
        tell(f"\n$ curl{key} --json '{json.dumps(body)}' {self._where}{path}")
        return _answer(await self._client.post(path, json=body, headers=self._key))


def _answer(response: httpx.Response) -> Json:
    if response.is_error:
        raise TidemillError(f"{response.request.url} answered {response.status_code}: {response.text[:500]}")
    answer: Json = response.json()
    return answer


def _short(url: str) -> str:
    """A link without most of its signature."""
    return url if len(url) <= 110 else f"{url[:80]}…{url[-20:]}"
