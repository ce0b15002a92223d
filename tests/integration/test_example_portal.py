"""The portal's example from its bucket to what a visitor downloads: on folders as the demo shows it, and on S3."""

from __future__ import annotations

import csv
import fcntl
import gzip
import hashlib
import io
import os
import re
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from tests.ceph import Bucket, Server, fresh_bucket, lacking
from tests.portal_example import (
    CELLS,
    PACKAGES,
    PROJECTS,
    SPOTS,
    copy_example,
    environment,
    make_bucket,
    on_s3,
    upload,
)
from tests.program import Program

ALWAYS = {"README.md", "MANIFEST.sha256"}
TOGETHER = "SCPCS999992-SCPCS999993_SINGLE-CELL_SINGLE-CELL-EXPERIMENT_MULTIPLEXED.zip"
LOCKED = ("SCPCP999993", "SCPCS999999")
CHECKED_BY_H5PY = """
import sys, h5py
for name in sys.argv[1:]:
    with h5py.File(name) as file:
        cells, features = file["X"].attrs["shape"]
        assert file.attrs["encoding-type"] == "anndata"
        assert len(file["obs"]["_index"]) == cells and len(file["var"]["_index"]) == features
        assert file["X"]["indptr"][-1] == len(file["X"]["data"]) == len(file["X"]["indices"])
        print(name.rpartition("/")[2], cells)
"""


@pytest.fixture(scope="session")
def python() -> Path:
    return environment()


