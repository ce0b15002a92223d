"""The language in which items are searched: on pages, in the API, on the command line, and to make a batch.

Words with spaces between them; an item is found when all of them hold:

- `aacip`: the name contains it, whatever its case; `cpb-aacip-*`: the name begins with it, case as written;
- `status:good`, `project:slates`, `batch:may`: the item's status, a project or batch that it stands in;
- `from:ma22a000`, `to:ma22b999`: the name is not before, not after this one, letter by letter as written;
- `year=1987`, `title="Evening News"`: a metadata key has this value, compared as text.

Double quotes keep spaces together. An empty search finds everything.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.errors import InvalidInput

_KEYS = ("status", "project", "batch", "from", "to")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,99})(\.[0-9]{1,99})?")
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
        """For the statements of `queries/catalogue.sql`. Some only say over what others say, for an index to use."""
        by_length = sorted(self.contains, key=len, reverse=True)
        return {
            "letters": by_length[0] if by_length else None,
            "grams_of": by_length[0] if by_length and len(by_length[0]) > 1 else None,
            "contains": [f"%{literal(text)}%" for text in by_length[1:]] or None,
            "prefixes": [f"{literal(text)}%" for text in self.prefixes] or None,
            "below": min(filter(None, map(_after_all_with, self.prefixes)), default=None),
            "statuses": self.statuses or None,
            "projects": list(dict.fromkeys(self.projects)) or None,
            "batches": list(dict.fromkeys(self.batches)) or None,
            "from": max([*self.begins, *self.prefixes], default=None),
            "to": min(self.ends, default=None),
            "metadata": orjson.dumps(self.metadata).decode() if self.metadata else None,
            "holding": _holding(self.metadata),
            "most": None,
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


def _after_all_with(prefix: str) -> str | None:
    """The first text, by code points, that comes after all that begin with this; None where there is none."""
    bare = prefix.rstrip("\U0010ffff")
    if not bare:
        return None
    following = ord(bare[-1]) + 1
    return bare[:-1] + chr(0xE000 if following == 0xD800 else following)


def _holding(metadata: Mapping[str, str]) -> list[str] | None:
    """JSON of which one at least is contained in whatever metadata has these values as text; None: no telling."""
    choices: list[list[dict[str, Any]]] = [
        [{key: form} for form in (value, orjson.Fragment(value))[: 2 if _is_scalar(value) else 1]]
        for key, value in metadata.items()
        if not value.startswith(("{", "["))
    ][:3]
    if not choices:
        return None
    united = ({key: form for part in parts for key, form in part.items()} for parts in itertools.product(*choices))
    return [orjson.dumps(one).decode() for one in united]


def _is_scalar(value: str) -> bool:
    """Whether this may be the text of a number or truth value in JSON as PostgreSQL writes it."""
    return value in ("true", "false") or _NUMBER.fullmatch(value) is not None
