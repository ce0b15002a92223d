"""Durations and sizes as people write them: `"10m"`, `"50MB"`."""

from __future__ import annotations

import re
from typing import Any

_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_BYTES = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


def seconds(value: Any) -> Any:
    """`90`, `"90s"`, `"10m"`, `"1h 30m"` as seconds. Raises ValueError; what is neither number nor text stays."""
    if not isinstance(value, str):
        return value
    parts = _PART.findall(value)
    wrong = _PART.sub("", value).strip() or not parts or any(unit.lower() not in _SECONDS for _, unit in parts)
    if wrong:
        raise ValueError('must be seconds, or a time such as "90s", "10m", "1h 30m"')
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)


def size(value: Any) -> Any:
    """`1000`, `"50MB"`, `"64 MiB"` as bytes. Raises ValueError; what is neither number nor text stays."""
    if not isinstance(value, str):
        return value
    match = _PART.fullmatch(value.strip())
    if match is None or match[2].lower() not in _BYTES:
        raise ValueError('must be bytes, or a size such as "50MB", "64MiB", "2GB"')
    return int(float(match[1]) * _BYTES[match[2].lower()])