@pytest.fixture(scope="session")
def original(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's bucket as a folder, made once for all of pytest's processes."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with (root / "portal-bucket.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_bucket(python, root / "portal-bucket")
    return root / "portal-bucket"


@dataclass
class Portal:
    """The example on S3, and the commands of its operators."""

    program: Program
    site_file: Path
    originals: Bucket
    packages: Bucket
    computed: dict[str, Any] = field(default_factory=dict)
    """What was current after `publish`, by its name."""

    def publish(self) -> Any:
        """All that an operator does after the files changed; what `generate-computed-files` says."""
        self.program("sync-original-files", "--json")
        self.program("load-metadata", "--reload-existing", "--json")
        made = self.program("generate-computed-files", "--max-workers", "4", "--json").json
        self.computed = {one["name"]: one for one in self.program("computed-files", "--json").json}
        return made

    def opened(self, name: str) -> zipfile.ZipFile:
        """A package, straight from the store."""
        return zipfile.ZipFile(io.BytesIO(self.packages.read(self.computed[name]["key"])))


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Server:
    """A real one where it is installed."""
    found: Server = request.getfixturevalue(getattr(request, "param", "moto" if lacking() else "ceph"))
    return found


@pytest.fixture
def portal(
    service: Server, original: Path, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Portal:
    originals, packages = (fresh_bucket(service, monkeypatch) for _ in range(2))
    upload(original, originals)
    site_file = on_s3(copy_example(tmp_path), originals, packages)
    program = Program(tmp_path / "site", database_url)
    program("apply", site_file, "--yes")
    return Portal(program, site_file, originals, packages)


@contextmanager
def up(program: Program) -> Iterator[httpx.Client]:
    """The site, up; a client that knows its address and has no key."""
    with program.start("up", "--port", "0") as site:
        address = site.until(r"http://127\.0\.0\.1:\d+")[0]
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client
        site.signal(signal.SIGTERM)
        site.end()


def test_the_bucket_becomes_the_packages_of_the_reference_and_a_visitor_takes_them_away(portal: Portal) -> None:
    first = portal.publish()
    assert set(portal.computed) == set(PACKAGES), first
    for name, members in PACKAGES.items():
        with portal.opened(name) as package:
            assert set(package.namelist()) == members | ALWAYS, name
            _is_as_its_manifest_says(package)
            _is_stored(package)
    _readmes_say_what_is_in_them(portal)
    _tables_have_their_rows(portal)
    _bytes_are_those_of_the_bucket(portal)
    _nothing_is_built_twice(portal)
    with up(portal.program) as client:
        _catalogue_is_as_the_reference_has_it(client)
        key = client.post("/v1/tokens", json={"email": "a@example.org", "is_activated": True}).json()["id"]
        _multiplexed_is_listed_under_both(client)
        _download_is_what_the_site_says(client, key)
        _dataset_is_built_and_downloaded(client, key)


def _is_as_its_manifest_says(package: zipfile.ZipFile) -> None:
    lines = package.read("MANIFEST.sha256").decode().splitlines()
    said = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    assert said == {
        one: hashlib.sha256(package.read(one)).hexdigest() for one in package.namelist() if one != "MANIFEST.sha256"
    }


def _is_stored(package: zipfile.ZipFile) -> None:
    assert {one.compress_type for one in package.infolist()} == {zipfile.ZIP_STORED}


def _readmes_say_what_is_in_them(portal: Portal) -> None:
    with portal.opened("SCPCP999990_SINGLE-CELL_ANN-DATA.zip") as package:
        text = package.read("README.md").decode()
    assert text.startswith("# Single cells, for Python: SCPCP999990\n")
    assert "**Low-grade gliomas of childhood, cell by cell, in their tissue and in bulk**" in text
    assert "Contact: Björn Åkesson <bjorn.akesson@example.org>" in text
    assert "| SCPCS999997 | Pilocytic astrocytoma | Initial diagnosis | Cerebellum | SCPCL999997 |" in text
    assert "Please cite Lindqvist A, Åkesson B. Low-grade gliomas, cell by cell. 2025." in text
    assert "anndata.read_h5ad" in text
    assert "readRDS" not in text
    with portal.opened("SCPCP999991_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip") as package:
        text = package.read("README.md").decode()
    assert "**Further restrictions of this project: Research on cancers of childhood only.**" in text
    assert "SCPCS999992" not in text
    assert "readRDS" in text


def _rows(portal: Portal, package: str, name: str) -> list[dict[str, str]]:
    with portal.opened(package) as opened:
        return list(csv.DictReader(io.StringIO(opened.read(name).decode()), delimiter="\t"))


def _tables_have_their_rows(portal: Portal) -> None:
    def pairs(package: str, name: str = "single_cell_metadata.tsv") -> list[tuple[str, str]]:
        return [(row["sample"], row["library_id"]) for row in _rows(portal, package, name)]

    glioma = "SCPCP999990_SINGLE-CELL_ANN-DATA.zip"
    assert pairs(glioma) == [("SCPCS999990", "SCPCL999990"), ("SCPCS999997", "SCPCL999997")]
    other, row = _rows(portal, glioma, "single_cell_metadata.tsv")
    assert (row["project"], row["diagnosis"], row["seq_unit"]) == (
        "SCPCP999990",
        "Pilocytic astrocytoma",
        "nucleus",
    )
    assert (other["treatment"], row["treatment"]) == ("NA", "carboplatin; vincristine")
    assert pairs("SCPCS999991_SPATIAL_SPATIAL-SPACERANGER.zip", *SPOTS) == [("SCPCS999991", "SCPCL999991")]
    both = [("SCPCS999992", "SCPCL999992"), ("SCPCS999993", "SCPCL999992")]
    assert pairs(TOGETHER) == both
    everything = "SCPCP999991_SINGLE-CELL_SINGLE-CELL-EXPERIMENT_MULTIPLEXED.zip"
    assert pairs(everything) == [*both, ("SCPCS999995", "SCPCL999995")]
    assert pairs("SCPCP999991_SINGLE-CELL_ANN-DATA.zip", *CELLS) == [("SCPCS999995", "SCPCL999995")]
    bulk = pairs("SCPCP999990_ALL_METADATA.zip", "bulk_metadata.tsv")
    assert bulk == [("SCPCS999990", "SCPCL999980"), ("SCPCS999994", "SCPCL999981")]
    samples = _rows(portal, "SCPCP999990_ALL_METADATA.zip", "metadata.tsv")
    assert [row["sample"] for row in samples] == ["SCPCS999990", "SCPCS999991", "SCPCS999994", "SCPCS999997"]


def _bytes_are_those_of_the_bucket(portal: Portal) -> None:
    with portal.opened(TOGETHER) as package:
        inside = package.read("SCPCS999992_SCPCS999993/SCPCL999992_processed.rds")
    assert inside == portal.originals.read("SCPCP999991/SCPCS999992,SCPCS999993/SCPCL999992_processed.rds")
    with portal.opened("SCPCP999990_SPATIAL_SPATIAL-SPACERANGER.zip") as package:
        inside = package.read("SCPCS999991/SCPCL999991_spatial/spatial/tissue_hires_image.png")
    key = "SCPCP999990/SCPCS999991/SCPCL999991_spatial/spatial/tissue_hires_image.png"
    assert inside == portal.originals.read(key)


def _nothing_is_built_twice(portal: Portal) -> None:
    before, keys = portal.computed, portal.packages.keys()
    portal.publish()
    assert portal.computed == before
    assert portal.packages.keys() == keys


def _catalogue_is_as_the_reference_has_it(client: httpx.Client) -> None:
    projects = client.get("/v1/projects/", params={"limit": 2000}).json()
    assert {one["scpca_id"]: len(one["samples"]) for one in projects["results"]} == PROJECTS
    samples = client.get("/v1/samples", params={"limit": 2000}).json()
    assert samples["count"] == sum(PROJECTS.values())
    seen = repr((projects, samples, client.get("/v1/computed-files?limit=2000").json()))
    assert not any(name in seen for name in LOCKED)
    for name in LOCKED:
        assert client.get(f"/v1/{'projects' if 'SCPCP' in name else 'samples'}/{name}").status_code == 404
    glioma = client.get("/v1/projects/SCPCP999990").json()
    assert glioma["pi_name"] == "Lindqvist"
    assert glioma["diagnoses"] == ["Ganglioglioma", "Pilocytic astrocytoma"]
    assert [one["email"] for one in glioma["contacts"]] == ["ada.lindqvist@example.org", "bjorn.akesson@example.org"]
    assert [one["has_raw"] for one in glioma["external_accessions"]] == [True, False]
    assert glioma["has_bulk_rna_seq"] is True
    asked = client.get("/v1/samples", params={"diagnosis": "Wilms tumor", "project__scpca_id": "SCPCP999991"}).json()
    assert [one["scpca_id"] for one in asked["results"]] == ["SCPCS999992", "SCPCS999993"]


def _multiplexed_is_listed_under_both(client: httpx.Client) -> None:
    for name in ("SCPCS999992", "SCPCS999993"):
        files = client.get(f"/v1/samples/{name}").json()["computed_files"]
        assert [file["s3_key"].rpartition("/")[2] for file in files] == [TOGETHER]
        assert files[0]["has_multiplexed_data"] is True
        assert "download_url" not in files[0]


def _download_is_what_the_site_says(client: httpx.Client, key: str) -> None:
    (found,) = client.get("/v1/samples/SCPCS999991").json()["computed_files"]
    assert (found["modality"], found["format"]) == ("SPATIAL", "SPATIAL_SPACERANGER")
    assert "download_url" not in client.get(f"/v1/computed-files/{found['id']}").json()
    file = client.get(f"/v1/computed-files/{found['id']}", headers={"API-KEY": key}).json()
    assert re.fullmatch(r"SCPCS999991_SPATIAL_SPATIAL-SPACERANGER_\d{4}-\d\d-\d\d\.zip", file["download_filename"])
    answer = httpx.get(file["download_url"], timeout=60)
    assert answer.status_code == 200
    assert file["download_filename"] in answer.headers["content-disposition"]
    assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
    assert len(answer.content) == file["size_in_bytes"]


def _dataset_is_built_and_downloaded(client: httpx.Client, key: str) -> None:
    data = {
        "SCPCP999990": {"SINGLE_CELL": ["SCPCS999990"], "includes_bulk": True},
        "SCPCP999992": {"SINGLE_CELL": "MERGED"},
    }
    asked = {"format": "ANN_DATA", "email": "a@example.org", "start": True, "data": data}
    dataset = client.post("/v1/datasets", json=asked, headers={"API-KEY": key}).json()
    ends = time.monotonic() + 60
    while not dataset.get("download_url"):
        assert time.monotonic() < ends, dataset
        time.sleep(0.1)
        dataset = client.get(f"/v1/datasets/{dataset['id']}", headers={"API-KEY": key}).json()
    with zipfile.ZipFile(io.BytesIO(httpx.get(dataset["download_url"], timeout=60).content)) as package:
        names = package.namelist()
        _is_as_its_manifest_says(package)
    held = " ".join(names)
    for wanted in ("SCPCL999990_processed_rna.h5ad", "SCPCP999990_bulk_quant.tsv", "SCPCP999992_merged_rna.h5ad"):
        assert wanted in held
    for unwanted in ("SCPCL999997", ".rds", "SCPCL999996_processed_rna.h5ad"):
        assert unwanted not in held


@pytest.mark.parametrize("service", ["moto"], indirect=True)
def test_a_changed_file_builds_its_packages_anew_and_no_others(portal: Portal) -> None:
    portal.publish()
    before = portal.computed
    key = "SCPCP999991/SCPCS999995/SCPCL999995_processed.rds"
    portal.originals.put(key, portal.originals.read(key) + b"more")
    portal.publish()
    after = portal.computed
    assert {name for name in after if after[name]["key"] != before[name]["key"]} == {
        "SCPCP999991_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip",
        "SCPCP999991_SINGLE-CELL_SINGLE-CELL-EXPERIMENT_MULTIPLEXED.zip",
        "SCPCS999995_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip",
    }
    with portal.opened("SCPCS999995_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip") as package:
        assert package.read("SCPCS999995/SCPCL999995_processed.rds").endswith(b"more")


@pytest.mark.parametrize("service", ["moto"], indirect=True)
def test_a_project_comes_when_its_lock_goes(portal: Portal) -> None:
    portal.publish()
    assert not any("SCPCP999993" in name for name in portal.computed)
    portal.originals.remove("SCPCP999993.lock")
    portal.publish()
    new = set(portal.computed) - set(PACKAGES)
    assert new == {
        "SCPCP999993_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip",
        "SCPCP999993_SINGLE-CELL_ANN-DATA.zip",
        "SCPCP999993_ALL_METADATA.zip",
        "SCPCS999999_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip",
        "SCPCS999999_SINGLE-CELL_ANN-DATA.zip",
    }


def test_the_demo_shows_the_way_and_ends_well(python: Path, tmp_path: Path, database_url: str) -> None:
    example = copy_example(tmp_path)
    (example / ".venv").symlink_to(python.parents[1])
    program = Program(tmp_path / "site", database_url)
    words = ("demo", "portal", "--examples", example)
    with program.start(*words, "--stay") as demo:
        for sight in ("PostgreSQL", "load-metadata", "28 made", "as everybody sees it", "Ctrl-C ends the demo"):
            demo.until(sight)
        assert "Not as it should be" not in demo.said
        assert demo.said.count("as its manifest says") == 2
        address = demo.until(r"Look at it:\s+(http://\S+/portal)")[1]
        assert httpx.get(address, timeout=60).status_code == 200
        demo.signal(signal.SIGINT)
        assert demo.end() == 0
    assert len(list((tmp_path / "site" / "downloads").glob("*.zip"))) >= 2


def test_the_bucket_is_real_and_the_same_every_time(python: Path, original: Path) -> None:
    assert "; 0 of them new or changed" in make_bucket(python, original)
    assert sum(file.is_file() for file in original.rglob("*")) == 94
    command = [str(python), "-c", CHECKED_BY_H5PY, *map(str, sorted(original.rglob("*.h5ad")))]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cells = dict(line.split() for line in said.splitlines())
    assert len(cells) == 27
    assert int(cells["SCPCL999990_unfiltered_rna.h5ad"]) == 360
    for file in original.rglob("*.rds"):
        assert gzip.decompress(file.read_bytes()).startswith(b"X\n\0\0\0\x02")


def test_more_projects_can_be_made(python: Path, tmp_path: Path) -> None:
    make_bucket(python, tmp_path / "more", "--more", "2", "--cells", "20")
    with (tmp_path / "more" / "project_metadata.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 7
