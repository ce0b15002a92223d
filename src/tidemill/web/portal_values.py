"""How metadata reads on the portal's pages. Whoever wrote it is not trusted: it is text, whatever it looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from markupsafe import Markup, escape

LONG = 90
"""Letters above which a text is read as prose, under a heading of its own."""

MOST_ROWS = 500
"""Rows of a table that are shown."""

_LINK = re.compile(r"https?://[^\s<>\"'`\\^{}|\x00-\x20\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069]{1,2000}")
_MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}")
_PIECE = re.compile(r"[^\s/_]{0,20}[/_]+|[^\s/_]{1,20}|\s+")
_BREAK = Markup("<wbr>")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Shown:
    """One value and how it reads. `kind`: `text`, `link`, `mail`, `chips`, `long`, `table` or `data`."""

    key: str
    title: str
    kind: str
    value: Any
    columns: list[str] = field(default_factory=list)
    """Of a table: the headings; its `value` is a list of rows, each a list of `Shown`."""
    more: int = 0
    """Rows of a table that are not shown."""
    facet: bool = False
    """Whether lists can be narrowed by it."""
    declared: bool = True


@dataclass(frozen=True, slots=True)
class Sheet:
    """All metadata of a project or an item, in the order in which a page shows it."""

    facts: list[Shown]
    prose: list[Shown]
    tables: list[Shown]
    further: list[Shown]
    """What the site does not declare, short or not."""


@dataclass(frozen=True, slots=True)
class Heads:
    """How tables are headed: the `columns` of each metadata key that holds one, as declared; what a key is called."""

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    called: Callable[[str], str] = lambda key: titled(key)


def sheet(metadata: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]], heads: Heads | None = None) -> Sheet:
    """Metadata as a page shows it: what is declared in the order of the declarations, the rest behind."""
    made = Sheet([], [], [], [])
    for key, declared in fields.items():
        if _empty(value := metadata.get(key)):
            continue
        one = shown(key, value, declared, heads)
        {"long": made.prose, "table": made.tables}.get(one.kind, made.facts).append(one)
    for key in sorted(metadata.keys() - fields.keys()):
        if not _empty(value := metadata[key]):
            one = shown(key, value, None, heads)
            (made.tables if one.kind == "table" else made.further).append(one)
    return made


def shown(key: str, value: Any, declared: Mapping[str, Any] | None, heads: Heads | None = None) -> Shown:
    """One value of a metadata key; `declared` is what the site says of the key, None for nothing."""
    says, heads = declared or {}, heads or Heads()
    title = says.get("title") or titled(key)
    facet, known = bool(says.get("facet")), declared is not None
    if _is_table(value):
        there = sorted(dict.fromkeys(name for row in value for name in row), key=_not_id)
        declared_first = [name for name in heads.columns.get(key, ()) if name in there]
        columns = list(dict.fromkeys([*declared_first, *there]))
        rows = [[cell(row.get(name)) for name in columns] for row in value[:MOST_ROWS]]
        more = max(0, len(value) - MOST_ROWS)
        return Shown(key, title, "table", rows, [heads.called(name) for name in columns], more, declared=known)
    kind, said = _read(value)
    linked = facet and (kind == "chips" or (kind == "text" and isinstance(value, str)))
    return Shown(key, title, kind, said, facet=linked, declared=known)


def cell(value: Any) -> Shown:
    """A value in a table or a list."""
    kind, said = ("text", "") if _empty(value) else _read(value)
    return Shown("", "", kind, said)


def titled(key: str) -> str:
    """A key as a heading, where the site gives it none: `disease_timing` is `Disease timing`."""
    words = key.replace("_", " ").strip() or key
    return words[:1].upper() + words[1:]


def visible(name: str) -> str:
    """A file's name, with what would hide or turn its letters made visible."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", name)


def plain(value: Any) -> str:
    """A value in one line: `yes`, `12.5`, `a; b`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, list):
        return "; ".join(plain(one) for one in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cut(text: str, most: int) -> str:
    """The beginning of a text, with a sign that there is more."""
    return text if len(text) <= most else text[:most] + "…"


def breakable(name: str) -> Markup:
    """A text whose long words may break: behind slashes and underscores, or after some letters."""
    made = Markup("")
    for piece, after in pairwise([*_PIECE.findall(name), " "]):
        made += escape(piece) + (_BREAK if not piece.isspace() and not after.isspace() else "")
    return made


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a prose text."""
    return [part for part in re.split(r"\n\s*\n", text.strip()) if part]


def _read(value: Any) -> tuple[str, Any]:
    """How a value that is no table reads, and what is shown of it."""
    if isinstance(value, list) and not any(isinstance(one, dict | list) for one in value):
        return "chips", [plain(one) for one in value]
    if isinstance(value, dict | list):
        return "data", json.dumps(value, ensure_ascii=False, indent=1)
    text = plain(value)
    if _LINK.fullmatch(text.strip()):
        return "link", text.strip()
    if _MAIL.fullmatch(text.strip()):
        return "mail", text.strip()
    return ("long" if len(text) > LONG else "text"), text


def _not_id(column: str) -> bool:
    """For sorting: what names a row comes first."""
    return column != "id" and not column.endswith("_id")


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _empty(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {}
