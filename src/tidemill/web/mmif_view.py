"""An MMIF document as pages show it: documents, views by app, annotations by type, a page at a time.

Nothing is taken for granted: what apps write may be oddly shaped, and a page must still come up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.domain.mmif import is_mmif, parse_type, texts

PAGE = 50
COLUMNS = 7
LARGEST = 48_000_000
"""Bytes of a document that are still taken apart for a page; larger ones are only handed out."""


@dataclass(frozen=True, slots=True)
class Group:
    """The annotations of one type in one view, and one page of them as a table."""

    type: str
    uri: str
    count: int
    page: int
    pages: int
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class View:
    """What one app added."""

    id: str
    app: str
    timestamp: str
    parameters: dict[str, Any]
    error: str
    trace: str
    warnings: list[str]
    groups: list[Group]

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)


@dataclass(frozen=True, slots=True)
class Tree:
    """A document for `<mmif-tree>`. `documents`: the media, as (type, id, properties)."""

    spec: str
    documents: list[tuple[str, str, dict[str, Any]]]
    views: list[View]
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """Which page of which view's annotations is asked for; the others show their first."""

    view: str = ""
    type: str = ""
    page: int = 1


def tree(document: bytes, place: Place | None = None) -> Tree | None:
    """The tree of an MMIF document; None where it is something else, or too large to take apart."""
    if len(document) > LARGEST:
        return None
    try:
        mmif = orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
    if not is_mmif(mmif):
        return None
    return Tree(
        spec=str(_map(mmif.get("metadata")).get("mmif", "")),
        documents=[_media(entry) for entry in _maps(mmif.get("documents"))],
        views=[_view(entry, place or Place()) for entry in _maps(mmif.get("views"))],
        texts=texts(mmif),
    )


def pretty(document: bytes, most: int = 200_000) -> tuple[str, bool]:
    """JSON laid out for reading, cut at so many characters; whether it was cut."""
    try:
        text = orjson.dumps(orjson.loads(document), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        text = document.decode("utf-8", "replace")
    return text[:most], len(text) > most


def _media(entry: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    properties = dict(_map(entry.get("properties")))
    return _short(entry.get("@type")), str(properties.pop("id", "")), properties


def _view(entry: Mapping[str, Any], place: Place) -> View:
    metadata = _map(entry.get("metadata"))
    error = metadata.get("error")
    id_ = str(entry.get("id", ""))
    warnings = metadata.get("warnings")
    return View(
        id=id_,
        app=str(metadata.get("app", "")),
        timestamp=str(metadata.get("timestamp", "")),
        parameters=dict(_map(metadata.get("parameters"))),
        error=str(_map(error).get("message", "")) or (str(error) if error else ""),
        trace=str(_map(error).get("stackTrace", "")),
        warnings=[str(one) for one in warnings] if isinstance(warnings, list) else [],
        groups=list(_groups(id_, entry, place)),
    )


def _groups(view: str, entry: Mapping[str, Any], place: Place) -> Iterator[Group]:
    by_type: dict[str, list[Mapping[str, Any]]] = {}
    for annotation in _maps(entry.get("annotations")):
        by_type.setdefault(str(annotation.get("@type", "")), []).append(_map(annotation.get("properties")))
    for uri, found in by_type.items():
        name = _short(uri)
        pages = max(1, -(-len(found) // PAGE))
        page = min(max(1, place.page), pages) if (place.view, place.type) == (view, name) else 1
        shown = found[(page - 1) * PAGE : page * PAGE]
        columns = _columns(shown)
        rows = [[_cell(properties.get(column)) for column in columns] for properties in shown]
        yield Group(name, uri, len(found), page, pages, columns, rows)


def _columns(shown: list[Mapping[str, Any]]) -> list[str]:
    """The keys that the most annotations have come first, `id` before all."""
    seen: dict[str, int] = {}
    for properties in shown:
        for key in properties:
            seen[key] = seen.get(key, 0) + 1
    ranked = sorted(seen, key=lambda key: (key != "id", -seen[key]))
    return ranked[:COLUMNS]


def _cell(value: Any) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("@value"), str):
        value = value["@value"]
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= 300 else text[:300] + "…"


def _short(uri: Any) -> str:
    return parse_type(uri).name if isinstance(uri, str) else "?"


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: Any) -> Iterator[Mapping[str, Any]]:
    return (one for one in value if isinstance(one, Mapping)) if isinstance(value, list) else iter(())
