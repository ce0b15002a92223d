"""Which packages the site's declarations call for, and what is in each: plans that need no database any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.package_plan import PackagePlan, StorePlace
from tidemill.domain.package_rules import PackFile, PackItem, matches
from tidemill.errors import InvalidInput, NotFound
from tidemill.pipelines.portal_entries import PackageEntry
from tidemill.publishing.plan_making import (
    Declaration,
    NotMade,
    PackProject,
    Places,
    Stock,
    declaration,
    file_name,
    package_plan,
)

PAGE = 500
"""Items without a project that are planned at a time."""
NAMES_SHOWN = 10
LOCKED = "the project is locked"
"""Why no package of a project is planned."""


@dataclass(slots=True)
class LeftOut:
    """Packages that were not planned, for one reason."""

    package: str
    project: str | None
    why: str
    fault: bool
    """Whether somebody has to mend something; else there is just nothing to pack."""
    count: int = 0
    names: list[str] = field(default_factory=list)
    """The first of the items, for packages of items."""

    def sentence(self) -> str:
        """For a person."""
        whose = self.project or "the site"
        if self.count > 1 or self.names:
            shown = ", ".join(self.names) + (" …" if self.count > len(self.names) else "")
            whose = f"{shown} of {whose}" if self.project else shown
        return f"{self.package} of {whose}: {self.why}"


@dataclass(slots=True)
class Survey:
    """The packages that the declarations call for, and those that were left out and why."""

    plans: list[PackagePlan] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """File names of packages that there would be, if it were not for this reason."""
    unsure: set[tuple[str, str | None]] = field(default_factory=set)
    """Declarations and projects of which nobody can say now which packages there are: something has to be mended, or
    is locked."""
    locked: set[str] = field(default_factory=set)
    """Projects that are locked."""

    @property
    def faults(self) -> list[LeftOut]:
        """What somebody has to mend."""
        return [one for one in self.left_out if one.fault]

    def leave_out(self, package: str, project: str | None, why: str, fault: bool, item: str | None = None) -> None:
        """Note that a package was not planned; alike ones are gathered."""
        for one in reversed(self.left_out[-50:]):
            if (one.package, one.project, one.why, one.fault) == (package, project, why, fault):
                break
        else:
            one = LeftOut(package, project, why, fault)
            self.left_out.append(one)
        one.count += 1
        if item is not None and len(one.names) < NAMES_SHOWN:
            one.names.append(item)


async def surveys(session: AsyncSession, *, projects: Sequence[str] | None, store: StorePlace) -> AsyncIterator[Survey]:
    """All packages that the declarations call for, of all projects or of these, project by project, so that a large
    site need not be held at once; faults do not keep the rest from being planned.

    What takes long is planned in threads: pages may ask, too. Raises InvalidInput (a declaration that cannot be read),
    NotFound (a project).
    """
    names: dict[str, str] = {}
    async for part in _parts(session, projects=projects, store=store):
        planned, part.plans = part.plans, []
        for plan in planned:
            if other := names.get(plan.name):
                why = f"the file name {plan.name!r} is that of a package of {other!r}, too"
                part.leave_out(plan.package, plan.project, why, True)
            else:
                names[plan.name] = plan.package
                part.plans.append(plan)
        yield part


async def _parts(session: AsyncSession, *, projects: Sequence[str] | None, store: StorePlace) -> AsyncIterator[Survey]:
    """The same, in which two may have the same name."""
    declared = await declarations(session)
    places = Places(await sources(session), store)
    rows = await fetch(session, "packages.projects", {"names": None if projects is None else list(projects)})
    if projects is not None and (unknown := sorted(set(projects) - {row["name"] for row in rows})):
        raise NotFound(no_projects(unknown))
    for row in rows:
        stock = await project_stock(session, _project(row))
        yield await _planned(session, declared, stock, places)
    if projects is None:
        async for stock in _loose_stocks(session):
            yield await _planned(session, declared, stock, places)
        if any(one.entry.per == "site" for one in declared):
            yield await _of_site(session, declared, [_project(row) for row in rows], places)


def no_projects(names: Sequence[str]) -> str:
    """`There is no project named 'P9'.`, or that there are none of these names."""
    if len(names) == 1:
        return f"There is no project named {names[0]!r}."
    shown = ", ".join(map(repr, names[:NAMES_SHOWN])) + (" …" if len(names) > NAMES_SHOWN else "")
    return f"There are no projects named {shown}."


async def declarations(session: AsyncSession) -> list[Declaration]:
    """The site's `[[packages]]`, made ready. Raises InvalidInput."""
    row = await fetch_one(session, "packages.site") or {"title": "", "vocabulary": {}, "packages": [], "tables": []}
    ids = {
        table["into"]: table.get("columns", {}).get(table["id"], {}).get("field") or table["id"]
        for table in row["tables"]
        if table["describes"] == "parts" and table.get("into")
    }
    entries = [PackageEntry.model_validate(one) for one in row["packages"]]
    return [declaration(entry, row["title"], row["vocabulary"], ids) for entry in entries]


async def sources(session: AsyncSession) -> dict[str, StorePlace]:
    """Where files lie, by the source's name."""
    return {row["name"]: StorePlace(row["url"], row["options"]) for row in await fetch(session, "packages.sources")}


async def project_stock(session: AsyncSession, project: PackProject) -> Stock:
    """The items of a project, all their files, and the project's own files."""
    rows = await fetch(session, "packages.project_items", {"project": project.name})
    files = await fetch(session, "packages.item_files", {"items": [row["id"] for row in rows]})
    own = await fetch(session, "packages.project_files", {"project": project.name})
    return Stock(project, [_item(row) for row in rows], [_file(row) for row in (*files, *own)])


