"""What a site calls an item and a project, in sentences, in addresses and as keys of JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

ORIGINALS = "original-files"
FIXED = ("computed-files", "datasets", "docs", ORIGINALS, "schema", "stats", "tokens")
"""What addresses below `/v1` begin with that every site has, whatever its words are."""

_BETWEEN = re.compile(r"[\s_-]+")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words themselves."""

    item: str = "item"
    items: str = "items"
    project: str = "project"
    projects: str = "projects"

    @classmethod
    def of(cls, words: Mapping[str, str]) -> Vocabulary:
        """From `Site.vocabulary`, where a word that is missing has its default."""
        return cls(**{key: words[key] for key in cls.__slots__ if words.get(key)})


def in_address(word: str) -> str:
    """A word as a part of an address: `data-files`."""
    return _BETWEEN.sub("-", word.strip()).lower()


def as_key(word: str) -> str:
    """A word as a key of JSON, and as the name of a filter: `data_files`."""
    return _BETWEEN.sub("_", word.strip()).lower()
