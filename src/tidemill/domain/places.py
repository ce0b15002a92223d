"""Where a site's folders and stores are, which is nobody's business but its keepers'."""

from __future__ import annotations

import re

from tidemill.errors import DatabaseUnavailable, SiteUnavailable, StorageError, TidemillError

_PLACE = re.compile(
    r"""(['"])(?:[a-z][a-z0-9+.-]*://|/).*?\1"""  # in quotes it may have blanks in it
    r"""|(?<![\w.])(?:[a-z][a-z0-9+.-]*://|/)[^\s'"<>,;()]*[^\s'"<>,;().:]"""
)
"""Paths of a machine and addresses, in a sentence."""


def without_places(said: str) -> str:
    """A sentence without the paths and addresses in it, for visitors: why something failed, but not where."""
    return _PLACE.sub("…", said)


def for_visitors(error: TidemillError) -> TidemillError:
    """The same error in words that do not say where the site's stores and its database are."""
    if isinstance(error, DatabaseUnavailable) and not isinstance(error, SiteUnavailable):
        return DatabaseUnavailable("The database cannot be reached now.", hint="Try again in a minute.")
    if isinstance(error, StorageError):
        return StorageError(without_places(error.message), hint=without_places(error.hint or "") or None)
    return error
