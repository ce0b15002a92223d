"""What a row of the item table is."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    ITEM = "item"
    """One of the collection."""
    PACKAGE = "package"
    """Something to be packed from the collection's files; packing it is its task."""


PACKING = "packages"
"""The pipeline that packs: it takes packages and nothing else, and no other takes packages."""

PACKING_STEP = "pack"
"""Its only step."""

OF_PACKAGES = "packages"
"""Stands in `Batch.made_from` of a batch whose items are packages."""
