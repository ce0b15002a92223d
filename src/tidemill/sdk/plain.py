"""Plain JSON of what a step returns: Python's own values, dates, and the scalars and small arrays of NumPy."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

MOST_ELEMENTS = 100_000
"""Elements that an array may have; more belong in a file."""

_WHOLE = (-(2**63), 2**64 - 1)


class NotPlain(ValueError):
    """A value that JSON cannot hold; says which and where."""


def plain(value: Any, where: str, notes: list[str]) -> Any:
    """`value` as dicts, lists, strings, numbers, booleans and None. `where` names it in messages.

    JSON knows neither NaN nor infinity: they become null, and a line in `notes` says so. Raises NotPlain.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(str(value), where)
    if isinstance(value, int) and not isinstance(value, bool):
        if not _WHOLE[0] <= value <= _WHOLE[1]:
            raise NotPlain(f"{where} is a whole number of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            notes.append(f"{where} is {float(value)}, which JSON cannot hold: it was kept as null.")
            return None
        return float(value)
    if isinstance(value, Mapping):
        return {_key(key, where): plain(one, f"{where}[{key!r}]", notes) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, f"{where}[{number}]", notes) for number, one in enumerate(value)]
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, PurePath):
        return _text(str(value), where)
    return plain(_of_array(value, where), where, notes)


def _of_array(value: Any, where: str) -> Any:
    """A NumPy scalar or array as Python's own. NumPy itself is not needed for that."""
    if not (hasattr(value, "tolist") and hasattr(value, "dtype")):
        hint = "; a set has no order: make it a list" if isinstance(value, set | frozenset) else ""
        raise NotPlain(f"{where} is {_article(type(value).__qualname__)}, which JSON cannot hold{hint}")
    if getattr(value, "size", 1) > MOST_ELEMENTS:
        raise NotPlain(f"{where} is an array of {value.size:,} elements: keep it as a file (task.output)")
    inner = value.tolist()
    if type(inner) is type(value) or isinstance(inner, complex):
        raise NotPlain(f"{where} is {_article(str(value.dtype))}, which JSON cannot hold")
    return inner


def _text(value: str, where: str) -> str:
    if "\x00" in value:
        raise NotPlain(f"{where} has a NUL character in it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotPlain(f"{where} has a lone surrogate in it, which UTF-8 cannot say") from None
    return value


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise NotPlain(f"{where} has the key {key!r}; JSON's keys are text")
    return _text(key, f"a key of {where}")


def _article(word: str) -> str:
    return f"an {word}" if word[:1].lower() in "aeiou" else f"a {word}"
