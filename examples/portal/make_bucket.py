"""Make a bucket as a lab fills it: single-cell, spatial, CITE-seq, bulk, merged, multiplexed data and their metadata.

    python make_bucket.py FOLDER [--more 20] [--cells 120]

What is made is drawn by chance, the same every time: a file that is there already and would be the same is not
touched. `README.md` beside this file tells the formats.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import reports
import spatial
from anndata_file import h5ad
from cells import (
    GENES,
    SYMBOLS,
    Counts,
    antibodies,
    called,
    chance,
    components,
    droplets,
    filtered,
    good,
    mitochondrial,
    normalised,
)
from collection import WORKFLOW, Library, Project, projects
from r_objects import Frame, Sparse, rds

Files = Iterator[tuple[str, bytes]]
STAGES = ("unfiltered", "filtered", "processed")


def bucket(made: Sequence[Project], cells: int) -> Files:
    """All files, by their keys."""
    yield "project_metadata.csv", table([project.row() for project in made], ",")
    for project in made:
        if project.locked:
            yield f"{project.id}.lock", b""
        if project.samples:
            rows = [sample.row(project.id) for sample in project.samples]
            yield f"{project.id}/samples_metadata.csv", table(rows, ",")
        for key, body in project_files(project, cells):
            yield f"{project.id}/{key}", body


def project_files(project: Project, cells: int) -> Files:
    """The files of a project, by their keys below its folder."""
    merged: list[tuple[Library, Counts]] = []
    for library in project.libraries:
        folder = ",".join(library.samples)
        files = spatial_files(library) if library.seq_unit == "spot" else cell_files(library, cells, merged)
        for name, body in files:
            yield f"{folder}/{name}", body
    if project.bulk:
        yield from bulk_files(project)
    if project.merged:
        yield from merged_files(project, merged)


def cell_files(library: Library, cells: int, merged: list[tuple[Library, Counts]]) -> Files:
    """What there is of a single-cell library. Its processed cells are added to `merged`."""
    seen = droplets(library.id, cells)
    kept = seen.only(filtered(seen))
    best = kept.only(good(kept))
    merged.append((library, best))
    for stage, some in zip(STAGES, (seen, kept, best), strict=True):
        yield f"{library.id}_{stage}.rds", r_object(library.id, some, stage)
        if len(library.samples) == 1:
            yield f"{library.id}_{stage}_rna.h5ad", rna(library.id, some, stage)
            if library.citeseq:
                yield f"{library.id}_{stage}_adt.h5ad", adt(library.id, antibodies(library.id, seen), some)
    numbers = {"unfiltered_cells": len(seen.barcodes), "filtered_cells": len(kept.barcodes)}
    numbers["processed_cells"] = len(best.barcodes)
    about = {"Library": library.id, "Samples": ", ".join(library.samples), "Technology": library.technology}
    totals = seen.counts.sum(axis=1)
    yield f"{library.id}_qc.html", reports.report(f"Quality of {library.id}", about | numbers, totals)
    yield f"{library.id}_celltype-report.html", reports.celltypes(library.id, called(best))
    said = described(library) | numbers | {"total_reads": int(totals.sum()) * 40}
    if len(library.samples) > 1:
        half = len(best.barcodes) // 2
        said["sample_cell_estimates"] = dict(zip(library.samples, (half, len(best.barcodes) - half), strict=True))
    yield f"{library.id}_metadata.json", as_json(said)


def spatial_files(library: Library) -> Files:
    counts, inside, barcodes = spatial.slice_of_tissue(library.id)
    spots = {"Spots under tissue": int(inside.sum()), "Spots": len(barcodes)}
    folder = f"{library.id}_spatial"
    said = {"Median genes in a spot": int(np.median((counts[inside] > 0).sum(axis=1)))}
    summary = reports.report(f"Space Ranger: {library.id}", spots | said, counts.sum(axis=1))
    for name, body in spatial.spaceranger(library.id, summary):
        yield f"{folder}/{name}", body
    numbers = {"spots": len(barcodes), "spots_under_tissue": int(inside.sum()), "total_reads": int(counts.sum()) * 40}
    yield f"{folder}/{library.id}_metadata.json", as_json(described(library) | numbers)


def described(library: Library) -> dict[str, Any]:
    """What the metadata file of every library says."""
    return {
        "library_id": library.id,
        "sample_id": ",".join(library.samples),
        "technology": library.technology,
        "seq_unit": library.seq_unit,
        "is_multiplexed": len(library.samples) > 1,
        "has_citeseq": library.citeseq,
        "has_cellhash": len(library.samples) > 1,
        **WORKFLOW,
        "date_processed": "2025-11-03T09:30:00Z",
        "mapping_index": "Homo_sapiens.GRCh38.104.spliced_intron.txome",
    }


def bulk_files(project: Project) -> Files:
    rows = [
        {"project_id": project.id, "sample_id": library.samples[0], "library_id": library.id}
        | {"technology": library.technology, "seq_unit": library.seq_unit, **WORKFLOW}
        for library in project.bulk
    ]
    yield f"bulk/{project.id}_bulk_metadata.tsv", table(rows, "\t")
    columns = {library.id: chance(library.id).negative_binomial(2, 0.002, len(GENES)) for library in project.bulk}
    quant = [
        {"gene_id": gene} | {name: str(values[number]) for name, values in columns.items()}
        for number, gene in enumerate(GENES)
    ]
    yield f"bulk/{project.id}_bulk_quant.tsv", table(quant, "\t")


def merged_files(project: Project, parts: Sequence[tuple[Library, Counts]]) -> Files:
    """The processed cells of all single-cell libraries of a project as one object."""
    names = [f"{library.id}-{barcode}" for library, some in parts for barcode in some.barcodes]
    whole = Counts(
        names,
        GENES,
        SYMBOLS,
        np.concatenate([some.counts for _, some in parts]),
        np.concatenate([some.kinds for _, some in parts]),
    )
    start = f"merged/{project.id}_merged"
    yield f"{start}.rds", r_object(project.id, whole, "merged")
    yield f"{start}_rna.h5ad", rna(project.id, whole, "merged")
    if all(library.citeseq for library, _ in parts):
        yield f"{start}_adt.h5ad", adt(project.id, antibodies(project.id, whole), whole)
    figures = {library.id: len(some.barcodes) for library, some in parts} | {"all cells": len(names)}
    yield f"{start}-summary-report.html", reports.report(f"Merged cells of {project.id}", figures)


def columns(some: Counts, stage: str) -> dict[str, Any]:
    """What is said of each droplet."""
    said: dict[str, Any] = {
        "sum": some.counts.sum(axis=1).astype(np.int32),
        "detected": (some.counts > 0).sum(axis=1).astype(np.int32),
        "subsets_mito_percent": np.round(mitochondrial(some), 3),
    }
    return said | ({"cluster_celltype": called(some)} if stage in ("processed", "merged") else {})


def rna(name: str, some: Counts, stage: str) -> bytes:
    """The counts of genes as AnnData; processed ones normalised, with the counts as a layer."""
    done = stage in ("processed", "merged")
    values = normalised(some.counts) if done else some.counts
    return h5ad(
        values,
        (some.barcodes, columns(some, stage)),
        (some.features, {"gene_symbol": some.symbols}),
        raw=some.counts if done else None,
        embeddings={"X_PCA": components(values)} if done else None,
        about={"library_id" if stage != "merged" else "project_id": name, "stage": stage, **WORKFLOW},
    )


def adt(name: str, tags: Counts, some: Counts) -> bytes:
    """The counts of antibodies in the same droplets as `some`."""
    rows = {barcode: number for number, barcode in enumerate(tags.barcodes)}
    counts = tags.counts[[rows[barcode] for barcode in some.barcodes]]
    sums = {"sum": counts.sum(axis=1).astype(np.int32)}
    kinds = {"target_type": ["neg_control" if feature == "IgG1" else "target" for feature in tags.features]}
    return h5ad(counts, (some.barcodes, sums), (tags.features, kinds), about={"name": name, "feature": "adt"})


def r_object(name: str, some: Counts, stage: str) -> bytes:
    """The same for R: a list of a sparse matrix and two data frames (a whole SingleCellExperiment is beyond this)."""
    about = {"id": name, "stage": stage, **WORKFLOW}
    genes = Frame({"gene_ids": some.features, "gene_symbol": some.symbols}, some.features)
    return rds(
        {
            "counts": Sparse(some.counts.T, some.features, some.barcodes),
            "colData": Frame(columns(some, stage), some.barcodes),
            "rowData": genes,
            "metadata": about,
        }
    )


def table(rows: Sequence[dict[str, Any]], separator: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_json(said: dict[str, Any]) -> bytes:
    return (json.dumps(said, indent=2) + "\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a bucket of a research data portal in a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--more", type=int, default=0, help="projects beside the five of the example")
    parser.add_argument("--cells", type=int, default=120, help="cells in a single-cell library")
    given = parser.parse_args()
    written, size, count = 0, 0, 0
    for key, body in bucket(list(projects(given.more)), given.cells):
        file = given.folder / key
        count, size = count + 1, size + len(body)
        if not file.exists() or file.read_bytes() != body:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
            written += 1
    sys.stdout.write(f"{count} files, {size / 1e6:.1f} MB in {given.folder}; {written} of them new or changed\n")


if __name__ == "__main__":
    main()
