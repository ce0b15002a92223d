"""What may be the name of an app, a pipeline, a batch, a source or a project."""

from __future__ import annotations

import re

from tidemill.errors import InvalidInput

LONGEST = 200
_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")


def name_fault(name: str) -> str | None:
    """What is wrong with a name, as the end of a sentence that begins with it; None: nothing."""
    if not name.strip():
        return "is empty"
    if name != name.strip():
        return "begins or ends with a space"
    if _FORBIDDEN.search(name):
        return "has a slash, a backslash or a control character in it"
    return f"is longer than {LONGEST} characters" if len(name) > LONGEST else None


def check_name(what: str, name: str) -> str:
    """The name as it is. Raises InvalidInput where it cannot be one; names stand in addresses and file names."""
    if fault := name_fault(name):
        raise InvalidInput(f"The name {name[:60]!r} for {what} {fault}.")
    return name
