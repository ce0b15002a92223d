"""What lies in a basket, as a dataset has it: `{project: {part: [items] | word, "includes_x": true}}`.

A part is what packages call their `modality`, or a package by its name; a word (`MERGED`) is what a project has of a
part as one; `includes_x` adds files of the project itself. Nothing here changes what it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.db.database import Row

Contents = Mapping[str, Mapping[str, Any]]
INCLUDES = "includes_"


@dataclass(frozen=True, slots=True)
class Declared:
    """What the site's packages are declared to hold, as far as baskets go."""

    formats: list[str]
    per_item: dict[str, set[str]]
    """Of each part, the formats that packages of single items have it in."""
    words: dict[str, list[str]]
    """Of each part, the words for what a project has of it as one."""
    own: list[str]
    """What files of the project itself are told by."""
    parts: list[str] = field(default_factory=list)
    """All that an item can be gathered by."""


@dataclass(frozen=True, slots=True)
class Line:
    """One part of one project in a basket."""

    project: str
    part: str
    items: list[str] = field(default_factory=list)
    word: str = ""


def declared(packages: Iterable[Mapping[str, Any]]) -> Declared:
    """From `Site.packages`."""
    made, own = Declared([], {}, {}, []), set[str]()
    packages = [one for one in packages if one.get("per") in ("project", "item")]
    parts = {part_of(one["name"], one.get("attributes") or {}) for one in packages}
    for one in packages:
        attributes = one.get("attributes") or {}
        part, form = part_of(one["name"], attributes), format_of(attributes)
        if form and form not in made.formats:
            made.formats.append(form)
        if part not in made.parts and not _only_metadata(attributes):
            made.parts.append(part)
        if one["per"] == "item":
            made.per_item.setdefault(part, set()).add(form)
        for key, value in attributes.items() if one["per"] == "project" else ():
            if key.startswith(INCLUDES) and value is True:
                word = key.removeprefix(INCLUDES).upper()
                made.words.setdefault(part, [])
                if word not in made.words[part]:
                    made.words[part].append(word)
        for rule in one.get("files") or ():
            word = (rule.get("attributes") or {}).get("modality")
            if rule.get("of") == "project" and isinstance(word, str) and word not in parts:
                own.add(word.lower())
    made.formats.sort()
    made.parts.sort()
    made.own.extend(sorted(own))
    return made


def part_of(package: str, attributes: Mapping[str, Any]) -> str:
    """The part that a package is of."""
    said = attributes.get("modality")
    return said if isinstance(said, str) and said and not said.startswith("{") else package


def format_of(attributes: Mapping[str, Any]) -> str:
    said = attributes.get("format")
    return said if isinstance(said, str) and not said.startswith("{") else ""


def parts_in(files: Sequence[Row]) -> list[str]:
    """The parts that some computed files are of, in order; those that hold metadata alone are of none."""
    real = (one for one in files if not _only_metadata(one["attributes"]))
    return sorted({part_of(one["package"], one["attributes"]) for one in real})


def fits(files: Sequence[Row], part: str, form: str, known: Declared) -> bool:
    """Whether an item with these computed files has something of a part in a format."""
    formats = known.per_item.get(part)
    if formats is None:  # nothing tells: the check of the dataset will
        return True
    wanted = formats if len(formats) == 1 or not form else {form, ""}
    return any(part_of(one["package"], one["attributes"]) == part and format_of(one["attributes"]) in wanted
               for one in files)  # fmt: skip


def had_as_one(files: Sequence[Row], part: str) -> list[str]:
    """The words for what a project with these computed files has of a part as one."""
    attributes = [one["attributes"] for one in files if part_of(one["package"], one["attributes"]) == part]
    words = {key.removeprefix(INCLUDES).upper() for said in attributes for key, value in said.items()
             if key.startswith(INCLUDES) and value is True}  # fmt: skip
    return sorted(words)


def has_own(files: Sequence[Row], word: str) -> bool:
    """Whether a project may have files of its own told by a word: unless its computed files say that it has none."""
    said = [value for one in files for key, value in one["attributes"].items() if word in key.split("_")]
    return not said or any(said)


def with_items(contents: Contents, project: str, part: str, items: Iterable[str]) -> dict[str, Any]:
    """With these items more; what is there as one gives way to them."""
    parts = dict(contents.get(project, {}))
    before = parts.get(part)
    parts[part] = sorted({*(before if isinstance(before, list) else ()), *items})
    return {**contents, project: parts}


def with_value(contents: Contents, project: str, key: str, value: Any) -> dict[str, Any]:
    """With a word for a part, or with or without files of the project itself."""
    return {**contents, project: {**contents.get(project, {}), key: value}}


def without(contents: Contents, project: str, part: str = "", item: str = "") -> dict[str, Any]:
    """Without an item of a part, without a part, or without a project; what is empty then goes, too."""
    rest = {name: dict(parts) for name, parts in contents.items()}
    parts = rest.get(project, {})
    if item and isinstance(parts.get(part), list):
        parts[part] = [one for one in parts[part] if one != item]
    elif part:
        parts.pop(part, None)
    else:
        parts.clear()
    if not any(value for value in parts.values()):
        rest.pop(project, None)
    return rest


def lines(contents: Contents) -> dict[str, list[Line]]:
    """What is in it, project by project."""
    found: dict[str, list[Line]] = {}
    for project in sorted(contents):
        for part, value in sorted(contents[project].items()):
            if part.startswith(INCLUDES):
                found.setdefault(project, [])
            elif isinstance(value, list) and value:
                found.setdefault(project, []).append(Line(project, part, items=list(value)))
            elif isinstance(value, str):
                found.setdefault(project, []).append(Line(project, part, word=value))
    return found


def count(contents: Contents) -> int:
    """How much is in it: items of parts, and parts that are taken as one."""
    return sum(len(line.items) or 1 for some in lines(contents).values() for line in some)


def _only_metadata(attributes: Mapping[str, Any]) -> bool:
    return any("metadata_only" in key and value is True for key, value in attributes.items())
