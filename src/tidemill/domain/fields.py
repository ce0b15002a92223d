"""The metadata keys that a site declares, and which values each type of them takes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from tidemill.errors import InvalidInput

Fields = Mapping[str, Mapping[str, Any]]
"""`{name: {"type", "title"}}`, as the site has them; a type is `text`, `integer`, `number`, `boolean` or `date`."""

_WANTED = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date (2026-11-21)",
}
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


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
    return isinstance(value, str) and (type_ != "date" or _is_date(value))


def from_text(key: str, text: str, fields: Fields) -> Any:
    """What a person typed for a key: of its declared type, or text. Raises InvalidInput."""
    type_ = fields[key]["type"] if key in fields else "text"
    word = text.strip()
    try:
        if type_ == "integer":
            return int(word)
        if type_ == "number":
            return _number(word)
    except ValueError:
        raise InvalidInput(f"{key} is {shown(text)}; it must be {_WANTED[type_]}.") from None
    if type_ == "boolean" and word.lower() in _TRUE | _FALSE:
        return word.lower() in _TRUE
    value = word if type_ == "date" else text
    check_fields({key: value}, fields)
    return value


def shown(value: Any) -> str:
    """A value in a message: as Python writes it, cut when it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _number(word: str) -> int | float:
    try:
        return int(word)
    except ValueError:
        number = float(word)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError
    return number


def _is_date(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
