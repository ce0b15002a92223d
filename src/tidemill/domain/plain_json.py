"""Plain data as JSON for those who ask, numbers as they were written, however long they are."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import fields, is_dataclass
from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


def dumped(value: Any, *, indent: bool = False) -> bytes:
    """Plain data, dataclasses and dates as JSON; times in RFC 3339 with `Z`, bytes in hexadecimal, all else as text."""
    try:
        return orjson.dumps(value, default=_other, option=_OPTIONS | (orjson.OPT_INDENT_2 if indent else 0))
    except TypeError:  # a whole number of more than 64 bits, which the slower library alone writes
        separators = None if indent else (",", ":")
        text = json.dumps(
            value, ensure_ascii=False, indent=2 if indent else None, separators=separators, default=_plain
        )
        return text.encode()


def _plain(value: Any) -> Any:
    """What orjson knows by itself."""
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, dt.date | dt.time):
        return orjson.loads(orjson.dumps(value, option=_OPTIONS))
    return _other(value)


def _other(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
