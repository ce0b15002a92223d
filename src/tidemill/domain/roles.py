"""What the holder of a token may do."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Each word is what the holder is, and the least that such a one needs."""

    READER = "reader"
    """Reads the pages and the API; changes nothing."""
    OPERATOR = "operator"
    """Reads and changes, as the site's own key does, but gives out no tokens."""
    WORKER = "worker"
    """Claims tasks, hands in their results, reads what belongs to them, and nothing else."""
    DOWNLOADER = "downloader"
    """A person who accepted the terms: downloads what the portal offers, and puts datasets together."""
