"""Writing `.rds`: R's serialisation (version 2, XDR), gzipped, as `saveRDS` writes it and `readRDS` reads it.

Only what the example needs: lists with names, character, integer and double vectors, data frames, and the sparse
matrices of the package Matrix (`dgCMatrix`).
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SYMBOL, PAIRLIST, CHARACTERS, INTEGERS, DOUBLES, STRINGS, LIST, S4 = 1, 2, 9, 13, 14, 16, 19, 25
NULL, END, REFERENCE = 0xFE, 0xFE, 0xFF
IS_OBJECT, HAS_ATTRIBUTES, HAS_TAG, IS_S4 = 1 << 8, 1 << 9, 1 << 10, 1 << 16
UTF8, ASCII = 1 << 15, 1 << 18


@dataclass(frozen=True)
class Frame:
    """A data frame: columns by name, and the names of its rows."""

    columns: Mapping[str, Sequence[str] | np.ndarray]
    rows: Sequence[str]


@dataclass(frozen=True)
class Sparse:
    """A `dgCMatrix` of values whose rows are features and whose columns are cells."""

    values: np.ndarray
    features: Sequence[str]
    cells: Sequence[str]


def rds(value: Any) -> bytes:
    """The file of one object."""
    return gzip.compress(_Writer().whole(value), compresslevel=6, mtime=0)


class _Writer:
    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._symbols: dict[str, int] = {}

    def whole(self, value: Any) -> bytes:
        self._parts = [b"X\n", struct.pack(">iii", 2, 0x00040301, 0x00020300)]
        self._put(value)
        return b"".join(self._parts)

    def _int(self, number: int) -> None:
        self._parts.append(struct.pack(">I", number & 0xFFFFFFFF))

    def _put(self, value: Any, attributes: Mapping[str, Any] | None = None, flags: int = 0) -> None:
        """One vector or object; names and class of a list, a frame or a matrix are its attributes."""
        if isinstance(value, Frame):
            frame = {"names": list(value.columns), "class": ["data.frame"], "row.names": list(value.rows)}
            return self._put(list(value.columns.values()), frame, IS_OBJECT)
        if isinstance(value, Sparse):
            return self._sparse(value)
        if isinstance(value, Mapping):
            return self._put(list(value.values()), {"names": list(value)})
        flags |= HAS_ATTRIBUTES if attributes else 0
        if value is None:
            self._int(NULL)
        elif isinstance(value, str):
            self._strings([value], attributes, flags)
        elif isinstance(value, np.ndarray):
            whole = np.issubdtype(value.dtype, np.integer)
            self._int((INTEGERS if whole else DOUBLES) | flags)
            self._int(len(value))
            self._parts.append(value.astype(">i4" if whole else ">f8").tobytes())
            self._attributes(attributes)
        elif value and all(isinstance(one, str) for one in value):
            self._strings(value, attributes, flags)
        else:
            self._int(LIST | flags)
            self._int(len(value))
            for one in value:
                self._put(one)
            self._attributes(attributes)
        return None

    def _strings(self, texts: Sequence[str], attributes: Mapping[str, Any] | None, flags: int) -> None:
        self._int(STRINGS | flags)
        self._int(len(texts))
        for text in texts:
            self._characters(text)
        self._attributes(attributes)

    def _characters(self, text: str) -> None:
        written = text.encode()
        self._int(CHARACTERS | (ASCII if text.isascii() else UTF8))
        self._int(len(written))
        self._parts.append(written)

    def _symbol(self, name: str) -> None:
        """A name; the second time as a reference to the first."""
        if name in self._symbols:
            self._int(self._symbols[name] << 8 | REFERENCE)
            return
        self._symbols[name] = len(self._symbols) + 1
        self._int(SYMBOL)
        self._characters(name)

    def _attributes(self, attributes: Mapping[str, Any] | None) -> None:
        if not attributes:
            return
        for name, value in attributes.items():
            self._int(PAIRLIST | HAS_TAG)
            self._symbol(name)
            if name == "class" and isinstance(value, tuple):
                self._put([value[0]], {"package": [value[1]]})
            else:
                self._put(value)
        self._int(END)

    def _sparse(self, matrix: Sparse) -> None:
        cells, features = np.nonzero(matrix.values.T)
        starts = np.concatenate([[0], np.cumsum(np.bincount(cells, minlength=matrix.values.shape[1]))])
        self._int(S4 | IS_OBJECT | HAS_ATTRIBUTES | IS_S4)
        self._attributes(
            {
                "i": features.astype(np.int32),
                "p": starts.astype(np.int32),
                "Dim": np.array(matrix.values.shape, dtype=np.int32),
                "Dimnames": [list(matrix.features), list(matrix.cells)],
                "x": matrix.values[features, cells].astype(np.float64),
                "factors": [],
                "class": ("dgCMatrix", "Matrix"),
            }
        )
