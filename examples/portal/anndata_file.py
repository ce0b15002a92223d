"""Writing `.h5ad`: AnnData's format on disk (encoding versions of anndata 0.8 and newer), with h5py alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

TEXT = h5py.string_dtype("utf-8")
PACKED = {"compression": "gzip", "compression_opts": 6}
Columns = Mapping[str, Sequence[Any] | np.ndarray]


def h5ad(
    values: np.ndarray,
    cells: tuple[Sequence[str], Columns],
    features: tuple[Sequence[str], Columns],
    *,
    raw: np.ndarray | None = None,
    embeddings: Mapping[str, np.ndarray] | None = None,
    about: Mapping[str, str] | None = None,
) -> bytes:
    """A file of `values` (cells in rows); names and columns of cells and of features; `raw` counts as a layer."""
    whole = io.BytesIO()
    with h5py.File(whole, "w") as file:
        _encode(file, "anndata", "0.1.0")
        _sparse(file, "X", values)
        _frame(file, "obs", *cells)
        _frame(file, "var", *features)
        layers, obsm, uns = (_group(file, name) for name in ("layers", "obsm", "uns"))
        for empty in ("varm", "obsp", "varp"):
            _group(file, empty)
        if raw is not None:
            _sparse(layers, "counts", raw)
        for name, array in (embeddings or {}).items():
            _array(obsm, name, array)
        for name, text in (about or {}).items():
            _encode(uns.create_dataset(name, data=text, dtype=TEXT), "string", "0.2.0")
    return whole.getvalue()


def _encode(where: Any, kind: str, version: str) -> None:
    where.attrs["encoding-type"] = kind
    where.attrs["encoding-version"] = version


def _group(parent: Any, name: str) -> Any:
    made = parent.create_group(name)
    _encode(made, "dict", "0.1.0")
    return made


def _sparse(parent: Any, name: str, values: np.ndarray) -> None:
    """A matrix as compressed sparse rows."""
    rows, columns = np.nonzero(values)
    made = parent.create_group(name)
    _encode(made, "csr_matrix", "0.1.0")
    made.attrs["shape"] = np.array(values.shape, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=values.shape[0]))])
    made.create_dataset("data", data=values[rows, columns].astype(np.float32), **PACKED)
    made.create_dataset("indices", data=columns.astype(np.int32), **PACKED)
    made.create_dataset("indptr", data=starts.astype(np.int32), **PACKED)


def _frame(parent: Any, name: str, index: Sequence[str], columns: Columns) -> None:
    made = parent.create_group(name)
    _encode(made, "dataframe", "0.2.0")
    made.attrs["_index"] = "_index"
    made.attrs.create("column-order", list(columns), dtype=TEXT)
    _array(made, "_index", list(index))
    for column, values in columns.items():
        _array(made, column, values)


def _array(parent: Any, name: str, values: Sequence[Any] | np.ndarray) -> None:
    if isinstance(values, np.ndarray):
        _encode(parent.create_dataset(name, data=values), "array", "0.2.0")
    else:
        _encode(parent.create_dataset(name, data=list(values), dtype=TEXT), "string-array", "0.2.0")