async def items_stock(session: AsyncSession, names: Sequence[str]) -> Stock:
    """These items with all their files, whatever projects they stand in."""
    rows = await fetch(session, "packages.named_items", {"names": list(names)})
    files = await fetch(session, "packages.item_files", {"items": [row["id"] for row in rows]})
    return Stock(None, [_item(row) for row in rows], [_file(row) for row in files])


async def _loose_stocks(session: AsyncSession) -> AsyncIterator[Stock]:
    after = 0
    while rows := await fetch(session, "packages.loose_items", {"after": after, "n": PAGE}):
        files = await fetch(session, "packages.item_files", {"items": [row["id"] for row in rows]})
        yield Stock(None, [_item(row) for row in rows], [_file(row) for row in files])
        after = rows[-1]["id"]


async def _planned(session: AsyncSession, declared: Sequence[Declaration], stock: Stock, places: Places) -> Survey:
    groups: dict[str, list[list[PackItem]]] = {}
    for one in declared:
        if one.entry.per == "item" and one.entry.shared not in groups:
            groups[one.entry.shared] = await _groups(session, one.entry, stock)
    return await asyncio.to_thread(_of_stock, declared, stock, groups, places)


def _of_stock(
    declared: Sequence[Declaration], stock: Stock, groups: Mapping[str, list[list[PackItem]]], places: Places
) -> Survey:
    """The packages of one stock. `groups`: the items of each package of items, by what a declaration says of files that
    items share."""
    found = Survey()
    whose = stock.project.name if stock.project else None
    projects = {stock.project.name: stock.project} if stock.project else {}
    for made in declared:
        entry = made.entry
        if entry.per == "site" or (entry.per == "project" and stock.project is None):
            continue
        if stock.project and stock.project.locked:
            found.leave_out(entry.name, whose, LOCKED, False)
            found.locked.add(stock.project.name)
        elif entry.per == "project" and stock.project:
            if matches(entry.where, stock.project.metadata):
                _try(found, made, stock, projects, stock.items, places)
        else:
            own = any(rule.of == "project" for rule in entry.files)
            for items in groups[entry.shared]:
                if any(one.locked for one in items):
                    found.leave_out(entry.name, whose, "an item stands in a locked project, too", False, items[0].name)
                    found.unsure.add((entry.name, whose))
                elif all(matches(entry.where, one.metadata) for one in items):
                    _try(found, made, stock.of(items, own=own), projects, items, places)
    return found


async def _groups(session: AsyncSession, entry: PackageEntry, stock: Stock) -> list[list[PackItem]]:
    """The items of each package of items: one by one, or those that share files. Each is planned in one place only:
    where the first of the projects of its first item is."""
    whose = stock.project.name if stock.project else None
    home = {one.name: one for one in stock.items if (one.projects[0] if one.projects else None) == whose}
    if entry.shared != "only":
        return [[one] for one in home.values()]
    shared = sorted({file.items for file in stock.files if len(file.items) > 1 and file.items[0] in home})
    known = {one.name: one for one in stock.items}
    missing = sorted({name for names in shared for name in names} - known.keys())
    if missing:
        known |= {one.name: one for one in (await items_stock(session, missing)).items}
    return [[known[name] for name in names] for names in shared]


def _try(
    found: Survey,
    made: Declaration,
    stock: Stock,
    projects: Mapping[str, PackProject],
    items: Sequence[PackItem],
    places: Places,
) -> None:
    """Plan one package; note why where it cannot be."""
    whose = stock.project.name if stock.project else None
    item = items[0].name if made.entry.per == "item" else None
    try:
        found.plans.append(package_plan(made, stock, projects, items, places))
    except NotMade as reason:
        found.leave_out(made.entry.name, whose, str(reason), False, item)
        found.absent[file_name(made.entry, stock, items)] = str(reason)
    except InvalidInput as error:
        found.leave_out(made.entry.name, whose, error.message, True, item)
        found.unsure.add((made.entry.name, whose if made.entry.per != "site" else None))


async def _of_site(
    session: AsyncSession, declared: Iterable[Declaration], projects: Sequence[PackProject], places: Places
) -> Survey:
    """The packages that hold something of all projects but the locked ones."""
    found = Survey()
    rows = await fetch(session, "packages.all_items")
    files = await fetch(session, "packages.item_files", {"items": [row["id"] for row in rows]})
    own = await fetch(session, "packages.project_files", {"project": None})
    items = [_item(row) for row in rows if not row["locked"]]
    stock = Stock(None, items, [_file(row) for row in (*files, *own)])
    shown = {one.name: one for one in projects if not one.locked}
    for made in declared:
        if made.entry.per == "site":
            await asyncio.to_thread(_try, found, made, stock, shown, stock.items, places)
    return found


def _project(row: Row) -> PackProject:
    return PackProject(row["name"], row["title"], row["metadata"], row["locked"])


def _item(row: Row) -> PackItem:
    return PackItem(row["name"], row["metadata"], tuple(row["projects"]), row["status"] == "good", row["locked"])


def _file(row: Row) -> PackFile:
    return PackFile(
        source=row["source"],
        key=row["key"],
        size=row["size"],
        etag=row["etag"],
        attributes=row["attributes"],
        items=tuple(row["items"]),
        project=row["project"],
        changed_at=row["changed_at"],
    )
