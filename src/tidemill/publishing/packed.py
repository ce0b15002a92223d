"""What the task of a package puts out when it is done, whichever engine packed it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.errors import InvalidInput

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Packed:
    """A package as its builder says that it lies in its store. `size` in bytes, `sha256` hexadecimal."""

    name: str
    fingerprint: str
    store: str
    key: str
    size: int
    sha256: str
    etag: str
    files: int


def read_packed(document: bytes) -> Packed:
    """The output document of a packing step: `{"name", "fingerprint", "file": {"store", "key", "size", "sha256",
    "etag"}, "files"}`. Raises InvalidInput for what is none."""
    try:
        told: Mapping[str, Any] = orjson.loads(document)
        file: Mapping[str, Any] = told["file"]
        packed = Packed(
            name=str(told["name"]),
            fingerprint=str(told["fingerprint"]),
            store=str(file["store"]),
            key=str(file["key"]),
            size=int(file["size"]),
            sha256=str(file["sha256"]),
            etag=str(file.get("etag") or ""),
            files=int(told["files"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"What was put out does not say where the package is: {type(error).__name__} {error}.",
            hint="An app that packs must put out what `tidemill build-package` does.",
        ) from error
    if not _SHA256.fullmatch(packed.sha256) or packed.size < 0:
        raise InvalidInput(f"What was put out has {packed.sha256[:80]!r} for a checksum, and {packed.size} for a size.")
    return packed
