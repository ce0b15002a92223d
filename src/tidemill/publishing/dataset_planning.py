"""From what a person gathered to the plan of one package, by what the site's own packages are declared to hold.

A part of a dataset names packages by their attribute `modality` (or by the declaration's name), the dataset's format by
their attribute `format`; where a part comes in one format alone, it comes in that one. Of some items it holds what the
declared package of a project would hold of them; a word such as MERGED takes the package with the attribute
`includes_merged` whole; `includes_bulk` takes the project's own files that a declaration tells by an attribute `bulk`,
or by a value BULK. Each goes into a folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.domain.dataset_contents import INCLUDES, ContentsRefused, Fault, Part, Wanted
from tidemill.domain.package_plan import (
    Entry,
    FileEntry,
    PackagePlan,
    StorePlace,
    TextEntry,
    make_plan,
    read_plan,
)
from tidemill.domain.package_rules import matches
from tidemill.errors import InvalidFields, InvalidInput
from tidemill.pipelines.portal_entries import PackageEntry, PackageFilesEntry
from tidemill.publishing.plan_making import Declaration, NotMade, PackProject, Places, Stock, package_plan
from tidemill.publishing.planning import declarations, project_stock, sources

DATASET = "dataset"
README = "README.md"


@dataclass(slots=True)
class _Gathering:
    """A dataset's plan in the making."""

    declared: Sequence[Declaration]
    format: str
    places: Places
    entries: dict[str, Entry] = field(default_factory=dict)
    """By name inside."""
    taken: set[tuple[str, str, str]] = field(default_factory=set)
    """Project, source and key of files that are in it."""
    folders: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def add(self, project: str, folder: str, plan: PackagePlan) -> None:
        """Put what a plan holds into a folder; a file of a project is in a dataset once."""
        for entry in read_plan(plan.document).entries:
            if isinstance(entry, FileEntry):
                if (project, entry.source, entry.key) in self.taken:
                    continue
                self.taken.add((project, entry.source, entry.key))
            into = f"{folder}/{entry.into}"
            self.entries[into] = replace(entry, into=into)
        self.folders.append(folder)


async def dataset_plan(
    session: AsyncSession, format_: str, contents: Sequence[Wanted], store: StorePlace
) -> PackagePlan:
    """The plan of the package that these contents make. Raises InvalidFields; ContentsRefused with everything that
    cannot be had."""
    declared = [one for one in await declarations(session) if one.entry.per != "site"]
    if fault := _format_fault(declared, format_):
        raise InvalidFields({"format": [fault]})
    gathering = _Gathering(declared, format_, Places(await sources(session), store))
    rows = await fetch(session, "packages.projects", {"names": [one.project for one in contents]})
    projects = {row["name"]: row for row in rows}
    for wanted in contents:
        row = projects.get(wanted.project)
        if row is None:
            gathering.faults.append(Fault(wanted.project, "there is no such project."))
        elif row["locked"]:
            gathering.faults.append(Fault(wanted.project, "is locked; nothing of it can be had now."))
        else:
            _gather(gathering, wanted, await project_stock(session, _project(row)))
    if gathering.faults:
        raise ContentsRefused(gathering.faults)
    return _whole(gathering)


def formats(declared: Iterable[PackageEntry]) -> list[str]:
    """The formats that packages of projects and items are declared to have, in order."""
    return sorted({one for entry in declared if (one := _said(entry, "format"))})


def _format_fault(declared: Sequence[Declaration], format_: str) -> str | None:
    known = formats(one.entry for one in declared)
    if format_ in known or not known or not format_:
        return None
    return f'"{format_}" is not a valid choice. There are: {", ".join(known)}.'


def _gather(gathering: _Gathering, wanted: Wanted, stock: Stock) -> None:
    for part in wanted.parts:
        candidates = list(_candidates(gathering, part, stock))
        if not candidates:
            of = f" as {gathering.format}" if gathering.format else ""
            said = f"there is no such part{of}{_parts(gathering)}."
            gathering.faults.append(Fault(wanted.project, said, part.name))
        elif part.word:
            _gather_word(gathering, part, stock, candidates)
        else:
            _gather_items(gathering, part, stock, candidates)
    for word in wanted.includes:
        _gather_own(gathering, word, stock)


