"""Reading a condition as people write it, with every mistake in words."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

Place = tuple[str | int, ...]
Fault = tuple[Place, str]
"""Where in the condition, and what is wrong there, as a sentence."""
Tests = tuple[Place, str, dict[str, Any]]
"""Where they stand, the path that they test, and the tests with what each is given."""

PARTS = ("status", "project", "require", "where", "prefix", "files")
_TEST = re.compile(r"([^=<>]+?)\s*(=|>=|<=)\s*(.+)", re.DOTALL)
TESTS = ("equals", "one_of", "min", "max", "prefix", "pattern")


def read_parts(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The parts of a condition in one form (see `Condition`), and all that is wrong with it."""
    faults: list[Fault] = []
    parts: dict[str, Any] = {}
    for key, value in data.items():
        if key in ("status", "project", "require"):
            parts[key] = _words(key, value, faults)
        elif key == "where":
            parts[key] = _where(value, faults)
        elif key == "prefix":
            parts[key] = value
            if not _is_text(value) or "*" in value:
                faults.append(((key,), "prefix must be the beginning of the item's name, without *."))
        elif key == "files":
            parts[key] = value
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1_000_000:
                faults.append(((key,), "files must be a whole number: how many the item must have at least."))
        else:
            faults.append(((key,), f"{key!r} is no part of a condition; there are: {', '.join(PARTS)}."))
    paths = enumerate(parts.get("require", ()))
    faults += [(("require", n), f"require: {fault}") for n, path in paths if (fault := _path_fault(path))]
    return parts, faults


def read_test(text: str) -> tuple[str, dict[str, Any]]:
    """A test as it is written in one line: `kind=physics`, `kind=a|b`, `conditions.temperature<=0.1`, `shift=ma*`.

    A value that reads as JSON is that (`7`, `true`, `"7"`), everything else a text. Raises ValueError.
    """
    found = _TEST.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no test; write PATH=VALUE, PATH=A|B, PATH>=VALUE, PATH<=VALUE or PATH=PATTERN*")
    path, sign, value = found.groups()
    if sign != "=":
        return path, {"min" if sign == ">=" else "max": _read_value(value)}
    if not value.startswith('"') and ("*" in value or "?" in value):
        return path, {"pattern": value}
    several = value.split("|") if not value.startswith('"') else [value]
    return path, {"one_of": [_read_value(one) for one in several]} if several[1:] else {"equals": _read_value(value)}


def _read_value(text: str) -> Any:
    try:
        read = json.loads(text)
    except ValueError:
        return text
    return read if _is_plain(read) else text


def _words(key: str, value: Any, faults: list[Fault]) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(_is_text(word) and word.strip() for word in listed):
        faults.append(((key,), f"{key} must be a text or a list of texts."))
        return ()
    return tuple(dict.fromkeys(listed))


def _where(value: Any, faults: list[Fault]) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        right = 'for example { "conditions.temperature" = { max = 0.1 } }'
        faults.append((("where",), f"where must be a table of tests, {right}."))
        return {}
    found: dict[str, dict[str, Any]] = {}
    for place, path, tests in _flat(("where",), "", value, faults):
        if fault := _path_fault(path):
            faults.append((place, f"where: {fault}"))
        for test, operand in tests.items():
            if said := _operand_fault(test, operand):
                faults.append((place, f"where: {path}: {said}"))
        found.setdefault(path, {}).update(tests)
    return found


def _flat(place: Place, path: str, table: Mapping[str, Any], faults: list[Fault]) -> Iterator[Tests]:
    """Each path with its tests. Tables within tables lead deeper, until one holds tests."""
    for key, value in table.items():
        here, deeper = (*place, key), f"{path}.{key}" if path else key
        if not isinstance(value, Mapping):
            yield here, deeper, {"one_of": value} if isinstance(value, list) else {"equals": value}
        elif value and all(test in TESTS for test in value):
            yield here, deeper, dict(value)
        elif odd := _odd_test(value):
            meant = difflib.get_close_matches(odd, TESTS, n=1)
            right = f"did you mean {meant[0]}?" if meant else f"there are: {', '.join(TESTS)}."
            faults.append(((*here, odd), f"where: {deeper} has {odd!r}, which is no test; {right}"))
        elif not value:
            faults.append((here, f"where: {deeper} has no test; there are: {', '.join(TESTS)}."))
        else:
            yield from _flat(here, deeper, value, faults)


def _odd_test(table: Mapping[str, Any]) -> str | None:
    """The key that is no test although it seems to be meant as one. A metadata key that looks like a test can be asked
    for by its whole path in quotes."""
    others = [key for key in table if key not in TESTS]
    if len(others) < len(table):
        return others[0]
    plain = (key for key in others if not isinstance(table[key], Mapping))
    return next((key for key in plain if difflib.get_close_matches(key, TESTS, n=1, cutoff=0.65)), None)


def _operand_fault(test: str, operand: Any) -> str | None:
    if test == "one_of":
        if not isinstance(operand, list) or not operand or not all(_is_plain(one) for one in operand):
            return "one_of must be a list of texts, numbers, true or false."
    elif test in ("min", "max"):
        if not (_is_text(operand) or _is_number(operand)):
            return f"{test} must be a number or a text."
    elif test in ("prefix", "pattern"):
        if not _is_text(operand) or not operand:
            return f"{test} must be a text."
    elif not _is_plain(operand):
        return "must be a text, a number, true or false (`require` asks whether something is there at all)."
    return None


def _path_fault(path: str) -> str | None:
    if not all(part and part == part.strip() for part in path.split(".")) or "\0" in path:
        return f"{path!r} is no path: keys with dots between them are, for example conditions.temperature."
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool) or _is_text(value) or _is_number(value)
