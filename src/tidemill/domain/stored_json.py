"""JSON that PostgreSQL's `jsonb` can hold: not every value that JSON, or Python, can write is one."""

from __future__ import annotations

import json
import re
from typing import Any

from tidemill.errors import InvalidInput

DEEPEST = 100
LARGEST = 8 * 1024 * 1024
"""Characters of one value: a record is copied into the documents of its steps."""

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""`json.dumps` would make an encoder for each value."""
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def stored(value: Any, what: str = "It") -> str:
    """A value from outside as JSON text for a `jsonb` column.

    `what` begins the message. Raises InvalidInput: as `written`, and where it is nested deeper than `DEEPEST` or longer
    than `LARGEST`.
    """
    text = written(value, what)
    if len(text) > LARGEST:
        raise InvalidInput(f"{what} is {len(text):,} characters long; {LARGEST:,} is the most.")
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise InvalidInput(f"{what} is nested deeper than {DEEPEST} levels.")
    return text


def written(value: Any, what: str = "It") -> str:
    """A value as JSON text that the database can read.

    Raises InvalidInput: no JSON (dates, NaN), a NUL character, half a surrogate pair.
    """
    try:
        text = _encode(value)
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} has half a surrogate pair in it, which is no text.") from None
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what} is no JSON: {error}.") from None
    except RecursionError:
        raise InvalidInput(f"{what} is nested deeper than {DEEPEST} levels.") from None
    if "\\u0000" in text and _NUL.search(text):
        raise InvalidInput(f"{what} has a NUL character in it, which the database cannot hold.")
    return text


def read_json(text: str | bytes) -> Any:
    """JSON as it was written, whole numbers of any length kept. Raises InvalidInput, which says where it is wrong."""
    try:
        return json.loads(text, parse_constant=_refused)
    except RecursionError:
        raise InvalidInput(f"This JSON is nested deeper than {DEEPEST} levels.") from None
    except ValueError as error:
        raise InvalidInput(f"This is no JSON: {error}.") from None


def listed(texts: list[str]) -> str:
    """A JSON list of values that are JSON text already."""
    return f"[{','.join(texts)}]"


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _depth(text: str) -> int:
    depth = deepest = 0
    for sign in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if sign in "[{" else -1
        deepest = max(deepest, depth)
    return deepest
