"""Bodies of requests as portals of this kind take them: a JSON object, or a form; faults are told by field."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import Request
from starlette.formparsers import MultiPartException, MultiPartParser

from tidemill.errors import InvalidFields, InvalidInput

LARGEST = 8 * 1024 * 1024
"""Bytes of a body: a dataset of a hundred thousand names."""

MOST_FIELDS = 100
MOST_OF_FIELD = 64 * 1024
"""Fields of a form, and bytes of one of them."""

_YES = frozenset({"true", "t", "yes", "y", "on", "1"})
_NO = frozenset({"false", "f", "no", "n", "off", "0"})


async def body_of(request: Request) -> dict[str, Any]:
    """The fields of a body; of a form, texts. Raises InvalidInput for what is neither."""
    raw, type_ = bytearray(), request.headers.get("content-type", "")
    async for piece in request.stream():
        raw += piece
        if len(raw) > LARGEST:
            raise InvalidInput(f"The body is larger than {LARGEST // 1024**2} MB.")
    if type_.startswith("multipart/form-data"):
        return await _parts(request, bytes(raw))
    if type_.startswith("application/x-www-form-urlencoded"):
        return _pairs(bytes(raw))
    try:
        found = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"JSON parse error: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput("The body must be a JSON object.")
    return found


async def _parts(request: Request, raw: bytes) -> dict[str, Any]:
    """The texts of a form that comes in parts (RFC 7578). Raises InvalidInput."""

    async def read() -> AsyncGenerator[bytes, None]:
        yield raw

    try:
        form = await MultiPartParser(
            request.headers, read(), max_files=0, max_fields=MOST_FIELDS, max_part_size=MOST_OF_FIELD
        ).parse()
    except MultiPartException as error:
        raise InvalidInput(f"Form parse error: {error.message}") from None
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _pairs(raw: bytes) -> dict[str, Any]:
    """The texts of a form as browsers send it. Raises InvalidInput."""
    try:
        return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise InvalidInput(f"The form has more than {MOST_FIELDS} fields.") from None


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
