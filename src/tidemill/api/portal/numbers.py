"""The numbers that records have in addresses."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from tidemill.domain.keys import record_number
from tidemill.errors import NotFound


def _numbered(number: Annotated[str, Path()]) -> int:
    """Raises NotFound for what is no number that a record could have: nothing is there, as with any other."""
    if (found := record_number(number)) is None:
        raise NotFound(f"Nothing here has the number {number[:40]!r}.")
    return found


Number = Annotated[int, Depends(_numbered)]
"""`{number}` of a route's path."""
