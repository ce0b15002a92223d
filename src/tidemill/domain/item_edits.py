"""An edit of one record: what may stand in it, and what it makes of the record as it is now.

Metadata are merged key by key: a key that is named gets its value, whole; null takes a key out; a key that is not named
stays as it is. So two writers who name different keys never undo each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.domain.fields import Fields, check_fields, shown
from tidemill.domain.kinds import Kind
from tidemill.domain.stored_json import stored
from tidemill.errors import Conflict, InvalidInput

KEYS = ("name", "status", "reason", "metadata", "projects", "revision", "expect")
LONGEST_NAME, LONGEST_STATUS, LONGEST_REASON = 500, 100, 2000
NEW = 0
"""The expected revision of a record that there must not be yet."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Edit:
    """What somebody wants of one record. What is None or empty stays as it is."""

    name: str
    status: str | None = None
    reason: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    projects: tuple[str, ...] = ()
    revision: int | None = None
    """The revision that it must have now; `NEW`: there must be no such item."""
    expect: str | None = None
    """The status that it must have now."""

    @property
    def may_create(self) -> bool:
        return not self.revision and self.expect is None


@dataclass(slots=True)
class Record:
    """A record as it is now, and what has been decided to change in it."""

    id: int
    name: str
    status: str
    reason: str
    metadata: dict[str, Any]
    revision: int
    kind: str = Kind.ITEM
    put: dict[str, Any] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    edited: bool = False

    def told(self) -> dict[str, Any]:
        """The record as an answer to a stale edit shows it."""
        keys = ("name", "status", "metadata", "revision")
        return {key: getattr(self, key) for key in keys} | {"status_reason": self.reason}

    def put_key(self, key: str, value: Any) -> None:
        """Give a key its value, or with None take it out."""
        if value is None:
            if key in self.metadata:
                del self.metadata[key]
                self.put.pop(key, None)
                self.removed.add(key)
                self.edited = True
        elif key not in self.metadata or not same(self.metadata[key], value):
            self.metadata[key] = self.put[key] = value
            self.removed.discard(key)
            self.edited = True

    def set_status(self, status: str | None, reason: str | None) -> None:
        """Give it a status with a reason; an old reason does not outlive its status."""
        status = status or self.status
        if reason is None:
            reason = self.reason if status == self.status else ""
        if (status, reason) != (self.status, self.reason):
            self.status, self.reason, self.edited = status, reason, True


def check_own(record: Record) -> None:
    """Raises Conflict for the record of a package, which is the site's own."""
    if record.kind == Kind.PACKAGE:
        raise package_refused([record.name])


def package_refused(names: Sequence[str]) -> Conflict:
    """What is said to whoever would treat packages as items."""
    shown_names = ", ".join(repr(name) for name in names[:5]) + (", …" if len(names) > 5 else "")
    return Conflict(
        f"{shown_names} is a package that the site makes, not an item."
        if len(names) == 1
        else f"These are packages that the site makes, not items: {shown_names}.",
        hint="What a package holds is declared in the site file; `tidemill generate-computed-files` makes it anew.",
    )


def read_edit(row: Any, fields: Fields) -> Edit:
    """An edit as JSON has it: an object with `KEYS`. Raises InvalidInput, which says what would be right."""
    if not isinstance(row, Mapping):
        raise InvalidInput(f"An item is an object with a name; here is {shown(row)}.")
    name = row.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput(f"An item has no name: {shown(dict(row))}.")
    if unknown := [key for key in row if key not in KEYS]:
        raise InvalidInput(
            f"Item {name!r} has {', '.join(map(str, unknown))}; an item has {', '.join(KEYS)}.",
            hint='Further keys belong under "metadata".',
        )
    stored(name, "The name")
    metadata = _of_kind(row, "metadata", Mapping, "an object") or {}
    projects = _of_kind(row, "projects", list, "a list of names") or []
    if not all(isinstance(project, str) for project in projects):
        raise InvalidInput(f"projects is {shown(projects)}; it must be a list of names.")
    status, expect = (_of_kind(row, key, str, "text") for key in ("status", "expect"))
    for word in (status, expect):
        if word is not None:
            check_status(word)
    check_fields(metadata, fields)
    stored(metadata, "The metadata")
    return Edit(name, status, _reason(row), metadata, tuple(projects), _revision(row), expect)


def check_name(name: str) -> None:
    """Raises InvalidInput for what cannot be the name of a new item: it stands in addresses, lists and file names."""
    if _CONTROL.search(name):
        fault = "has a control character in it"
    elif name != name.strip():
        fault = "begins or ends with a space"
    elif name in ("", ".", ".."):
        fault = "names nothing"
    elif len(name.encode()) > LONGEST_NAME:
        fault = f"is longer than {LONGEST_NAME} bytes"
    else:
        return
    raise InvalidInput(f"The name {shown(name)} {fault}.")


def check_status(status: str) -> None:
    """Raises InvalidInput for what is no short word or phrase."""
    if not status.strip() or len(status) > LONGEST_STATUS or not status.isprintable():
        raise InvalidInput(f"{status[:LONGEST_STATUS]!r} cannot be a status: a short word is.")


def check_expected(edit: Edit, record: Record) -> None:
    """Raises Conflict where the record is not what the edit expects."""
    if edit.revision == NEW:
        raise Conflict(f"{record.name!r} exists already (revision {record.revision}).")
    if edit.revision is not None and edit.revision != record.revision:
        raise Conflict(
            f"{record.name!r} is at revision {record.revision}, not {edit.revision}: it was edited since.",
            hint="Nothing of this edit was done. Look at the record as it is, then send it again with its revision.",
        )
    if edit.expect is not None and edit.expect != record.status:
        raise Conflict(f"{record.name!r} is {record.status!r}, not {edit.expect!r}.")


def apply(edit: Edit, record: Record) -> None:
    """Put an edit into a record; `record.edited` says whether that changed anything."""
    for key, value in edit.metadata.items():
        record.put_key(key, value)
    record.set_status(edit.status, edit.reason)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; true is not 1."""
    return one is other or json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _of_kind(row: Mapping[str, Any], key: str, kind: type | Any, wanted: str) -> Any:
    value = row.get(key)
    if value is not None and not isinstance(value, kind):
        raise InvalidInput(f"{key} is {shown(value)}; it must be {wanted}.")
    return value


def _reason(row: Mapping[str, Any]) -> str | None:
    reason = _of_kind(row, "reason", str, "text")
    if reason is None:
        return None
    stored(reason, "The reason")
    if len(reason) > LONGEST_REASON:
        raise InvalidInput(f"The reason is {len(reason)} characters long; {LONGEST_REASON} is the most.")
    return str(reason)


def _revision(row: Mapping[str, Any]) -> int | None:
    revision = row.get("revision")
    if revision is None:
        return None
    if not isinstance(revision, int) or isinstance(revision, bool) or not 0 <= revision < 2**63:
        raise InvalidInput(f"revision is {shown(revision)}; it must be a whole number, 0 for a new item.")
    return revision
