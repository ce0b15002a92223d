"""Every exit code of `tidemill`. `docs/reference/cli.md` lists the same, and a test holds the two together."""

from __future__ import annotations

from enum import IntEnum

from tidemill.errors import (
    AccessRefused,
    AddressForbidden,
    AppRefused,
    Conflict,
    DatabaseRefused,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    StorageError,
    TidemillError,
)


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    """All went well; of a run: every item is done."""
    SOME_FAILED = 1
    """The run ended and some of its items failed; or a check found something."""
    USAGE = 2
    """The command line was wrong."""
    INVALID = 3
    """What was handed in is not valid. Nothing was changed."""
    NOT_FOUND = 4
    """The thing named does not exist."""
    CONFLICT = 5
    """The present state does not allow it."""
    DATABASE = 6
    """The database cannot be reached."""
    NOT_CONFIRMED = 7
    """Nobody said yes. Nothing was changed."""
    CANCELLED = 8
    """The run was cancelled."""
    APP = 9
    """An app did not answer as an app should, or its address is not allowed."""
    STORAGE = 10
    """The object store did not do what was asked."""
    ACCESS = 11
    """The site refused the token, or speaks another version of the worker protocol."""
    INTERNAL = 70
    """A fault in Tidemill itself; the message names the file that says more."""
    INTERRUPTED = 130
    """Stopped by a signal before its end."""
    PIPE = 141
    """Whoever read the output went away."""


BY_KIND: tuple[tuple[type[TidemillError], Exit], ...] = (
    (InvalidInput, Exit.INVALID),
    (NotFound, Exit.NOT_FOUND),
    (Conflict, Exit.CONFLICT),
    (DatabaseUnavailable, Exit.DATABASE),
    (DatabaseRefused, Exit.INTERNAL),
    (AppRefused, Exit.APP),
    (AddressForbidden, Exit.APP),
    (StorageError, Exit.STORAGE),
    (AccessRefused, Exit.ACCESS),
)
"""Every kind of error below TidemillError; the first that fits holds."""


class NotConfirmed(TidemillError):
    """Nobody said yes: nothing was changed."""


def exit_code(error: TidemillError) -> Exit:
    """The exit code for an error, by its kind."""
    if isinstance(error, NotConfirmed):
        return Exit.NOT_CONFIRMED
    return next((code for kind, code in BY_KIND if isinstance(error, kind)), Exit.INTERNAL)
