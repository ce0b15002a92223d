"""The plan of a package: everything that a builder needs, as one JSON document, and no database.

`{"plan": 1, "name", "package", "project", "items", "attributes", "fingerprint", "store": {"url", "options"}, "key",
"sources": {name: {"url", "options"}}, "entries": [{"into", "source", "key", "size", "etag"} | {"into", "text"}]}`,
entries in the order of their names inside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.errors import InvalidInput

VERSION = 1
MANIFEST = "MANIFEST.sha256"
"""The last member of every package: the SHA-256 of the others, as `sha256sum` writes them."""


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where something lies: a URL, and what is needed to reach it (`endpoint`, `region`, `anonymous`); no secrets."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file that goes into a package as `into`, as it was last seen in its source."""

    into: str
    source: str
    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class TextEntry:
    """A text that was made for the package: its README, a table."""

    into: str
    text: str


Entry = FileEntry | TextEntry


@dataclass(frozen=True, slots=True)
class PackagePlan:
    """One package that the site's declarations call for."""

    name: str
    """Its file name; also the name of the package's item."""
    package: str
    """The declaration that it is made by, or `dataset`."""
    project: str | None
    items: tuple[str, ...]
    """The names of the items that it holds."""
    attributes: Mapping[str, Any]
    fingerprint: str
    """SHA-256 (hex) of everything that decides its bytes, and not of where they go."""
    size: int
    """Bytes of the files in it, before the zip's own."""
    files: int
    document: bytes
    """The plan as JSON."""


@dataclass(frozen=True, slots=True)
class Order:
    """A plan document as a builder reads it."""

    name: str
    package: str
    project: str | None
    items: tuple[str, ...]
    attributes: Mapping[str, Any]
    fingerprint: str
    store: StorePlace
    key: str
    sources: Mapping[str, StorePlace]
    entries: tuple[Entry, ...]


def make_plan(
    name: str,
    package: str,
    *,
    project: str | None,
    items: Sequence[str],
    attributes: Mapping[str, Any],
    entries: Sequence[Entry],
    sources: Mapping[str, StorePlace],
    store: StorePlace,
) -> PackagePlan:
    """The plan for these entries; `sources` may hold more than they need."""
    ordered = sorted(entries, key=lambda entry: entry.into.encode())
    listed = [_entry_json(entry) for entry in ordered]
    fingerprint = _fingerprint(listed, sources)
    used = sorted({entry.source for entry in ordered if isinstance(entry, FileEntry)})
    document = {
        "plan": VERSION,
        "name": name,
        "package": package,
        "project": project,
        "items": list(items),
        "attributes": dict(attributes),
        "fingerprint": fingerprint,
        "store": _place_json(store),
        "key": package_key(fingerprint, name),
        "sources": {one: _place_json(sources[one]) for one in used},
        "entries": listed,
    }
    return PackagePlan(
        name=name,
        package=package,
        project=project,
        items=tuple(items),
        attributes=dict(attributes),
        fingerprint=fingerprint,
        size=sum(_size(entry) for entry in ordered),
        files=len(ordered),
        document=json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def package_key(fingerprint: str, name: str) -> str:
    """Where a package lies in its store: never over another that people may be downloading."""
    return f"{fingerprint[:16]}/{name}"


def read_plan(document: bytes) -> Order:
    """A plan document as an order. Raises InvalidInput for what is none."""
    try:
        plan = json.loads(document)
        if plan["plan"] != VERSION:
            raise InvalidInput(f"The plan is of version {plan['plan']}; this Tidemill reads version {VERSION}.")
        return Order(
            name=plan["name"],
            package=plan["package"],
            project=plan["project"],
            items=tuple(plan["items"]),
            attributes=plan["attributes"],
            fingerprint=plan["fingerprint"],
            store=_place(plan["store"]),
            key=plan["key"],
            sources={name: _place(place) for name, place in plan["sources"].items()},
            entries=tuple(_entry(entry) for entry in plan["entries"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"This is no plan of a package: {type(error).__name__} {error}.",
            hint="A plan is what the task of a package has as its input document.",
        ) from error


def _fingerprint(entries: Sequence[Mapping[str, Any]], sources: Mapping[str, StorePlace]) -> str:
    """Names inside and what is behind each: texts by their bytes, files by URL, size and ETag."""
    deciding = [{**entry, "source": sources[entry["source"]].url} if "source" in entry else entry for entry in entries]
    packed = json.dumps([VERSION, deciding], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(packed.encode()).hexdigest()


def _size(entry: Entry) -> int:
    return entry.size if isinstance(entry, FileEntry) else len(entry.text.encode())


def _entry_json(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, TextEntry):
        return {"into": entry.into, "text": entry.text}
    return {
        "into": entry.into,
        "source": entry.source,
        "key": entry.key,
        "size": entry.size,
        "etag": entry.etag,
    }


def _entry(made: Mapping[str, Any]) -> Entry:
    if "text" in made:
        return TextEntry(str(made["into"]), str(made["text"]))
    return FileEntry(str(made["into"]), str(made["source"]), str(made["key"]), int(made["size"]), str(made["etag"]))


def _place_json(place: StorePlace) -> dict[str, Any]:
    return {"url": place.url, "options": dict(place.options)}


def _place(made: Mapping[str, Any]) -> StorePlace:
    return StorePlace(str(made["url"]), dict(made["options"]))
