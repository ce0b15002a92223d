"""From one declaration and what there is to pack, to the plan of one package. Reads no database."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Template

from tidemill.domain.package_plan import Entry, FileEntry, PackagePlan, StorePlace, TextEntry, make_plan
from tidemill.domain.package_rules import (
    PackFile,
    PackItem,
    Subject,
    attribute_values,
    matches,
    name_faults,
    name_inside,
    package_name,
    takes_shared,
)
from tidemill.domain.package_tables import Table, TableRule, make_table
from tidemill.errors import InvalidInput
from tidemill.pipelines.package_readme import readme_template, render
from tidemill.pipelines.portal_entries import PackageEntry, PackageFilesEntry

FAULTS_SHOWN = 10


class NotMade(Exception):
    """There is nothing to make a package of; the message says why. No fault of anybody's."""


@dataclass(frozen=True, slots=True)
class PackProject:
    """A project as packages see it."""

    name: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    locked: bool = False


@dataclass(frozen=True)
class Stock:
    """What there is to pack: of one project, of items without one, or of the whole site."""

    project: PackProject | None
    items: Sequence[PackItem]
    files: Sequence[PackFile]

    @cached_property
    def by_item(self) -> Mapping[str, list[PackFile]]:
        """The files of each item."""
        found: dict[str, list[PackFile]] = defaultdict(list)
        for file in self.files:
            for name in file.items:
                found[name].append(file)
        return found

    @cached_property
    def own(self) -> list[PackFile]:
        """The files that belong to no item."""
        return [file for file in self.files if not file.items]

    def of(self, items: Sequence[PackItem], *, own: bool = True) -> Stock:
        """What belongs to these items and, with `own`, what belongs to no item."""
        files = {(file.source, file.key): file for one in items for file in self.by_item.get(one.name, ())}
        return Stock(self.project, items, [*files.values(), *(self.own if own else ())])


@dataclass(frozen=True, slots=True)
class Places:
    """Where files come from and packages go."""

    sources: Mapping[str, StorePlace]
    store: StorePlace


@dataclass(frozen=True, slots=True)
class Declaration:
    """One entry of `[[packages]]`, made ready."""

    entry: PackageEntry
    tables: Sequence[tuple[str, TableRule]]
    readme: Template | None
    title: str
    """The site's."""


def declaration(
    entry: PackageEntry, site_title: str, words: Mapping[str, str], part_ids: Mapping[str, str]
) -> Declaration:
    """An entry made ready. `words`: the site's vocabulary; `part_ids`: what names a part, by the key of their list."""
    tables = [
        (
            table.name,
            TableRule(
                rows=table.rows,
                columns=table.columns,
                where=table.where,
                project_column=table.project_column or words.get("project", "project"),
                item_column=table.item_column or words.get("item", "item"),
                first=[part_ids[table.rows]] if table.rows in part_ids else [],
            ),
        )
        for table in entry.tables
    ]
    readme = readme_template(entry.readme) if entry.readme is not None else None
    return Declaration(entry, tables, readme, site_title)


def package_plan(
    made: Declaration, stock: Stock, projects: Mapping[str, PackProject], items: Sequence[PackItem], places: Places
) -> PackagePlan:
    """The plan of one package: of these items for a package of items; for others, of those of the stock that qualify.

    Raises NotMade where there is nothing to pack, InvalidInput where what is declared cannot be.
    """
    entry = made.entry
    project = stock.project if entry.per != "site" else None
    subject = _subject(entry, stock, items)
    name = package_name(entry.file, subject)
    qualified = [one for one in items if one.good and _qualifies(entry, one, stock)]
    if entry.per == "item" and len(qualified) < len(items):
        bad = not all(one.good for one in items)
        raise NotMade("its status is not good" if bad else "it does not have what the declaration asks of items")
    chosen = _chosen_files(entry, subject, stock, qualified)
    held = _held(entry, qualified, [file for _, file in chosen])
    named = [(name_inside(rule.into, file, subject), file) for rule, file in chosen]
    named = list({(into, file.source, file.key): (into, file) for into, file in named}.values())
    named.sort(key=lambda one: one[0].encode())
    files = [file for _, file in named]
    attributes = attribute_values(entry.attributes, project.metadata if project else {}, held, files)
    tables = _tables(made, held, projects, project)
    if not files and not tables:
        raise NotMade("nothing qualifies for it")
    texts = [TextEntry(into, table.text) for into, table in tables]
    if made.readme is not None:
        context = _context(made, name, attributes, project, projects, held, named, tables)
        texts.append(TextEntry(entry.readme_name, render(made.readme, context)))
    entries = _entries(named, texts)
    return make_plan(
        name,
        entry.name,
        project=subject.project,
        items=[one.name for one in held],
        attributes=attributes,
        entries=entries,
        sources=places.sources,
        store=places.store,
    )


def file_name(entry: PackageEntry, stock: Stock, items: Sequence[PackItem]) -> str:
    """What the package of these items, or of the stock, is called. Raises InvalidInput."""
    return package_name(entry.file, _subject(entry, stock, items))


