"""Texts with placeholders: `{name}`, `{name:argument}`; `{{` and `}}` are braces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.errors import InvalidInput

_PART = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<name>[A-Za-z_][\w.-]*)(?::(?P<argument>[^{}]*))?\}|(?P<wrong>[{}])")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`{name}` or `{name:argument}`."""

    name: str
    argument: str | None = None

    def __str__(self) -> str:
        return f"{{{self.name}}}" if self.argument is None else f"{{{self.name}:{self.argument}}}"


def parts(text: str) -> list[str | Placeholder]:
    """A text taken apart. Raises InvalidInput for a brace that stands alone."""
    found: list[str | Placeholder] = []
    at = 0
    for match in _PART.finditer(text):
        found.append(text[at : match.start()])
        at = match.end()
        if match["wrong"]:
            raise InvalidInput(f"{text!r} has a brace that begins or ends no placeholder; write {{{{ or }}}} for one.")
        found.append(match["brace"][0] if match["brace"] else Placeholder(match["name"], match["argument"]))
    found.append(text[at:])
    return [part for part in found if part != ""]


def placeholders(text: str) -> list[Placeholder]:
    """The placeholders of a text in order. Raises InvalidInput as `parts` does."""
    return [part for part in parts(text) if isinstance(part, Placeholder)]


def value_text(value: Any) -> str:
    """A JSON value as a program reads it: text as it is, `true`, `3.5`, tables as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def from_record(document: Mapping[str, Any], name: str) -> Any:
    """What `metadata.run.number` is in a record document. Raises InvalidInput where the record has no such key."""
    value: Any = document
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise InvalidInput(f"The record has no {name}.")
        value = value[key]
    if value is None:
        raise InvalidInput(f"The record has nothing in {name}.")
    return value


def path_text(text: str, document: Mapping[str, Any], given: Mapping[str, str]) -> str:
    """A path or key with its placeholders filled: from `given`, or from the record (`{metadata.run}`).

    Raises InvalidInput for a placeholder that nothing fills, and for a value that would lead to another folder.
    """
    made = ""
    for part in parts(text):
        if isinstance(part, str):
            made += part
        elif part.name in given:
            made += given[part.name]
        elif part.name.startswith("metadata."):
            value = value_text(from_record(document, part.name))
            if "/" in value or value in (".", "..") or "\0" in value:
                raise InvalidInput(f"{part} is {value!r}, which cannot be a part of a path.")
            made += value
        else:
            known = quoted_list([*given, "metadata.…"])
            raise InvalidInput(f"{text!r} has {part}, which nothing fills; there are: {known}.")
    return made


def quoted_list(words: Sequence[str], most: int = 8) -> str:
    """Names for a message: the first of them, and how many more."""
    shown = ", ".join(words[:most])
    return (shown + (f" and {len(words) - most} more" if len(words) > most else "")) or "none"
