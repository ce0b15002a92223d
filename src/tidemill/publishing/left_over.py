"""Packages that are left over: there, and called for by nothing any more. Its declaration was renamed or taken out, or
its item, its files are gone.

Only who plans all packages can tell, so the commands that do note it on the packages' records, with the reason. What
nobody can tell about (a declaration that cannot be read as it is, a locked project) counts as called for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.package_plan import StorePlace
from tidemill.domain.stored_json import written
from tidemill.publishing import planning
from tidemill.publishing.planning import Survey

CHUNK = 2000
NOTE = "left_over"
"""The key of a package's record that says why nothing calls for it."""


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A package that nothing calls for any more."""

    item: int
    revision: int
    """Of its record, as it was looked at."""
    name: str
    package: str
    project: str | None
    why: str
    size: int
    """Bytes of its current file; 0: it has none."""
    downloads: int
    run: int | None
    """The run that has it in hand."""


@dataclass(slots=True)
class Called:
    """What the declarations call for, gathered from a survey of `projects` (None: of all) as it goes."""

    projects: Sequence[str] | None
    names: set[str] = field(default_factory=set)
    absent: dict[str, str] = field(default_factory=dict)
    unsure: set[tuple[str, str | None]] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)

    def take(self, part: Survey) -> None:
        """One part of the survey."""
        self.names.update(plan.name for plan in part.plans)
        self.absent |= part.absent
        self.unsure |= part.unsure
        self.locked |= part.locked

    def lacks(self, row: Row, projects: Collection[str | None]) -> bool:
        """Whether it is sure that these projects call for a package no more."""
        if row["name"] in self.names or not self.locked.isdisjoint(projects):
            return False
        return not any((row["package"], project) in self.unsure for project in projects)


async def found(session: AsyncSession, *, projects: Sequence[str] | None = None) -> list[LeftOver]:
    """The packages that are left over, of all projects or of these, by name. Raises InvalidInput, NotFound."""
    return await among(session, await _surveyed(session, projects))


async def among(session: AsyncSession, called: Called) -> list[LeftOver]:
    """The packages that are left over, in order of name, once all has been surveyed."""
    rows = [row async for row in _known(session, called.projects) if called.lacks(row, [row["project"]])]
    rows = await _nowhere_called(session, called, rows)
    declared = {row["name"] for row in await fetch(session, "left_over.declared")}
    left = [_left_over(row, declared, called.absent) for row in rows]
    gone = await _items_gone(session, [one.name for one in left if not one.why])
    return [one if one.why else _because(one, one.name in gone) for one in left]


async def note(session: AsyncSession, called: Called, left: Sequence[LeftOver]) -> None:
    """Let the records of packages say which of them are left over, and why; those that are no more say it no more."""
    rows = [{"item": one.item, "why": one.why} for one in left]
    await fetch(session, "left_over.note", {"rows": written(rows)})
    noted = await fetch(session, "left_over.noted", {"projects": _scope(called.projects)})
    if again := [row["id"] for row in noted if row["name"] in called.names]:
        await fetch(session, "left_over.forget", {"items": again})


async def count(session: AsyncSession) -> int:
    """How many packages are noted as left over, or declared no more."""
    row = await fetch_one(session, "left_over.count")
    return int(row["n"]) if row else 0


async def _surveyed(session: AsyncSession, projects: Sequence[str] | None) -> Called:
    called = Called(projects)
    async for part in planning.surveys(session, projects=projects, store=StorePlace("")):
        called.take(part)
    return called


async def _known(session: AsyncSession, projects: Sequence[str] | None) -> AsyncIterator[Row]:
    """The packages that can be downloaded, or that a run has made or is to make; but no datasets."""
    after = ""
    while True:
        asked = {"projects": _scope(projects), "after": after, "n": CHUNK}
        rows = await fetch(session, "left_over.known", asked, prepare=False)
        for row in rows:
            yield row
        if len(rows) < CHUNK:
            return
        after = rows[-1]["name"]


async def _nowhere_called(session: AsyncSession, called: Called, rows: Sequence[Row]) -> list[Row]:
    """The same without those that a project may call for in which their items stand now, surveyed yet or not."""
    names = written([row["name"] for row in rows])
    held = {row["name"]: row for row in await fetch(session, "left_over.whereabouts", {"names": names})} if rows else {}
    elsewhere = Called(None)
    if called.projects is not None:
        rows = [row for row in rows if not held[row["name"]]["loose"]]
        others = {one for row in rows for one in held[row["name"]]["projects"]} - set(called.projects)
        elsewhere = await _surveyed(session, sorted(others)) if others else elsewhere
    stands: dict[str, list[str | None]] = {
        name: [*row["projects"], None] if row["loose"] else row["projects"] for name, row in held.items()
    }
    return [row for row in rows if all(one.lacks(row, stands[row["name"]]) for one in (called, elsewhere))]


async def _items_gone(session: AsyncSession, names: Sequence[str]) -> Collection[str]:
    """Those packages whose items are all gone."""
    if not names:
        return ()
    return {row["name"] for row in await fetch(session, "left_over.empty", {"names": written(list(names))})}


def _left_over(row: Row, declared: Collection[str], absent: Mapping[str, str]) -> LeftOver:
    why = absent.get(row["name"], "")
    if row["package"] not in declared:
        why = f"the site file declares no package {row['package']!r} any more"
    return LeftOver(
        row["id"], row["revision"], row["name"], row["package"], row["project"], why,
        row["size"] or 0, row["downloads"] or 0, row["run"],
    )  # fmt: skip


def _because(one: LeftOver, gone: bool) -> LeftOver:
    why = "its items are gone" if gone else f"package {one.package!r} as it is declared now makes none of this name"
    return LeftOver(
        one.item, one.revision, one.name, one.package, one.project, why, one.size, one.downloads, one.run
    )  # fmt: skip


def _scope(projects: Sequence[str] | None) -> list[str] | None:
    return None if projects is None else list(projects)
