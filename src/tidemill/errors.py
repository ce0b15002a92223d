"""Every error that Tidemill raises on purpose. The docstring of a class is its message when none is given.

TidemillError
├── InvalidInput          what was handed in is wrong: says what, where, and what would be right
│   ├── SiteFileError     a mistake in a site file, with file and line
│   ├── TablesRefused     mistakes in metadata files, with file, row and column
│   ├── InvalidFields     fields of a form or a body are wrong: says of each what
│   ├── PipelineMismatch  a chain of apps whose outputs and inputs do not fit
│   └── UnknownIds        ids that name nothing; none of the rest was done
├── NotFound              the thing named does not exist
│   └── Gone              it did, and does no longer
├── Conflict              the thing is in a state that forbids this
│   ├── DatabaseBusy      others hold what this needs, for longer than it may wait
│   ├── ChangesGone       the change feed no longer reaches back to that position
│   └── TooMany           more was asked for than is given out in this time
├── AppRefused            an app could not be registered or read
├── AddressForbidden      a URL leads to a host or network that the site does not allow
├── AccessRefused         the site does not let us in, or not that far
│   ├── KeyRefused        a person's key is not good, or not for this until they accept the terms
│   └── WrongProtocol     worker and site speak different versions of the worker protocol
├── DatabaseUnavailable   PostgreSQL cannot be reached
│   ├── EmbeddedServerError
│   └── SiteUnavailable   a site cannot be reached over HTTP, or cannot answer now
├── DatabaseRefused       PostgreSQL refused a statement: what it was given breaks a rule of the tables
├── StorageError          the object store failed
│   ├── StorageRefused    it will not do it until somebody mends something
│   └── StorageAway       it cannot be reached now, or has not what it should have
└── ImportRefused         another system, whose records are taken over, did not answer as it should
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class TidemillError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.hint = hint
        super().__init__(self.message if hint is None else f"{self.message}\n{hint}")


class InvalidInput(TidemillError):
    """What was handed in is not valid."""


class SiteFileError(InvalidInput):
    """The site file has a mistake."""


class InvalidFields(InvalidInput):
    """Some fields are wrong."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self.fields = {name: list(faults) for name, faults in fields.items()}
        super().__init__("; ".join(f"{name}: {' '.join(faults)}" for name, faults in self.fields.items()))


class TablesRefused(InvalidInput):
    """Metadata files have mistakes."""

    def __init__(self, count: int, files: int, faults: Sequence[Mapping[str, object]]) -> None:
        self.count, self.faults = count, list(faults)
        of = "1 metadata file" if files == 1 else f"{files:,} metadata files"
        super().__init__(f"{count:,} mistake{'' if count == 1 else 's'} in {of}.", hint="Nothing was written.")


class PipelineMismatch(InvalidInput):
    """The apps of this pipeline do not fit together."""


class UnknownIds(InvalidInput):
    """Some ids are not known here."""

    def __init__(self, ids: Sequence[str], what: str = "items") -> None:
        self.ids = list(ids)
        shown = ", ".join(self.ids[:10]) + (f" and {len(self.ids) - 10} more" if len(self.ids) > 10 else "")
        noun = what.removesuffix("s") if len(self.ids) == 1 else what
        super().__init__(f"{len(self.ids)} unknown {noun}: {shown}", hint="Nothing was changed.")


class NotFound(TidemillError):
    """There is no such thing here."""


class Gone(NotFound):
    """This is here no longer."""


class Conflict(TidemillError):
    """The present state does not allow this."""


class DatabaseBusy(Conflict):
    """Others are at work in the database on what this needs."""


class ChangesGone(Conflict):
    """The change feed no longer reaches back to that position."""


class TooMany(Conflict):
    """Too many of these were asked for in a short time."""


class AppRefused(TidemillError):
    """The app did not answer as an app should."""


class AddressForbidden(TidemillError):
    """This address is not allowed by the site's settings."""


class AccessRefused(TidemillError):
    """The site does not let us in."""


class KeyRefused(AccessRefused):
    """This key is not good here."""


class WrongProtocol(AccessRefused):
    """Worker and site speak different versions of the worker protocol."""


class DatabaseUnavailable(TidemillError):
    """The database cannot be reached."""


class EmbeddedServerError(DatabaseUnavailable):
    """The embedded PostgreSQL server did not start."""


class SiteUnavailable(DatabaseUnavailable):
    """The site cannot be reached."""


class DatabaseRefused(TidemillError):
    """The database refused a statement."""


class StorageError(TidemillError):
    """The object store did not do what was asked."""


class StorageRefused(StorageError):
    """The store will not do it, however often it is asked, until somebody mends something."""


class StorageAway(StorageError):
    """The store cannot be reached now."""


class ImportRefused(TidemillError):
    """The other system did not answer as it should."""
