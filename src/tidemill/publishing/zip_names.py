"""Names within a zip: safe on every system, and never the same twice, whatever the items are called."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 180
"""Bytes of UTF-8 that one part of a name may have; file systems allow 255."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe(name: str) -> str:
    """The name with what some system cannot hold, or would take for a path, made `_`."""
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).strip(" ").rstrip(". ")
    while len(name.encode()) > LONGEST:
        name = name[:-1]
    if not name or name.startswith("."):
        name = "_" + name.lstrip(".")
    return f"_{name}" if _RESERVED.fullmatch(name) else name


class Names:
    """Gives each name out once; one that is taken, in whatever case, gets `~2`, `~3`, … before its suffix."""

    def __init__(self, *taken: str) -> None:
        self._taken = {_key(name) for name in taken}
        self._last: dict[str, int] = {}

    def give(self, stem: str, suffix: str = "") -> str:
        """A free name made of a safe stem and a suffix."""
        stem, key = safe(stem), _key(stem + suffix)
        name, number = stem + suffix, self._last.get(key, 1)
        while _key(name) in self._taken:
            number += 1
            name = f"{stem}~{number}{suffix}"
        self._taken.add(_key(name))
        self._last[key] = number
        return name


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
