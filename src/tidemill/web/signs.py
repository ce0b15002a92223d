"""The signs of states: every page, the grid and the print-out take them from here. A word always stands beside."""

from __future__ import annotations

SIGNS = {
    "waiting": "○",
    "running": "◐",
    "submitted": "⇡",
    "done": "●",
    "failed": "✕",
    "cancelled": "⊘",
    "paused": "‖",
    "active": "◐",
    "late": "◷",
    "lost": "?",
    "released": "↩",
    "unavailable": "⌁",
    "good": "●",
    "current": "●",
    "outdated": "◷",
    "being built": "◐",
    "being checked": "◐",
    "missing": "○",
    "left over": "◌",
}

COLOURS = {
    "active": "running",
    "late": "paused",
    "lost": "cancelled",
    "released": "waiting",
    "unavailable": "paused",
    "good": "done",
    "current": "done",
    "outdated": "paused",
    "being built": "running",
    "being checked": "running",
    "missing": "waiting",
    "left over": "paused",
}
"""Words that are not task states, and the task state whose colour they wear."""


def sign(word: str) -> str:
    """The sign of a state, an outcome or a run's state; a small dot for a word of the site's own."""
    return SIGNS.get(word, "•")


def colour(word: str) -> str:
    """The name of the colour of a state; `none` for a word of the site's own."""
    return COLOURS.get(word, word if word in SIGNS else "none")
