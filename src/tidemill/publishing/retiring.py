"""Retiring packages that nothing calls for any more: they are offered no longer, and go the way of replaced ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.domain.stored_json import written
from tidemill.errors import Conflict, NotFound
from tidemill.publishing import left_over
from tidemill.publishing.left_over import LeftOver
from tidemill.runner import runs

REASON = "nothing calls for this package any more"


@dataclass(slots=True)
class Retired:
    """What was taken out of the offer."""

    packages: list[LeftOver] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    """Their computed files. The bytes go by themselves after `publishing.keep_replaced`, or at once by
    `removing.remove_replaced`."""
    cancelled: int = 0
    """Tasks that were to make some of them."""


async def preview(
    session: AsyncSession, *, projects: Sequence[str] | None = None, names: Sequence[str] = ()
) -> list[LeftOver]:
    """What `retire` would do: all that is left over, or these packages.

    Raises UnknownIds, NotFound (there is no such package), Conflict (it is called for), InvalidInput.
    """
    if not names:
        return await left_over.found(session, projects=projects)
    left = await left_over.found(session, projects=await _whose(session, names) if projects is None else projects)
    by_name = {one.name: one for one in left}
    if strange := [name for name in names if name not in by_name]:
        await _refuse(session, strange)
    return [by_name[name] for name in dict.fromkeys(names)]


async def retire(session: AsyncSession, *, projects: Sequence[str] | None = None, names: Sequence[str] = ()) -> Retired:
    """Take packages that are left over out of the offer; tasks that were to make them are cancelled.

    What was done in runs stays on record, and is not published again. When something calls for one again, it is made
    anew. Raises as `preview` does.
    """
    would = await preview(session, projects=projects, names=names)
    await fetch(session, "package_runs.alone")  # no run of packages begins meanwhile
    asked = written([{"item": one.item, "revision": one.revision} for one in would])
    rows = await fetch(session, "left_over.retire", {"rows": asked})
    done = {row["item"] for row in rows}
    tasks = await fetch(session, "left_over.in_hand", {"items": sorted(done)})
    for run in sorted({task["run"] for task in tasks}):
        await runs.cancel(session, run, [task["task"] for task in tasks if task["run"] == run], reason=REASON)
    await runs.announce(session)
    files = [row["file"] for row in rows if row["file"] is not None]
    return Retired([one for one in would if one.item in done], files, len(tasks))


async def _whose(session: AsyncSession, names: Sequence[str]) -> list[str] | None:
    """The projects that these packages were made for, which alone need be planned to tell; None: all must be."""
    rows = await fetch(session, "package_runs.standing", {"names": written(list(names))})
    standing = await fetch(session, "left_over.whereabouts", {"names": written(list(names))})
    if any(row["loose"] for row in standing):
        return None
    projects = sorted({row["metadata"].get("project") or "" for row in rows if row["kind"] == "package"})
    known = await fetch(session, "packages.projects", {"names": projects})
    return projects if len(known) == len(projects) else None


async def _refuse(session: AsyncSession, names: Sequence[str]) -> None:
    rows: list[Row] = await fetch(session, "package_runs.standing", {"names": written(list(names))})
    there = {row["name"] for row in rows if row["kind"] == "package"}
    if missing := [name for name in names if name not in there]:
        raise NotFound(f"There is no package {missing[0]!r}.", hint="`tidemill computed-files` lists them.")
    raise Conflict(
        f"{names[0]!r} is not left over: it is called for, or gone already.",
        hint="Take out of the site file what declares it, or the files it is made of, and apply or sync first.",
    )
