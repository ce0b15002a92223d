"""Checking what a site file says of its portal, and the values of it that the database keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidemill.errors import InvalidInput
from tidemill.pipelines.locations import idle_options, located_store, store_fault
from tidemill.pipelines.nearest import nearest
from tidemill.pipelines.packages_check import package_faults
from tidemill.pipelines.portal_words import word_faults
from tidemill.pipelines.site_entries import SiteContent
from tidemill.pipelines.tables_check import table_faults

Place = tuple[str | int, ...]
Faults = Iterator[tuple[Place, str]]


def portal_faults(content: SiteContent, folder: Path) -> Faults:
    """What is wrong with tables, packages, publishing and portal; `folder` is the site file's."""
    yield from _text_faults(content, folder)
    yield from _publishing_faults(content)
    yield from word_faults(content)
    yield from table_faults(content)
    yield from package_faults(content, folder)
    for n, table in enumerate(content.tables):
        if table.source is not None:
            place, where = ("tables", n, "source"), f"table {table.name!r}"
            yield from _unknown(place, where, "source", table.source, content.sources)
        elif len(content.sources) != 1:
            yield ("tables", n), f"table {table.name!r} must say which source it is in; write source = …"


def portal_values(content: SiteContent, folder: Path) -> dict[str, Any]:
    """The columns of `Site` that hold them, texts of files included; only what is not at its default."""
    portal = content.portal.model_dump(exclude_defaults=True)
    if content.portal.terms is not None:
        terms = content.portal.terms
        portal["terms"] = {"version": terms.version, "text": _text(terms.text, terms.text_file, folder)}
    packages = []
    for entry in content.packages:
        made = entry.model_dump(exclude_defaults=True)
        made.pop("readme_file", None)
        if (text := _text(entry.readme, entry.readme_file, folder)) is not None:
            made["readme"] = text
        packages.append(made)
    publishing = content.publishing.model_dump(exclude_defaults=True)
    if content.publishing.store is not None:
        publishing["store"] = located_store(content.publishing.store, folder)
    return {
        "portal": portal,
        "publishing": publishing,
        "tables": [entry.model_dump(exclude_defaults=True) for entry in content.tables],
        "packages": packages,
    }


def _publishing_faults(content: SiteContent) -> Faults:
    store = content.publishing.store
    if store is not None and (fault := store_fault("store", store)):
        yield ("publishing", "store"), f"publishing: the store {fault}"
    elif store is not None:
        given = {"endpoint": content.publishing.endpoint, "region": content.publishing.region}
        for key, fault in idle_options(store, given):
            yield ("publishing", key), f"publishing {fault}"
    if store is None and content.publishing.upload:
        yield (
            ("publishing", "upload"),
            'publishing is to upload, and says not where to; write store = "s3://bucket/prefix".',
        )
    if (engine := content.publishing.engine) is not None:
        yield from _unknown(("publishing", "engine"), "publishing", "app", engine, content.apps)


def _unknown(place: Place, where: str, noun: str, name: str, entries: Any) -> Faults:
    known = [entry.name for entry in entries]
    if name not in known:
        close = nearest(name, known)
        right = f"did you mean {close!r}?" if close else f"there are: {', '.join(known) or 'none'}."
        yield place, f"{where} names the {noun} {name!r}, which is not in this file; {right}"


def _text_faults(content: SiteContent, folder: Path) -> Faults:
    wanted: list[tuple[Place, str | None, str | None, str]] = [
        (("packages", n, "readme_file"), entry.readme, entry.readme_file, "readme")
        for n, entry in enumerate(content.packages)
    ]
    if (terms := content.portal.terms) is not None:
        wanted.append((("portal", "terms", "text_file"), terms.text, terms.text_file, "text"))
        if terms.text is None and terms.text_file is None:
            yield ("portal", "terms"), 'the terms have no text; write text = "…" or text_file = "terms.md".'
    for place, text, name, key in wanted:
        if text is not None and name is not None:
            yield place, f"there is {key} and {key}_file; one of the two is enough."
        try:
            _text(text, name, folder)
        except InvalidInput as error:
            yield place, error.message


def _text(text: str | None, name: str | None, folder: Path) -> str | None:
    """The text itself, or that of the file. Raises InvalidInput."""
    if text is not None or name is None:
        return text
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{folder / name} cannot be read: {error}.") from error
