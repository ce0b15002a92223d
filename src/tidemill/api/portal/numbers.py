"""The numbers that records have in addresses."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from tidemill.errors import NotFound

LARGEST = 2**63 - 1


def _numbered(number: Annotated[str, Path()]) -> int:
    """Raises NotFound for what is no number that a record could have: nothing is there, as with any other."""
    if not (number.isascii() and number.isdigit() and len(number) <= 19 and 1 <= int(number) <= LARGEST):
        raise NotFound(f"Nothing here has the number {number!r}.")
    return int(number)


Number = Annotated[int, Depends(_numbered)]
"""`{number}` of a route's path."""
