"""Parameters of a step, held against what the app's metadata says of them (clams-python 1.8.0, `parameters`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.errors import InvalidInput
from tidemill.pipelines.nearest import nearest

UNIVERSAL: tuple[Mapping[str, Any], ...] = (
    {"name": "pretty", "type": "boolean", "default": False},
    {"name": "runningTime", "type": "boolean", "default": True},
    {"name": "hwFetch", "type": "boolean", "default": False},
    {
        "name": "tfSamplingMode",
        "type": "string",
        "default": "representatives",
        "choices": ["representatives", "single", "all"],
    },
)
"""What every CLAMS app understands, whether its metadata lists it or not."""

_TRUE, _FALSE = frozenset({"true", "t", "yes", "1"}), frozenset({"false", "f", "no", "0"})
_MEANT = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "map": "a table of texts",
    "any": "a text, a number, true or false, or a list of them",
}


@dataclass(frozen=True, slots=True)
class ParameterFault:
    """What is wrong with one parameter; `name` is as it was given, or the one that is missing."""

    name: str
    message: str
    missing: bool = False


class _Wrong(Exception):
    """A value that is not what the parameter takes; the text says what it takes."""


def check_parameters(
    step: str, app_metadata: Mapping[str, Any] | None, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters as they are to be sent: each of its declared type, single values of multivalued ones as lists.

    Text that reads as the declared type is taken as that type. Raises InvalidInput that names the step, the parameter,
    what was given and what would be right. An app without metadata takes anything.
    """
    ready, faults = read_parameters(app_metadata, parameters)
    if faults:
        raise InvalidInput(" ".join(f"Step {step!r}: {fault.message}" for fault in faults))
    return ready


def read_parameters(
    app_metadata: Mapping[str, Any] | None, parameters: Mapping[str, Any]
) -> tuple[dict[str, Any], list[ParameterFault]]:
    """The parameters that are right, as they are to be sent, and everything that is wrong with the others."""
    if not app_metadata:
        return dict(parameters), []
    universal = UNIVERSAL if not {"command", "transfer"} & app_metadata.keys() else ()
    declared = {spec["name"]: spec for spec in (*universal, *_declared(app_metadata))}
    ready, faults = {}, []
    for name, value in parameters.items():
        if name not in declared:
            faults.append(ParameterFault(name, _unknown(name, [spec["name"] for spec in _declared(app_metadata)])))
            continue
        try:
            ready[name] = _read(declared[name], value)
        except _Wrong as wrong:
            faults.append(ParameterFault(name, f"parameter {name!r} is {_shown(value)}, but must be {wrong}."))
    missing = [name for name, spec in declared.items() if name not in parameters and spec.get("default") is None]
    faults += [ParameterFault(name, _missing(declared[name]), missing=True) for name in missing]
    return ready, faults


def _declared(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = metadata.get("parameters")
    return [one for one in listed if isinstance(one, Mapping) and "name" in one] if isinstance(listed, list) else []


def _unknown(name: str, known: list[str]) -> str:
    close = nearest(name, [*known, *(spec["name"] for spec in UNIVERSAL)])
    if close:
        return f"there is no parameter {name!r}; did you mean {close!r}?"
    listed = f"it has {', '.join(sorted(known))}" if known else "it has none of its own"
    return f"there is no parameter {name!r}; {listed}."


def _missing(spec: Mapping[str, Any]) -> str:
    return f"parameter {spec['name']!r} has no default, so it must be given: {_wanted(spec)}."


def _read(spec: Mapping[str, Any], value: Any) -> Any:
    if spec.get("type") == "any":
        return value
    if spec.get("type") == "map":
        return _read_map(spec, value)
    if spec.get("multivalued"):
        return [_read_one(spec, one) for one in (value if isinstance(value, list | tuple) else [value])]
    if isinstance(value, list | tuple):
        raise _Wrong(f"{_wanted(spec)}, one and not a list")
    return _read_one(spec, value)


def _read_map(spec: Mapping[str, Any], value: Any) -> dict[str, str]:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple) and all(isinstance(one, str) and ":" in one for one in value):
        value = dict(one.split(":", 1) for one in value)
    if not isinstance(value, Mapping) or not all(isinstance(one, str | int | float) for one in value.values()):
        raise _Wrong(_wanted(spec))
    if any(":" in key for key in value):
        raise _Wrong(f"{_wanted(spec)}, without colons in its keys")
    return {key: str(one).lower() if isinstance(one, bool) else str(one) for key, one in value.items()}


def _read_one(spec: Mapping[str, Any], value: Any) -> Any:
    ready = _typed(spec, value)
    choices = spec.get("choices") or []
    if choices and str(ready) not in map(str, choices):
        raise _Wrong(_wanted(spec, ready))
    return ready


def _typed(spec: Mapping[str, Any], value: Any) -> Any:
    try:
        match spec.get("type"):
            case "integer":
                return _integer(value)
            case "number":
                return _number(value)
            case "boolean":
                return _boolean(value)
    except (ValueError, TypeError):
        raise _Wrong(_wanted(spec)) from None
    if not isinstance(value, str):
        raise _Wrong(_wanted(spec))
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError
    return value if isinstance(value, int) else number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _wanted(spec: Mapping[str, Any], given: Any = None) -> str:
    choices = spec.get("choices") or []
    if not choices:
        return _MEANT.get(str(spec.get("type")), "text")
    close = nearest(str(given), map(str, choices)) if given is not None else None
    listed = "one of " + ", ".join(_shown(choice) for choice in choices)
    return listed + (f" (did you mean {_shown(close)}?)" if close else "")


def _shown(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= 60 else text[:59] + "…"
