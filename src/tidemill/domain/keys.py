"""Keys of files as they lie in a source: which of them are paths, and how to show them."""

from __future__ import annotations

LONGEST_KEY = 1024
"""Bytes; what S3 allows, and an index can hold."""
_NO_NAMES = frozenset(("", ".", ".."))


def is_path(key: str) -> bool:
    """Whether a key is also a path that leads down from where it starts; no other can be packed or fetched safely."""
    if len(key) > LONGEST_KEY // 4 and len(key.encode()) > LONGEST_KEY:
        return False
    return "\0" not in key and _NO_NAMES.isdisjoint(key.split("/"))


def printable(key: str) -> str:
    """A key as a terminal or a page may show it: control characters, which would move a cursor, are written out."""
    return key if key.isprintable() else key.encode("unicode_escape").decode()
