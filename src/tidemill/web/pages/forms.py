"""What a form or a query string says, read leniently: an empty field is a field that was not filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData
from starlette.types import Message

from tidemill.errors import InvalidInput

MOST_ID = 2**63 - 1


LARGEST = 8 * 1024 * 1024
MOST_OF_FIELD = 64 * 1024
"""Bytes of a form that anybody may send, and of one of its fields."""


async def form_of(request: Request, *, fields: int = 100) -> FormData:
    """A form without files that anybody may send, of so many fields at most. Raises InvalidInput for one that is too
    large, HTTPException for what is none."""
    got = 0

    async def receive() -> Message:
        nonlocal got
        message = await request.receive()
        got += len(message.get("body", b""))
        if got > LARGEST:
            raise InvalidInput(f"The form is larger than {LARGEST // 1024**2} MB.")
        return message

    return await Request(request.scope, receive).form(max_files=0, max_fields=fields, max_part_size=MOST_OF_FIELD)


def words(values: Mapping[str, Any], name: str) -> str | None:
    """The trimmed text of a field, or None where it is empty."""
    value = values.get(name)
    return value.strip() or None if isinstance(value, str) else None


def number(values: Mapping[str, Any], name: str) -> int | None:
    """The whole number in a field, or None where it is empty. Raises InvalidInput."""
    value = words(values, name)
    if value is None:
        return None
    try:
        read = int(value)
    except ValueError:
        read = MOST_ID + 1
    if abs(read) > MOST_ID:
        raise InvalidInput(f"{name} is {value[:40]!r}; it must be a whole number.")
    return read


def ticked(values: Mapping[str, Any], name: str) -> bool:
    """Whether a box was ticked."""
    return words(values, name) is not None


def local(address: str | None) -> str | None:
    """An address to go back to, if it is a path of this site. Browsers read backslashes as slashes, and drop tabs."""
    if address and address.startswith("/") and not address.startswith("//"):
        return address if address.isprintable() and "\\" not in address else None
    return None
