"""A difference in words: on one line where it fits, else part by part, so that what changed can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

WIDE = 110
"""Characters of a line that are shown whole."""


def difference(key: str, before: Any, after: Any) -> list[str]:
    """Lines that tell how a value differs; `before` None where there was none."""
    told = f"{key}: {_text(after)}" if before is None else f"{key}: {_text(before)} → {_text(after)}"
    if len(told) <= WIDE:
        return [told]
    old, new = _parts(before), _parts(after)
    if new is None or (old is None and before is not None):
        told = _short(_text(after)) if before is None else _changed(_sorted(before), _sorted(after))
        return [f"{key}: {told}"]
    old = old or {}
    lines = [f"{key}:"]
    for name, value in new.items():
        if name not in old:
            lines += [f"  {line}" for line in _added(name, value)]
        elif old[name] != value:
            lines += [f"  {line}" for line in difference(f"~ {name}", old[name], value)]
    lines += [f"  - {name}" for name in old if name not in new]
    return lines if len(lines) > 1 else [f"{key}: in another order"]


def _added(name: str, value: Any) -> list[str]:
    """A part that is new: on one line, unless it is a list whose own parts have names."""
    if isinstance(value, list) and _parts(value):
        return difference(f"+ {name}", None, value)
    if isinstance(value, Mapping) and name in (value.get("name"), value.get("pattern")):
        value = {key: one for key, one in value.items() if one != name}
    return [f"+ {name}: {_short(_text(value))}"]


def _parts(value: Any) -> Mapping[str, Any] | None:
    """A table by its keys, a list of tables by their names; None for what has no parts that can be told apart."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        names = [one.get("name") or one.get("pattern") for one in value]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return dict(zip((str(name) for name in names), value, strict=True))
    return {} if value == [] else None


def _text(value: Any) -> str:
    """A value for a person: a pipeline's steps as a chain, everything else as it would be written."""
    if isinstance(value, list) and value and all(isinstance(one, dict) and "app" in one for one in value):
        return " → ".join(_step(one) for one in value)
    return orjson.dumps(value).decode()


def _step(step: Mapping[str, Any]) -> str:
    name = step["name"] if step["name"] == step["app"] else f"{step['name']} ({step['app']})"
    rest = {key: step[key] for key in ("tries", "backoff") if step[key] is not None} | dict(step["parameters"])
    return f"{name} {orjson.dumps(rest).decode()}" if rest else str(name)


def _sorted(value: Any) -> str:
    """As text that does not depend on the order of keys, which the database does not keep."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _changed(before: str, after: str) -> str:
    """Two long texts from a little before the place where they begin to differ."""
    alike = (one == other for one, other in zip(before, after, strict=False))
    start = max(0, next((n for n, same in enumerate(alike) if not same), min(len(before), len(after))) - 20)
    lead = "…" if start else ""
    return f"{lead}{_short(before[start:], WIDE // 2)} → {lead}{_short(after[start:], WIDE // 2)}"


def _short(text: str, most: int = WIDE) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
