"""Keys of files as they lie in a source: which of them are paths, and how to show them; and the numbers of records."""

from __future__ import annotations

LONGEST_KEY = 1024
"""Bytes; what S3 allows, and an index can hold."""
MOST_NUMBER = 2**63 - 1
"""The largest number that a record can have."""

_NO_NAMES = frozenset(("", ".", ".."))


def is_path(key: str) -> bool:
    """Whether a key is also a path that leads down from where it starts; no other can be packed or fetched safely."""
    if len(key) > LONGEST_KEY // 4 and len(key.encode()) > LONGEST_KEY:
        return False
    return "\0" not in key and _NO_NAMES.isdisjoint(key.split("/"))


def printable(key: str) -> str:
    """A key as a terminal or a page may show it: control characters, which would move a cursor, are written out."""
    return key if key.isprintable() else key.encode("unicode_escape").decode()


def record_number(text: str) -> int | None:
    """The number of a record as it stands in an address; None for what none could have."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_NUMBER))):
        return None
    return int(text) if 1 <= int(text) <= MOST_NUMBER else None
