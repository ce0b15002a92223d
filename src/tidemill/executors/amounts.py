"""Sizes and times in words for a person."""

from __future__ import annotations


def amount(size: int) -> str:
    """Bytes as people write them: `2 GB`."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} bytes"


def span(seconds: float) -> str:
    """Seconds as people write them: `1 h`, `90 s`."""
    for unit, factor in (("h", 3600), ("min", 60)):
        if seconds >= factor and seconds % factor == 0:
            return f"{seconds / factor:g} {unit}"
    return f"{seconds:g} s"
