"""The metadata keys that a site declares, and which values each type of them takes."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from tidemill.domain.stored_json import read_json
from tidemill.errors import InvalidInput

Fields = Mapping[str, Mapping[str, Any]]
"""`{name: {"type", "title", …}}`, as the site has them; the types are the keys of `_WANTED`."""

_WANTED = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date (2026-11-21)",
    "list": "a list",
}
_TRUE, _FALSE = frozenset({"true", "yes", "1", "t", "y"}), frozenset({"false", "no", "0", "f", "n"})
_WHOLE = re.compile(r"([+-]?[0-9]{1,4000})(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
SEPARATOR = ";"
"""Between the values of a list that somebody types."""


def check_fields(metadata: Mapping[str, Any], fields: Fields) -> None:
    """Raises InvalidInput for the first value that is not of its key's declared type. None, which removes, is."""
    for key, value in metadata.items():
        if value is not None and key in fields and not fits(value, fields[key]["type"]):
            raise InvalidInput(f"{key} is {shown(value)}; it must be {_WANTED[fields[key]['type']]}.")


def fits(value: Any, type_: str) -> bool:
    """Whether a JSON value is of a declared type."""
    if type_ == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if type_ == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if type_ == "boolean":
        return isinstance(value, bool)
    if type_ == "list":
        return isinstance(value, list)
    return isinstance(value, str) and (type_ != "date" or _is_date(value))


def from_text(key: str, text: str, fields: Fields) -> Any:
    """What a person typed for a key: of its declared type, or text. Raises InvalidInput."""
    type_ = fields[key]["type"] if key in fields else "text"
    try:
        return read_as(type_, text)
    except ValueError as error:
        raise InvalidInput(f"{key} is {error}.") from None


def read_as(type_: str, text: str, separator: str = SEPARATOR) -> Any:
    """The value of a type that a text stands for; a list is written with a separator between its values, or as JSON.

    Raises ValueError, whose message ends a sentence: `'x'; it must be a number`.
    """
    word = text.strip()
    if type_ == "text":
        return text
    if type_ == "list":
        return _list(word, separator)
    if type_ == "boolean" and word.lower() in _TRUE | _FALSE:
        return word.lower() in _TRUE
    if type_ == "integer" and (whole := _WHOLE.fullmatch(word)):
        return int(whole[1])
    if type_ == "number" and _NUMBER.fullmatch(word) and (number := _number(word)) is not None:
        return number
    if type_ == "date" and _is_date(word):
        return word
    raise ValueError(f"{shown(text)}; it must be {_WANTED[type_]}")


def shown(value: Any) -> str:
    """A value in a message: as Python writes it, cut when it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _number(word: str) -> int | float | None:
    """A number; None for one that no computer's number is."""
    try:
        return int(word)
    except ValueError:
        number = float(word)
    return None if number in (float("inf"), float("-inf")) else number


def _list(word: str, separator: str) -> list[Any]:
    if word.startswith("["):
        try:
            found = read_json(word)
        except InvalidInput:
            found = None
        if isinstance(found, list):
            return found
    return [one for part in word.split(separator) if (one := part.strip())]


def _is_date(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
