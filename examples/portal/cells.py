"""Droplets of single-cell sequencing, drawn by chance: counts of genes, which droplets hold cells, what kinds they are.

No step of the site knows this file; the maker of the bucket draws from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

MARKERS = {
    "T cell": {"CD3D": "ENSG00000167286", "CD8A": "ENSG00000153563", "CD4": "ENSG00000010610"},
    "B cell": {"MS4A1": "ENSG00000156738", "CD19": "ENSG00000177455", "CD79A": "ENSG00000105369"},
    "myeloid cell": {"LYZ": "ENSG00000090382", "CD14": "ENSG00000170458", "CD68": "ENSG00000129226"},
    "tumor cell": {"MYCN": "ENSG00000134323", "MKI67": "ENSG00000148773", "SOX10": "ENSG00000100146"},
}
"""Genes that a kind of cell expresses more than others, with their Ensembl ids."""

KINDS = list(MARKERS)
MITOCHONDRIAL = {"MT-CO1": "ENSG00000198804", "MT-ND4": "ENSG00000198886", "MT-CYB": "ENSG00000198727"}
OTHERS = 280
"""Genes beside these, under made-up names."""

SYMBOLS = [
    *(symbol for genes in MARKERS.values() for symbol in genes),
    *MITOCHONDRIAL,
    *(f"GENE{number:03d}" for number in range(OTHERS)),
]
GENES = [
    *(gene for genes in MARKERS.values() for gene in genes.values()),
    *MITOCHONDRIAL.values(),
    *(f"ENSG0099{number:07d}" for number in range(OTHERS)),
]
ANTIBODIES = {"CD3": "T cell", "CD19": "B cell", "CD14": "myeloid cell", "CD56": "tumor cell", "IgG1": ""}
"""Of which kind of cell each sticks to the surface; the last to none."""


@dataclass(frozen=True)
class Counts:
    """Counts of genes (or antibodies) in droplets, one row each. `kinds`: -1 where a droplet is empty."""

    barcodes: list[str]
    features: list[str]
    symbols: list[str]
    counts: np.ndarray
    kinds: np.ndarray

    def only(self, which: np.ndarray) -> Counts:
        """These droplets alone."""
        kept = [barcode for barcode, keep in zip(self.barcodes, which, strict=True) if keep]
        return Counts(kept, self.features, self.symbols, self.counts[which], self.kinds[which])


def chance(name: str) -> np.random.Generator:
    """Chance that is the same for the same name, every time."""
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def droplets(library: str, cells: int, share: np.ndarray | None = None) -> Counts:
    """All droplets of a library: `cells` with a cell in them, and twice as many with what floats about."""
    draw = chance(library)
    base = draw.gamma(0.4, 1.0, len(GENES)) + 0.02
    profiles = np.stack([base.copy() for _ in KINDS])
    for number, kind in enumerate(KINDS):
        for symbol in MARKERS[kind]:
            profiles[number, SYMBOLS.index(symbol)] += 12.0
    profiles /= profiles.sum(axis=1, keepdims=True)
    kinds = np.concatenate([draw.choice(len(KINDS), cells, p=share), np.full(2 * cells, -1)])
    ambient = profiles.mean(axis=0)
    depth = np.concatenate([draw.lognormal(6.6, 0.35, cells), draw.lognormal(3.0, 0.5, 2 * cells)])
    expected = np.where((kinds >= 0)[:, None], profiles[kinds], ambient) * depth[:, None]
    order = draw.permutation(len(kinds))
    return Counts(_barcodes(draw, len(kinds)), GENES, SYMBOLS, draw.poisson(expected[order]), kinds[order])


def antibodies(library: str, seen: Counts) -> Counts:
    """What antibodies with a tag were counted in the same droplets (CITE-seq)."""
    draw = chance(f"{library} antibodies")
    sticks = np.array([[30.0 if of == kind else 1.5 for of in ANTIBODIES.values()] for kind in [*KINDS, "nothing"]])
    counts = draw.poisson(sticks[seen.kinds])
    return Counts(seen.barcodes, list(ANTIBODIES), list(ANTIBODIES), counts, seen.kinds)


def filtered(seen: Counts) -> np.ndarray:
    """Which droplets hold a cell, as one tells by their counts: those beyond the knee."""
    return np.asarray(seen.counts.sum(axis=1) >= 150)


def mitochondrial(seen: Counts) -> np.ndarray:
    """Percent of each droplet's counts that are of mitochondrial genes."""
    ours = [number for number, symbol in enumerate(seen.symbols) if symbol in MITOCHONDRIAL]
    return 100.0 * seen.counts[:, ours].sum(axis=1) / np.maximum(1, seen.counts.sum(axis=1))


def good(seen: Counts) -> np.ndarray:
    """Which cells pass the quality control: enough counts, few of them mitochondrial."""
    return np.asarray((seen.counts.sum(axis=1) >= 300) & (mitochondrial(seen) < 20.0))


def normalised(counts: np.ndarray) -> np.ndarray:
    """Logarithms of the counts per 1,000."""
    return np.asarray(np.log1p(1000.0 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))), dtype=np.float32)


def components(values: np.ndarray, wanted: int = 10) -> np.ndarray:
    """The first principal components of normalised counts, signs fixed so that they are the same everywhere."""
    left, scale, right = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    return np.asarray(np.round((left * scale * signs)[:, :wanted], 3), dtype=np.float32)


def called(seen: Counts) -> list[str]:
    """The kind of each cell, as its markers tell it."""
    values = normalised(seen.counts)
    scores = [values[:, [seen.symbols.index(symbol) for symbol in MARKERS[kind]]].mean(axis=1) for kind in KINDS]
    return [KINDS[number] for number in np.argmax(scores, axis=0)]


def _barcodes(draw: np.random.Generator, number: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < number:
        found["".join(draw.choice(list("ACGT"), 16))] = None
    return list(found)
