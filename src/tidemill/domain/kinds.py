"""What a row of the item table is."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    ITEM = "item"
    """One of the collection."""
    PACKAGE = "package"
    """Something to be packed from the collection's files; packing it is its task."""
