"""What a sync saw and did, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from tidemill.catalogue.listing import LeftOut, Listed
from tidemill.catalogue.sorting import Sorted

RECORDED = 100
"""Keys of each kind that a sync's record keeps."""


@dataclass(slots=True)
class SyncReport:
    """What a sync saw and did, or, if it was a dry run, would do."""

    source: str
    dry_run: bool = False
    seen: int = 0
    created: int = 0
    changed: int = 0
    deleted: int = 0
    items: int = 0
    """New items; likewise `projects`."""
    projects: int = 0
    locked: int = 0
    """Projects whose lock has come; `unlocked`: whose lock is gone."""
    unlocked: int = 0
    kept: int = 0
    """Files that are gone, and stay in the catalogue because their project is locked."""
    tied: int = 0
    """Files that came to an item; `untied`: that left one, since their key or the rules say so now."""
    untied: int = 0
    skipped: int = 0
    ignored: int = 0
    unmatched: Listed = field(default_factory=Listed)
    unreadable: Listed = field(default_factory=Listed)
    gone: Listed = field(default_factory=Listed)
    """Files that left the catalogue."""
    new: Listed = field(default_factory=Listed)
    """Files that came; `other`: that have other bytes, or other attributes."""
    other: Listed = field(default_factory=Listed)
    held_out: dict[str, int] = field(default_factory=dict)
    """Locked projects, and how many items they did not take."""
    refused: str = ""
    """Of a dry run: why the sync itself would stop, and change nothing."""
    error: str = ""
    """Why it failed; then nothing was changed."""

    def take(self, found: Sorted, left_out: LeftOut) -> None:
        """What the listing and the rules came to."""
        self.seen, self.ignored, self.skipped = found.seen, found.ignored, left_out.skipped
        self.unmatched, self.unreadable = found.unmatched, left_out.unreadable

    @property
    def did_something(self) -> bool:
        """Whether the catalogue is, or would be, another."""
        names = ("created", "changed", "deleted", "items", "projects", "locked", "unlocked", "tied", "untied")
        return any(getattr(self, name) for name in names)

    def as_json(self, *, whole: bool = False) -> dict[str, Any]:
        """All of it. Keys are the first of each kind; with `whole` all that no rule matches or that are not usable."""
        made: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Listed):
                keys = list(value.all()) if whole else value.keys[:RECORDED]
                value = {"count": value.count, "keys": keys}
            made[one.name] = value
        return made

    def in_words(self) -> str:
        """One sentence, without its full stop."""
        new = f"{_counted(self.created, 'new file')}, {self.changed:,} changed, {_counted(self.items, 'new item')}"
        gone = f"; {self.deleted:,} are gone" if self.deleted else ""
        kept = f"; {self.kept:,} are gone and kept, since their project is locked" if self.kept else ""
        unmatched = f"; {self.unmatched.count:,} match no rule" if self.unmatched.count else ""
        return f"read {_counted(self.seen, 'file')} of {self.source}: {new}{gone}{kept}{unmatched}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
