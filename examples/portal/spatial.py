"""What Space Ranger puts out for one slice of tissue: matrices of counts, positions of the spots, pictures."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from cells import GENES, SYMBOLS, chance

ROWS, COLUMNS = 26, 20
"""Spots of the slide; every other row is shifted by half a spot."""
HIGH, LOW = 400, 120
"""Pixels of the pictures, along an edge."""


def slice_of_tissue(library: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Counts in every spot, whether it lies under tissue, and the spots' barcodes."""
    draw = chance(library)
    x, y = _positions()
    inside = (x - 0.5) ** 2 / 0.16 + (y - 0.52) ** 2 / 0.12 < 1
    genes = draw.gamma(0.4, 1.0, len(GENES)) + 0.02
    tumour = np.exp(-((x - 0.38) ** 2 + (y - 0.45) ** 2) / 0.02)
    marked = np.isin(SYMBOLS, ("MYCN", "MKI67", "SOX10"))
    expected = genes[None, :] + 15.0 * tumour[:, None] * marked[None, :]
    depth = np.where(inside, draw.lognormal(6.8, 0.25, len(x)), draw.lognormal(2.5, 0.5, len(x)))
    counts = draw.poisson(expected / expected.sum(axis=1, keepdims=True) * depth[:, None])
    return counts, inside, ["".join(draw.choice(list("ACGT"), 16)) + "-1" for _ in x]


def spaceranger(library: str, summary: bytes) -> Iterator[tuple[str, bytes]]:
    """All files of the folder `LIBRARY_spatial` but its metadata, by their names in it."""
    counts, inside, barcodes = slice_of_tissue(library)
    yield f"{library}_spaceranger-summary.html", summary
    under = [barcode for barcode, tissue in zip(barcodes, inside, strict=True) if tissue]
    for kind, some, names in (("filtered", counts[inside], under), ("raw", counts, barcodes)):
        folder = f"{kind}_feature_bc_matrix"
        yield f"{folder}/barcodes.tsv.gz", _gzipped("".join(f"{name}\n" for name in names))
        lines = (f"{gene}\t{symbol}\tGene Expression\n" for gene, symbol in zip(GENES, SYMBOLS, strict=True))
        yield f"{folder}/features.tsv.gz", _gzipped("".join(lines))
        yield f"{folder}/matrix.mtx.gz", _gzipped(_matrix_market(some))
    yield "spatial/tissue_positions_list.csv", _table(barcodes, inside).encode()
    scales = {"tissue_hires_scalef": 0.2, "tissue_lowres_scalef": 0.06, "spot_diameter_fullres": 66.0}
    yield "spatial/scalefactors_json.json", json.dumps(scales).encode()
    picture = _stained(library, HIGH)
    yield "spatial/tissue_hires_image.png", png(picture)
    yield "spatial/tissue_lowres_image.png", png(_stained(library, LOW))
    yield "spatial/detected_tissue_image.png", png(_marked(picture, inside))


def _positions() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    return (columns + 0.5 + 0.5 * (rows % 2)) / (COLUMNS + 1), (rows + 0.5) / ROWS


def _table(barcodes: Sequence[str], inside: np.ndarray) -> str:
    """barcode, in tissue, row, column, y and x in the full picture: as Space Ranger 1 writes it, without a header."""
    x, y = _positions()
    lines = []
    for number, barcode in enumerate(barcodes):
        row, column = divmod(number, COLUMNS)
        place = f"{round(2000 * y[number])},{round(2000 * x[number])}"
        lines.append(f"{barcode},{int(inside[number])},{row},{2 * column + row % 2},{place}\n")
    return "".join(lines)


def _matrix_market(counts: np.ndarray) -> str:
    """Features in rows, spots in columns, both from 1, as the format has it."""
    spots, features = np.nonzero(counts)
    head = f"%%MatrixMarket matrix coordinate integer general\n%\n{counts.shape[1]} {counts.shape[0]} {len(spots)}\n"
    triplets = zip(features + 1, spots + 1, counts[spots, features], strict=True)
    return head + "".join(f"{feature} {spot} {count}\n" for feature, spot, count in triplets)


def _gzipped(text: str) -> bytes:
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def _stained(library: str, edge: int) -> np.ndarray:
    """A slice of tissue, stained: pink, with nuclei in violet, thicker in the tumour."""
    draw = chance(f"{library} {edge}")
    y, x = np.mgrid[0:edge, 0:edge] / edge
    picture = np.full((edge, edge, 3), (243.0, 240.0, 244.0))
    inside = (x - 0.5) ** 2 / 0.16 + (y - 0.52) ** 2 / 0.12 < 1
    picture[inside] = (226.0, 176.0, 205.0)
    for _ in range(900):
        place = draw.normal((0.45, 0.5), 0.14)
        near = inside & ((x - place[0]) ** 2 + (y - place[1]) ** 2 < draw.uniform(0.004, 0.009) ** 2)
        picture[near] = (118.0, 72.0, 140.0)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _marked(picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The picture with a frame around every spot that lies under tissue."""
    marked = picture.copy()
    x, y = _positions()
    for left, top in zip(x[inside] * HIGH, y[inside] * HIGH, strict=True):
        marked[int(top) - 3 : int(top) + 4, [int(left) - 3, min(HIGH - 1, int(left) + 3)]] = (220, 40, 40)
    return marked


def png(pixels: np.ndarray) -> bytes:
    """A picture of rows × columns × RGB (W3C PNG, third edition: IHDR, IDAT, IEND; no filters)."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
