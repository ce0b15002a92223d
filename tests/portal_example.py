"""What the portal's example must come to, written down from the reference by hand: its packages and what is in each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.ceph import Bucket

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "portal"
PROJECTS = {"SCPCP999990": 4, "SCPCP999991": 3, "SCPCP999992": 2, "SCPCP999994": 0}
"""How many samples each has; SCPCP999993 is locked."""

STAGES = ("unfiltered", "filtered", "processed")
BULK = {"SCPCP999990_bulk_metadata.tsv", "SCPCP999990_bulk_quant.tsv"}
CELLS, SPOTS = {"single_cell_metadata.tsv"}, {"spatial_metadata.tsv"}


def rds(folder: str, library: str) -> set[str]:
    return {f"{folder}/{library}_{stage}.rds" for stage in STAGES} | reports(folder, library)


def h5ad(folder: str, library: str, *assays: str) -> set[str]:
    names = {f"{folder}/{library}_{stage}_{assay}.h5ad" for stage in STAGES for assay in assays or ("rna",)}
    return names | reports(folder, library)


def reports(folder: str, library: str) -> set[str]:
    return {f"{folder}/{library}_qc.html", f"{folder}/{library}_celltype-report.html"}


def merged(project: str, *endings: str) -> set[str]:
    return {f"{project}_merged{ending}" for ending in (*endings, "-summary-report.html")}


SLICE = {
    f"SCPCS999991/SCPCL999991_spatial/{name}"
    for name in (
        "SCPCL999991_metadata.json",
        "SCPCL999991_spaceranger-summary.html",
        "filtered_feature_bc_matrix/barcodes.tsv.gz",
        "filtered_feature_bc_matrix/features.tsv.gz",
        "filtered_feature_bc_matrix/matrix.mtx.gz",
        "raw_feature_bc_matrix/barcodes.tsv.gz",
        "raw_feature_bc_matrix/features.tsv.gz",
        "raw_feature_bc_matrix/matrix.mtx.gz",
        "spatial/detected_tissue_image.png",
        "spatial/scalefactors_json.json",
        "spatial/tissue_hires_image.png",
        "spatial/tissue_lowres_image.png",
        "spatial/tissue_positions_list.csv",
    )
}
GLIOMA_RDS = rds("SCPCS999990", "SCPCL999990") | rds("SCPCS999997", "SCPCL999997")
GLIOMA_H5AD = h5ad("SCPCS999990", "SCPCL999990") | h5ad("SCPCS999997", "SCPCL999997")
GLIOMA_REPORTS = reports("SCPCS999990", "SCPCL999990") | reports("SCPCS999997", "SCPCL999997")
KIDNEY_RDS = rds("SCPCS999995", "SCPCL999995")
TOGETHER = rds("SCPCS999992_SCPCS999993", "SCPCL999992")
MARROW_REPORTS = reports("SCPCS999996", "SCPCL999996") | reports("SCPCS999998", "SCPCL999998")
MARROW_H5AD = h5ad("SCPCS999996", "SCPCL999996", "rna", "adt") | h5ad("SCPCS999998", "SCPCL999998", "rna", "adt")

PACKAGES = {
    "PORTAL_ALL_METADATA.zip": {"metadata.tsv", "bulk_metadata.tsv"} | CELLS | SPOTS,
    "SCPCP999990_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip": CELLS | BULK | GLIOMA_RDS,
    "SCPCP999990_SINGLE-CELL_ANN-DATA.zip": CELLS | BULK | GLIOMA_H5AD,
    "SCPCP999990_SINGLE-CELL_SINGLE-CELL-EXPERIMENT_MERGED.zip": CELLS
    | BULK
    | merged("SCPCP999990", ".rds")
    | GLIOMA_REPORTS,
    "SCPCP999990_SINGLE-CELL_ANN-DATA_MERGED.zip": CELLS | BULK | merged("SCPCP999990", "_rna.h5ad") | GLIOMA_REPORTS,
    "SCPCP999990_SPATIAL_SPATIAL-SPACERANGER.zip": SPOTS | SLICE,
    "SCPCP999990_ALL_METADATA.zip": {"metadata.tsv", "bulk_metadata.tsv"} | CELLS | SPOTS,
    "SCPCS999990_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip": CELLS | rds("SCPCS999990", "SCPCL999990"),
    "SCPCS999990_SINGLE-CELL_ANN-DATA.zip": CELLS | h5ad("SCPCS999990", "SCPCL999990"),
    "SCPCS999991_SPATIAL_SPATIAL-SPACERANGER.zip": SPOTS | SLICE,
    "SCPCS999997_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip": CELLS | rds("SCPCS999997", "SCPCL999997"),
    "SCPCS999997_SINGLE-CELL_ANN-DATA.zip": CELLS | h5ad("SCPCS999997", "SCPCL999997"),
    "SCPCP999991_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip": CELLS | KIDNEY_RDS,
    "SCPCP999991_SINGLE-CELL_SINGLE-CELL-EXPERIMENT_MULTIPLEXED.zip": CELLS | KIDNEY_RDS | TOGETHER,
    "SCPCP999991_SINGLE-CELL_ANN-DATA.zip": CELLS | h5ad("SCPCS999995", "SCPCL999995"),
    "SCPCP999991_ALL_METADATA.zip": {"metadata.tsv"} | CELLS,
    "SCPCS999992-SCPCS999993_SINGLE-CELL_SINGLE-CELL-EXPERIMENT_MULTIPLEXED.zip": CELLS | TOGETHER,
    "SCPCS999995_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip": CELLS | KIDNEY_RDS,
    "SCPCS999995_SINGLE-CELL_ANN-DATA.zip": CELLS | h5ad("SCPCS999995", "SCPCL999995"),
    "SCPCP999992_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip": CELLS
    | rds("SCPCS999996", "SCPCL999996")
    | rds("SCPCS999998", "SCPCL999998"),
    "SCPCP999992_SINGLE-CELL_ANN-DATA.zip": CELLS | MARROW_H5AD,
    "SCPCP999992_SINGLE-CELL_SINGLE-CELL-EXPERIMENT_MERGED.zip": CELLS | merged("SCPCP999992", ".rds") | MARROW_REPORTS,
    "SCPCP999992_SINGLE-CELL_ANN-DATA_MERGED.zip": CELLS
    | merged("SCPCP999992", "_rna.h5ad", "_adt.h5ad")
    | MARROW_REPORTS,
    "SCPCP999992_ALL_METADATA.zip": {"metadata.tsv"} | CELLS,
    "SCPCS999996_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip": CELLS | rds("SCPCS999996", "SCPCL999996"),
    "SCPCS999996_SINGLE-CELL_ANN-DATA.zip": CELLS | h5ad("SCPCS999996", "SCPCL999996", "rna", "adt"),
    "SCPCS999998_SINGLE-CELL_SINGLE-CELL-EXPERIMENT.zip": CELLS | rds("SCPCS999998", "SCPCL999998"),
    "SCPCS999998_SINGLE-CELL_ANN-DATA.zip": CELLS | h5ad("SCPCS999998", "SCPCL999998", "rna", "adt"),
}
"""Name of each package: what is in it beside README.md and MANIFEST.sha256."""


def environment() -> Path:
    """The example's own environment, which is made if need be; its interpreter."""
    command = [sys.executable, str(EXAMPLE / "setup_env.py")]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=900)
    return Path(made.stdout.strip())


