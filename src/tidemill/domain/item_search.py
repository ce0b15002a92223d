"""The language in which items are searched: on pages, in the API, on the command line, and to make a batch.

Words with spaces between them; an item is found when all of them hold:

- `aacip`: the name contains it, whatever its case; `cpb-aacip-*`: the name begins with it, case as written;
- `status:good`, `project:slates`, `batch:may`: the item's status, a project or batch that it stands in;
- `from:ma22a000`, `to:ma22b999`: the name is not before, not after this one, letter by letter as written;
- `year=1987`, `title="Evening News"`: a metadata key has this value, compared as text.

Double quotes keep spaces together. An empty search finds everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.errors import InvalidInput

_KEYS = ("status", "project", "batch", "from", "to")
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')


@dataclass(frozen=True, slots=True)
class ItemSearch:
    """What a search asks for; every part must hold. Lists: all of them, but any of `statuses`."""

    contains: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    begins: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)

    def params(self) -> dict[str, Any]:
        """For the statements of `queries/catalogue.sql`."""
        return {
            "contains": [f"%{literal(text)}%" for text in self.contains] or None,
            "prefixes": [f"{literal(text)}%" for text in self.prefixes] or None,
            "statuses": self.statuses or None,
            "projects": list(dict.fromkeys(self.projects)) or None,
            "batches": list(dict.fromkeys(self.batches)) or None,
            "from": max(self.begins, default=None),
            "to": min(self.ends, default=None),
            "metadata": orjson.dumps(self.metadata).decode(),
        }


def parse_search(text: str) -> ItemSearch:
    """Read a search. Raises InvalidInput for a quote that is not closed and for a key that there is not."""
    if text.count('"') % 2:
        raise InvalidInput(f"The search {text!r} opens a quote and does not close it.")
    search = ItemSearch()
    for word in _WORD.findall(text):
        _add(search, word)
    return search


def _add(search: ItemSearch, word: str) -> None:
    bare = word.replace('"', "")
    if "\0" in bare:
        raise InvalidInput("A search cannot hold a NUL character.")
    key, sign, value = re.match(r"([^\s:=\"]*)([:=]?)(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
    value = value.replace('"', "")
    if sign == "=" and key:
        search.metadata[key] = value
    elif sign == ":" and key:
        if key not in _KEYS:
            raise InvalidInput(
                f"The search has {word!r}, but there is no {key}: to ask for.",
                hint='There are status:, project:, batch:, from:, to:, key=value; put "…" around a name with a colon.',
            )
        lists = (search.statuses, search.projects, search.batches, search.begins, search.ends)
        lists[_KEYS.index(key)].append(value)
    elif bare.endswith("*") and word.endswith("*"):
        search.prefixes.append(bare[:-1])
    elif bare:
        search.contains.append(bare)


def literal(text: str) -> str:
    """Text for LIKE with its signs taken literally."""
    return re.sub(r"([\\%_])", r"\\\1", text)
