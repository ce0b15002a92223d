"""From a CouchDB document to a record: `_id` is the name, `process` the past steps, the rest the metadata."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.domain.fields import shown
from tidemill.domain.item_edits import check_name, check_status
from tidemill.domain.stored_json import stored
from tidemill.errors import InvalidInput

DELETED = "deleted"
"""The status of an item whose document is no longer there: the item itself is never taken away."""

MOST_STEPS = 32_767
_TIMES = ("finished_at", "finished", "end", "ended_at", "completed_at", "timestamp", "datetime", "date", "time")
_NAMES = ("name", "step", "process")


@dataclass(frozen=True, slots=True)
class PastEntry:
    """One entry of `process`. `finished_at`: where a key of it says so in a form that can be read."""

    name: str
    details: Mapping[str, Any]
    finished_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a document says of its item. A key of `metadata` is never None: null there is nothing here."""

    name: str
    rev: str
    status: str
    metadata: Mapping[str, Any]
    process: tuple[PastEntry, ...] = ()
    deleted: bool = False
    note: str = ""


def taken(document: Mapping[str, Any]) -> Taken:
    """What to take over from a document. Raises InvalidInput for one that cannot be taken, which says why."""
    name, rev = document.get("_id"), document.get("_rev")
    if not isinstance(name, str):
        raise InvalidInput(f"its _id is {shown(name)}")
    check_name(name)
    rev = rev if isinstance(rev, str) else ""
    if document.get("_deleted") is True:
        return Taken(name, rev, DELETED, {}, deleted=True)
    own = {
        key: value
        for key, value in document.items()
        if not key.startswith("_") and key not in ("status", "process") and value is not None
    }
    stored(own, "It")
    return Taken(
        name, rev, _status(document.get("status")), own, _process(document.get("process")), note=_note(document)
    )


def _status(status: Any) -> str:
    if status is None or status == "":
        return "good"
    if isinstance(status, bool) or not isinstance(status, str | int | float):
        raise InvalidInput(f"its status is {shown(status)}")
    word = str(status).strip()
    check_status(word)
    return word


def _process(entries: Any) -> tuple[PastEntry, ...]:
    if entries is None:
        return ()
    listed = entries if isinstance(entries, list) else [entries]
    if len(listed) > MOST_STEPS:
        raise InvalidInput(f"its process has {len(listed):,} entries")
    stored(listed, "Its process")
    return tuple(_entry(entry) for entry in listed)


def _entry(entry: Any) -> PastEntry:
    details: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"entry": entry}
    words = [details[key] for key in _NAMES if isinstance(details.get(key), str) and details[key].strip()]
    name = words[0] if words else entry if isinstance(entry, str) and entry.strip() else "unnamed"
    times = (_moment(details[key]) for key in _TIMES if key in details)
    return PastEntry(name[:500], details, next((time for time in times if time is not None), None))


def _moment(value: Any) -> dt.datetime | None:
    """A time as ISO 8601 or in seconds (or milliseconds) since 1970; one without a zone is taken as UTC."""
    try:
        if isinstance(value, str):
            read = dt.datetime.fromisoformat(value.strip())
            return read if read.tzinfo else read.replace(tzinfo=dt.UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 1e8:
            return dt.datetime.fromtimestamp(value / 1000 if value > 1e11 else value, dt.UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _note(document: Mapping[str, Any]) -> str:
    notes = []
    if isinstance(rivals := document.get("_conflicts"), list) and rivals:
        notes.append(f"there are conflicting revisions there ({', '.join(map(str, rivals[:5]))}); the winner was taken")
    if isinstance(files := document.get("_attachments"), Mapping) and files:
        notes.append(f"its attachments were not taken ({', '.join(map(str, list(files)[:5]))})")
    return "; ".join(notes)
