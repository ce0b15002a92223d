"""Looking whether the bytes of current computed files lie in their stores as they should; nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch
from tidemill.publishing.computed_files import known_projects
from tidemill.publishing.objects import Look, Unseen

CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Amiss:
    """A computed file whose bytes are not there, or are not so many; `why` in words."""

    id: int
    name: str
    project: str | None
    store: str
    key: str
    size: int
    why: str


@dataclass(slots=True)
class Checked:
    """What was found. `seen`: how many files of which the stores said how they are."""

    seen: int = 0
    amiss: list[Amiss] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)


async def check(session: AsyncSession, *, projects: Sequence[str] | None = None) -> Checked:
    """Look at what is current, of all projects or of these. Raises NotFound (a project)."""
    await known_projects(session, projects)
    checked, look, after = Checked(), Look(), 0
    while True:
        asked = {"after": after, "projects": None if projects is None else list(projects), "n": CHUNK}
        rows = await fetch(session, "computed_files.standing", asked)
        amiss = await look.amiss(rows)
        checked.seen += len(rows)
        checked.amiss += [
            Amiss(row["file"], row["name"], row["project"], row["store"], row["key"], row["size"], amiss[row["file"]])
            for row in rows
            if row["file"] in amiss
        ]
        if len(rows) < CHUNK:
            break
        after = rows[-1]["file"]
    checked.unseen = look.told()
    checked.seen -= sum(one.count for one in checked.unseen)
    return checked