def _candidates(gathering: _Gathering, part: Part, stock: Stock) -> Iterator[Declaration]:
    """The declarations that a part may mean, in the dataset's format."""
    named = [one for one in gathering.declared if part.name in (_said(one.entry, "modality"), one.entry.name)]
    known = formats(one.entry for one in named)
    for one in named:
        of = _said(one.entry, "format")
        if of in (gathering.format, "") or (known == [of]):
            yield one


def _gather_word(gathering: _Gathering, part: Part, stock: Stock, candidates: Sequence[Declaration]) -> None:
    """What a project has of a part as one: the whole of a package."""
    assert stock.project is not None
    project = stock.project.name
    for made in candidates:
        entry = made.entry
        if entry.per == "project" and part.word.lower() in _words(entry) and matches(entry.where, _about(stock)):
            try:
                plan = package_plan(
                    _without_own(made, part.word), stock, _projects(stock), stock.items, gathering.places
                )
            except (NotMade, InvalidInput) as error:
                gathering.faults.append(Fault(project, f"{part.word}: {error}.", part.name))
                return
            gathering.add(project, f"{project}_{part.name}_{part.word}", plan)
            return
    gathering.faults.append(Fault(project, f"there is nothing {part.word} of it; name items.", part.name))


def _gather_items(gathering: _Gathering, part: Part, stock: Stock, candidates: Sequence[Declaration]) -> None:
    """What the chosen items have of a part."""
    assert stock.project is not None
    project = stock.project.name

    def fault(words: str, item: str = "") -> None:
        gathering.faults.append(Fault(project, words, part.name, item))

    known = {one.name: one for one in stock.items}
    for name in part.items:
        if name not in known:
            fault("is not in this project.", name)
        elif known[name].locked:
            fault("stands in a locked project, too.", name)
        elif not known[name].good:
            fault("cannot be had: its status is not good.", name)
    chosen = [known[name] for name in part.items if name in known and known[name].good and not known[name].locked]
    mine = stock.of(chosen)
    held: set[str] = set()
    folder, why = f"{project}_{part.name}", ""
    for made in _chosen(candidates, mine):
        entry = made.entry
        fitting = chosen if entry.per == "project" else [one for one in chosen if matches(entry.where, one.metadata)]
        try:
            plan = package_plan(_of_items(made), mine, _projects(stock), fitting, gathering.places)
        except NotMade:
            continue
        except InvalidInput as error:
            why = error.message
            continue
        gathering.add(project, folder if not held else f"{folder}_{entry.name}", plan)
        held |= set(plan.items)
    if why:
        fault(why)
        return
    of = f" as {gathering.format}" if gathering.format else ""
    for one in chosen:
        if one.name not in held:
            fault(f"has nothing of it{of}.", one.name)


def _chosen(candidates: Sequence[Declaration], mine: Stock) -> list[Declaration]:
    """The fewest declarations that hold everything of these items: one of projects that takes in what several items
    share, if they share anything; else those of projects; else those of items."""
    usual = [one for one in candidates if not _words(one.entry)]
    fitting = [one for one in usual if one.entry.per == "item" or matches(one.entry.where, _about(mine))]
    shared = any(len(file.items) > 1 for file in mine.files)
    of_projects = [one for one in fitting if one.entry.per == "project"]
    if shared and (both := [one for one in of_projects if one.entry.shared == "with"]):
        return both[:1]
    found = [one for one in of_projects if one.entry.shared != "with"][:1] or of_projects[:1]
    if not found:
        found = [one for one in fitting if one.entry.shared != "only"][:1]
    if shared and found and found[0].entry.shared == "without":
        found += [one for one in fitting if one.entry.shared == "only"][:1]
    return found or fitting[:1]


