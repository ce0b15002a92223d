"""What a package's declaration selects, and what things are called inside it."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.domain.keys import printable
from tidemill.domain.package_plan import MANIFEST
from tidemill.errors import InvalidInput

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What ends a line, steers a terminal, or is no character."""
LONGEST_PART = 255
"""Bytes that one part of a path may have where people unpack."""
LONGEST = 2000
"""Bytes of a whole name inside."""
LONGEST_FILE = 200
"""Bytes of a package's own file name: what downloads it adds a date, and part files have names too."""

_UNFIT = re.compile(CONTROL.pattern + r'|[/\\:"]')
_FROM_RECORD = re.compile(r"\{(project|item)\.([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class PackItem:
    """An item as packages see it."""

    name: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    projects: tuple[str, ...] = ()
    """In the order of their names; the packages of an item belong to the first."""
    good: bool = True
    """Whether its status is `good`: what is bad is not handed out."""
    locked: bool = False
    """Whether it stands in a locked project."""


@dataclass(frozen=True, slots=True)
class PackFile:
    """A file as packages see it; `items`: the names of all that it belongs to."""

    source: str
    key: str
    size: int
    etag: str
    attributes: Mapping[str, Any]
    items: tuple[str, ...] = ()
    project: str | None = None
    changed_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What one package is made of: a project, an item, several items that share files, or all."""

    project: str | None
    items: tuple[str, ...]
    """Of a package of items: these. Empty for a project's."""


def matches(wanted: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether the values are as wanted: every key, and of a list any; a list of values: any of them."""
    return all(_fits(values.get(key), value) for key, value in wanted.items())


def _fits(value: Any, wanted: Any) -> bool:
    accepted = wanted if isinstance(wanted, list) else [wanted]
    held = value if isinstance(value, list) else [value]
    return any(_same(one, other) for one in held for other in accepted)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def takes_shared(shared: str, file: PackFile) -> bool:
    """Whether a declaration that says `without`, `with` or `only` takes a file of so many items."""
    several = len(file.items) > 1
    return shared == "with" or several is (shared == "only")


def package_name(pattern: str, subject: Subject) -> str:
    """The file name of a package. Raises InvalidInput for one that no file can have."""
    values = {"project": subject.project, "item": "-".join(subject.items), "items": "-".join(subject.items)}

    def filled(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if not value:
            raise InvalidInput(f"The file name {pattern!r} has {match[0]}, which this package does not have.")
        return _harmless(value)

    name = PLACEHOLDER.sub(filled, pattern)
    if len(name.encode()) > LONGEST_FILE:
        raise InvalidInput(f"The file name {name[:60]}… has {len(name.encode())} bytes; at most {LONGEST_FILE} do.")
    return name


def name_inside(pattern: str, file: PackFile, subject: Subject) -> str:
    """What a file is called in a package. Raises InvalidInput for a placeholder that the file has nothing for."""
    own = {
        **{key: value for key, value in file.attributes.items() if not isinstance(value, dict | list)},
        "item": (subject.items if len(subject.items) == 1 else file.items),
        "items": file.items,
        "project": file.project or subject.project,
        "name": file.key.rpartition("/")[2],
        "key": file.key,
    }

    def filled(match: re.Match[str]) -> str:
        value = own.get(match[1])
        if value is None or value == ():
            raise InvalidInput(f"into has {match[0]}, which the file {file.key} does not have.")
        return "_".join(value) if isinstance(value, tuple) else str(value)

    return PLACEHOLDER.sub(filled, pattern)


def attribute_values(
    said: Mapping[str, Any], project: Mapping[str, Any], items: Iterable[PackItem], files: Sequence[PackFile]
) -> dict[str, Any]:
    """The attributes of one package: as they are said, or looked up.

    `"{project.key}"`, `"{item.key}"`: metadata, through lists and tables by dots; several values become a sorted list.
    `{has = {…}}`: whether a file with these attributes is in it.
    """
    return {key: _attribute(value, project, items, files) for key, value in said.items()}


def _attribute(value: Any, project: Mapping[str, Any], items: Iterable[PackItem], files: Sequence[PackFile]) -> Any:
    if isinstance(value, Mapping) and set(value) == {"has"}:
        return any(matches(value["has"], file.attributes) for file in files)
    asked = _FROM_RECORD.fullmatch(value) if isinstance(value, str) else None
    if asked is None:
        return value
    records: Iterable[Mapping[str, Any]] = [project] if asked[1] == "project" else [one.metadata for one in items]
    found = [one for record in records for one in _reached(record, asked[2].split("."))]
    if len(found) == 1 and isinstance(found[0], dict):
        return found[0]
    flat = sorted({one for one in found if isinstance(one, str | int | float)}, key=lambda one: (str(type(one)), one))
    if flat and all(isinstance(one, bool) for one in flat):
        return any(flat)
    return flat[0] if len(flat) == 1 else flat or None


def _reached(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """The values at the end of a path, each of a list by itself."""
    if isinstance(value, list):
        for one in value:
            yield from _reached(one, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, Mapping):
        yield from _reached(value.get(path[0]), path[1:])


def name_faults(named: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What is wrong with names inside a package. `named`: each with what it is the name of, in words or as a key."""
    taken = {_alike(MANIFEST): (MANIFEST, "the manifest")}
    folders: dict[str, str] = {}
    for name, origin in named:
        if fault := name_fault(name):
            yield f"{printable(origin)} would be called {name!r} inside, {fault}"
            continue
        alike = _alike(name)
        if alike in taken:
            other, whose = taken[alike]
            how = "have the same name inside" if other == name else "have names inside that differ only in their case"
            yield f"{printable(whose)} and {printable(origin)} {how}: {name!r}."
            continue
        taken[alike] = (name, origin)
        for at, character in enumerate(alike):
            if character == "/":
                folders.setdefault(alike[:at], origin)
    for alike in sorted(taken.keys() & folders.keys()):
        name, origin = taken[alike]
        other = printable(folders[alike])
        yield f"{printable(origin)} would be the file {name!r} inside, and {other} makes a folder of that name."


def name_fault(name: str) -> str | None:
    """Why nothing in a package can have this name; None if it can."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "which is an absolute path."
    if {"", ".", ".."} & set(parts):
        return "which leads out of the folder that people unpack it in, or nowhere."
    if "\\" in name or CONTROL.search(name):
        return "which has a control character or a backslash in it."
    if any(len(part.encode()) > LONGEST_PART for part in parts) or len(name.encode()) > LONGEST:
        return f"which is too long: a part of it may have {LONGEST_PART} bytes, and all of it {LONGEST}."
    return None


def _alike(name: str) -> str:
    """What a file system sees that looks at neither case nor the way in which an accent is written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _harmless(value: str) -> str:
    return _UNFIT.sub("_", value)
