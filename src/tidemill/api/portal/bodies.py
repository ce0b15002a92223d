"""Bodies of requests as portals of this kind take them: a JSON object, or a form; faults are told by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import Request
from starlette.exceptions import HTTPException

from tidemill.errors import InvalidFields, InvalidInput

LARGEST = 8 * 1024 * 1024
"""Bytes of a body: a dataset of a hundred thousand names."""

MOST_FIELDS = 100
"""Fields of a form in parts."""

_YES = frozenset({"true", "t", "yes", "y", "on", "1"})
_NO = frozenset({"false", "f", "no", "n", "off", "0"})


async def body_of(request: Request) -> dict[str, Any]:
    """The fields of a body; of a form, texts. Raises InvalidInput for what is neither."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await _parts(request)
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > LARGEST:
            raise InvalidInput(f"The body is larger than {LARGEST // 1024**2} MB.")
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        found = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"JSON parse error: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput("The body must be a JSON object.")
    return found


async def _parts(request: Request) -> dict[str, Any]:
    """The texts of a form that comes in parts (RFC 7578). Raises InvalidInput."""
    try:
        form = await request.form(max_files=0, max_fields=MOST_FIELDS)
    except HTTPException as error:
        raise InvalidInput(f"Form parse error: {error.detail}") from None
    return {name: value for name, value in form.items() if isinstance(value, str)}


def text_of(body: Mapping[str, Any], name: str) -> str | None:
    """A text; None where it is not said. Raises InvalidFields."""
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidFields({name: ["Not a valid string."]})


def required_text(body: Mapping[str, Any], name: str) -> str:
    """A text that must be there. Raises InvalidFields."""
    found = text_of(body, name)
    if found is None:
        raise InvalidFields({name: ["This field is required."]})
    return found


def truth_of(body: Mapping[str, Any], name: str) -> bool | None:
    """Yes or no, also in the words of forms; None where it is not said. Raises InvalidFields."""
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _YES | _NO:
        return word in _YES
    raise InvalidFields({name: ["Must be a valid boolean."]})