def _subject(entry: PackageEntry, stock: Stock, items: Sequence[PackItem]) -> Subject:
    project = stock.project.name if stock.project and entry.per != "site" else None
    return Subject(project, tuple(one.name for one in items) if entry.per == "item" else ())


def _qualifies(entry: PackageEntry, item: PackItem, stock: Stock) -> bool:
    if not matches(entry.items, item.metadata):
        return False
    own = stock.by_item.get(item.name, ())
    return not entry.holding or any(matches(entry.holding, file.attributes) for file in own)


def _chosen_files(
    entry: PackageEntry, subject: Subject, stock: Stock, items: Sequence[PackItem]
) -> list[tuple[PackageFilesEntry, PackFile]]:
    """The files that the declaration takes, each with the rule that takes it. Raises NotMade."""
    if not (stock.by_item if subject.items else stock.files):
        raise NotMade("it has no files" if subject.items else "there are no files")
    known, wanted = {one.name for one in stock.items}, {one.name for one in items}
    chosen: list[tuple[PackageFilesEntry, PackFile]] = []
    for rule in entry.files:
        found = [
            (rule, file)
            for file in stock.files
            if matches(rule.attributes, file.attributes) and _takes(entry, rule, subject, file, known, wanted)
        ]
        if rule.required and not found:
            raise NotMade(f"it has no files with {_words(rule.attributes)}, which must be in it")
        chosen += found
    if entry.files and not chosen:
        raise NotMade("none of the files fit")
    return chosen


def _takes(
    entry: PackageEntry, rule: PackageFilesEntry, subject: Subject, file: PackFile, known: set[str], wanted: set[str]
) -> bool:
    if rule.of == "project":
        return not file.items
    if not file.items or not takes_shared(entry.shared, file):
        return False
    if subject.items and entry.shared == "only":
        return file.items == subject.items
    if subject.items:
        return bool(wanted & set(file.items))
    # A file of several items is left out with any of them: what is bad in one is bad in it.
    return set(file.items) & known <= wanted and bool(set(file.items) & wanted)


def _held(entry: PackageEntry, items: Sequence[PackItem], files: Sequence[PackFile]) -> list[PackItem]:
    """The items that the package holds: those with a file in it; all that qualify where it has none of items."""
    if entry.per == "item" or not any(rule.of == "items" for rule in entry.files):
        return list(items)
    in_it = {name for file in files for name in file.items}
    return [one for one in items if one.name in in_it]


def _tables(
    made: Declaration, items: Sequence[PackItem], projects: Mapping[str, PackProject], project: PackProject | None
) -> list[tuple[str, Table]]:
    about = {name: {"title": one.title, **one.metadata} for name, one in projects.items()}
    whose = project.name if project else None
    tables = [(name, make_table(rule, items, about, whose)) for name, rule in made.tables]
    return [(name, table) for name, table in tables if table.rows]


def _context(
    made: Declaration,
    name: str,
    attributes: Mapping[str, Any],
    project: PackProject | None,
    projects: Mapping[str, PackProject],
    items: Sequence[PackItem],
    named: Sequence[tuple[str, PackFile]],
    tables: Sequence[tuple[str, Table]],
) -> dict[str, Any]:
    """What a README's template is given; `docs/how-to/packages.md` describes it."""
    within = {one for item in items for one in item.projects}
    return {
        "site": {"title": made.title},
        "package": {
            "name": name,
            "declaration": made.entry.name,
            "title": made.entry.title,
            "attributes": attributes,
        },
        "project": _project_context(project) if project else None,
        "projects": [_project_context(one) for _, one in sorted(projects.items()) if one.name in within],
        "items": [{"name": one.name, "metadata": one.metadata, "projects": one.projects} for one in items],
        "files": [
            {"name": into, "size": file.size, "key": file.key, "attributes": file.attributes, "items": file.items}
            for into, file in named
        ],
        "tables": [{"name": one, "rows": table.rows, "columns": table.columns} for one, table in tables],
        "changed_at": _newest(file.changed_at for _, file in named),
    }


def _project_context(project: PackProject) -> dict[str, Any]:
    return {"name": project.name, "title": project.title, "metadata": project.metadata}


def _newest(times: Any) -> dt.datetime | None:
    known = [time.astimezone(dt.UTC) for time in times if time is not None]
    return max(known, default=None)


def _entries(named: Sequence[tuple[str, PackFile]], texts: Sequence[TextEntry]) -> list[Entry]:
    """All that is in the package. Raises InvalidInput for names that cannot stand in one archive."""
    origins = [(text.into, f"the text {text.into}") for text in texts]
    origins += [(into, f"{file.source}: {file.key}") for into, file in named]
    faults = list(name_faults(origins))
    if faults:
        more = f" … and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise InvalidInput(" ".join(faults[:FAULTS_SHOWN]) + more)
    files = [FileEntry(into, file.source, file.key, file.size, file.etag) for into, file in named]
    return [*texts, *files]


def _words(attributes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in attributes.items()) or "any attributes"