def make_bucket(python: Path, folder: Path, *words: str) -> str:
    """Let the example's maker fill a folder; what it says."""
    command = [str(python), str(EXAMPLE / "make_bucket.py"), str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def copy_example(folder: Path) -> Path:
    """The example in a folder of its own, without its environment and data."""
    made = folder / "portal"
    shutil.copytree(EXAMPLE, made, ignore=shutil.ignore_patterns(".venv*", "data", "__pycache__"))
    return made


def on_s3(example: Path, originals: Bucket, packages: Bucket) -> Path:
    """Let the example's site file name buckets, as its README says; the file."""
    file = example / "site.toml"
    text = file.read_text(encoding="utf-8")
    source = f'url = "{originals.url}"\n' + _reached(originals)
    store = f'[publishing]\nstore = "{packages.url}"\nupload = true\n' + _reached(packages)
    file.write_text(text.replace('url = "data/bucket"\n', source).replace("[publishing]\n", store), encoding="utf-8")
    return file


def _reached(bucket: Bucket) -> str:
    return "".join(f'{key} = "{value}"\n' for key, value in bucket.options.items())


def upload(folder: Path, bucket: Bucket) -> None:
    """Copy a folder into a bucket."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            bucket.put(file.relative_to(folder).as_posix(), file.read_bytes())
