"""Checking `[[packages]]`: what cannot be, or would quietly select nothing, is told before it is applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tidemill.domain.layout import compile_pattern
from tidemill.domain.package_plan import MANIFEST
from tidemill.domain.package_rules import PLACEHOLDER, name_fault
from tidemill.errors import InvalidInput
from tidemill.pipelines.nearest import nearest
from tidemill.pipelines.package_readme import readme_fault
from tidemill.pipelines.portal_entries import PackageEntry
from tidemill.pipelines.site_entries import SiteContent

Place = tuple[str | int, ...]
Faults = Iterator[tuple[Place, str]]

FILE_NAMES: Mapping[str, tuple[str, ...]] = {"project": ("project",), "item": ("item", "items", "project"), "site": ()}
"""What a file name may have in braces, by what a package is made of."""
GIVEN = ("item", "items", "project", "name", "key")
"""What a name inside may have in braces, beside attributes."""
DATASET = "dataset"
"""The name that packages have which people put together."""


def package_faults(content: SiteContent, folder: Path) -> Faults:
    """What is wrong with the packages of a site file; `folder` is the file's own."""
    attributes = _attributes(content)
    lists = {table.into for table in content.tables if table.describes == "parts" and table.into}
    files: dict[str, str] = {}
    for n, entry in enumerate(content.packages):
        where = f"package {entry.name!r}"
        faults = [*_name_faults(entry, files), *_content_faults(entry, attributes), *_table_faults(entry, lists)]
        for place, message in (*faults, *_readme_faults(entry, folder)):
            yield ("packages", n, *place), f"{where}: {message}"
        files.setdefault(entry.file, entry.name)


def _attributes(content: SiteContent) -> frozenset[str]:
    """The attributes that layout rules give."""
    found: set[str] = set()
    for source in content.sources:
        for entry in source.layout:
            found |= entry.attributes.keys()
            try:
                found |= compile_pattern(entry.rule()).groupindex.keys()
            except InvalidInput:  # told already
                continue
    return frozenset(found - {"item", "project"})


def _name_faults(entry: PackageEntry, others: Mapping[str, str]) -> Faults:
    if entry.name == DATASET:
        yield ("name",), f"{DATASET!r} is what packages are called that people put together; take another name."
    known = FILE_NAMES[entry.per]
    wanted = PLACEHOLDER.findall(entry.file)
    for name in wanted:
        if name not in known:
            yield ("file",), f"the file name has {{{name}}}, which nothing fills; {_there_are(known)}"
    if not entry.file.endswith(".zip"):
        yield ("file",), f"the file name {entry.file!r} must end in .zip."
    if fault := name_fault(PLACEHOLDER.sub("x", entry.file)):
        yield ("file",), f"the file name is {entry.file!r}, {fault}"
    elif "/" in entry.file:
        yield ("file",), f"the file name is {entry.file!r}; it cannot have a /."
    if entry.per == "project" and "project" not in wanted:
        yield ("file",), "without {project} in the file name all projects' packages would have the same."
    if entry.per == "item" and not {"item", "items"} & set(wanted):
        yield ("file",), "without {item} in the file name all packages would have the same."
    if entry.file in others:
        yield ("file",), f"package {others[entry.file]!r} has the same file name."


def _content_faults(entry: PackageEntry, attributes: frozenset[str]) -> Faults:
    if not entry.files and not entry.tables:
        yield (), "it has neither files nor tables, so nothing would be in it."
    if entry.shared == "only" and entry.per == "item" and "items" not in PLACEHOLDER.findall(entry.file):
        yield ("file",), 'shared = "only" makes packages of several items; name them by {items}.'
    yield from _unknown_attributes(("holding",), entry.holding, attributes)
    for key, value in entry.attributes.items():
        if isinstance(value, dict) and set(value) == {"has"} and isinstance(value["has"], dict):
            yield from _unknown_attributes(("attributes", key), value["has"], attributes)
        elif isinstance(value, dict):
            yield ("attributes", key), f"{key} is a table; there is only {{ has = {{ attribute = value }} }}."
    for n, rule in enumerate(entry.files):
        place = ("files", n)
        yield from _unknown_attributes((*place, "attributes"), rule.attributes, attributes)
        for name in PLACEHOLDER.findall(rule.into):
            if name not in GIVEN and name not in attributes:
                known = [*GIVEN, *sorted(attributes)]
                yield (*place, "into"), f"into has {{{name}}}, which nothing fills; {_right(name, known)}"
            elif rule.of == "project" and (name == "items" or (name == "item" and entry.per != "item")):
                yield (*place, "into"), f"into has {{{name}}}, but files of the project belong to no item."
        if fault := name_fault(PLACEHOLDER.sub("x", rule.into)):
            yield (*place, "into"), f"into is {rule.into!r}, {fault}"


def _table_faults(entry: PackageEntry, lists: Iterable[str]) -> Faults:
    known = sorted(lists)
    taken: dict[str, str] = {MANIFEST.casefold(): "the manifest"}
    if entry.readme is not None or entry.readme_file is not None:
        taken[entry.readme_name.casefold()] = "the readme"
        if fault := name_fault(entry.readme_name):
            yield ("readme_name",), f"readme_name is {entry.readme_name!r}, {fault}"
    for n, table in enumerate(entry.tables):
        place = ("tables", n)
        if fault := name_fault(table.name):
            yield (*place, "name"), f"a table is called {table.name!r}, {fault}"
        if other := taken.get(table.name.casefold()):
            yield (*place, "name"), f"a table is called {table.name!r}, as {other} is."
        taken[table.name.casefold()] = "another table"
        if known and table.rows != "items" and table.rows not in known:
            yield (
                (*place, "rows"),
                f"no metadata file makes a list {table.rows!r}; {_right(table.rows, ['items', *known])}",
            )


def _readme_faults(entry: PackageEntry, folder: Path) -> Faults:
    text, key = entry.readme, "readme"
    if text is None and entry.readme_file is not None:
        key = "readme_file"
        try:
            text = (folder / entry.readme_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):  # told with the other texts
            return
    if text is not None and (fault := readme_fault(text)):
        yield (key,), fault


def _unknown_attributes(place: Place, wanted: Mapping[str, Any], attributes: frozenset[str]) -> Faults:
    for name in wanted:
        if name not in attributes:
            yield (
                (*place, name),
                f"no layout rule gives files the attribute {name!r}; {_right(name, sorted(attributes))}",
            )


def _right(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else _there_are(known, braces=False)


def _there_are(known: Iterable[str], braces: bool = True) -> str:
    names = ", ".join(f"{{{name}}}" if braces else name for name in known)
    return f"there are: {names or 'none'}."