def _gather_own(gathering: _Gathering, word: str, stock: Stock) -> None:
    """A project's own files that are told by a word."""
    assert stock.project is not None
    rules: dict[str, PackageFilesEntry] = {}
    for made in gathering.declared:
        if made.entry.per == "project" and matches(made.entry.where, _about(stock)):
            for rule in made.entry.files:
                if rule.of == "project" and _tells(rule.attributes, word):
                    rules.setdefault(repr(rule), rule)
    project, part = stock.project.name, f"{INCLUDES}{word}"
    if not rules:
        gathering.faults.append(Fault(project, "no package of this site has such files.", part))
        return
    entry = PackageEntry(name=DATASET, per="project", file="{project}.zip", files=list(rules.values()))
    try:
        plan = package_plan(Declaration(entry, [], None, ""), stock, _projects(stock), stock.items, gathering.places)
    except (NotMade, InvalidInput):
        gathering.faults.append(Fault(project, "this project has none.", part))
        return
    gathering.add(project, f"{project}_{word.upper()}", plan)


def _of_items(made: Declaration) -> Declaration:
    """A declaration as one of whichever items, without what is the project's own."""
    entry = made.entry
    rules = [rule for rule in entry.files if rule.of == "items"]
    changed = {"per": "project", "file": "{project}.zip", "where": {}, "files": rules}
    return replace(made, entry=entry.model_copy(update=changed))


def _without_own(made: Declaration, word: str) -> Declaration:
    """A declaration without those of the project's own files that are asked for by other words."""
    rules = [rule for rule in made.entry.files if rule.of == "items" or rule.required or _tells(rule.attributes, word)]
    return replace(made, entry=made.entry.model_copy(update={"files": rules}))


def _words(entry: PackageEntry) -> set[str]:
    """What a declaration is for: `merged` for `includes_merged = true`. What is looked up is no such word."""
    said = (key for key, value in entry.attributes.items() if key.startswith(INCLUDES) and value is True)
    return {key.removeprefix(INCLUDES) for key in said}


def _tells(attributes: Mapping[str, Any], word: str) -> bool:
    """Whether attributes of files tell by a word: as a name, or as a value."""
    named = attributes.get(word.lower())
    values = [one for value in attributes.values() for one in (value if isinstance(value, list) else [value])]
    return bool(named) or any(isinstance(one, str) and one.lower() == word.lower() for one in values)


def _parts(gathering: _Gathering) -> str:
    known = sorted({_said(one.entry, "modality") for one in gathering.declared} - {""})
    return f"; there are: {', '.join(known)}" if known else ""


def _said(entry: PackageEntry, attribute: str) -> str:
    value = entry.attributes.get(attribute)
    return value if isinstance(value, str) and not value.startswith("{") else ""


def _projects(stock: Stock) -> Mapping[str, PackProject]:
    return {stock.project.name: stock.project} if stock.project else {}


def _about(stock: Stock) -> Mapping[str, Any]:
    return stock.project.metadata if stock.project else {}


def _project(row: Row) -> PackProject:
    return PackProject(row["name"], row["title"], row["metadata"], row["locked"])


def _whole(gathering: _Gathering) -> PackagePlan:
    """The plan, named by what decides its bytes: the same dataset of two people is one package."""
    entries = list(gathering.entries.values())
    if not any(isinstance(entry, FileEntry) for entry in entries):
        raise InvalidFields({"data": ["There is nothing in it yet."]})
    entries.append(TextEntry(README, _readme(gathering)))
    attributes = {"format": gathering.format} if gathering.format else {}

    def named(name: str) -> PackagePlan:
        return make_plan(
            name,
            DATASET,
            project=None,
            items=[],  # whose items these are is in the dataset, for its owner alone
            attributes=attributes,
            entries=entries,
            sources=gathering.places.sources,
            store=gathering.places.store,
        )

    return named(f"{DATASET}-{named(DATASET).fingerprint[:16]}.zip")


def _readme(gathering: _Gathering) -> str:
    title = next((one.title for one in gathering.declared if one.title), "")
    listed = "".join(f"- `{folder}/`\n" for folder in sorted(gathering.folders))
    said = f" of {title}" if title else ""
    return (
        f"# A dataset{said}\n\n{listed}\nEach folder has a README of its own where its package has one. "
        "`MANIFEST.sha256` has the checksum of every file: `sha256sum -c MANIFEST.sha256`.\n"
    )
