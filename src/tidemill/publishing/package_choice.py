"""Which planned packages are due: compared with what is there, and with what runs have in hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch
from tidemill.domain.item_edits import check_name
from tidemill.domain.kinds import Kind
from tidemill.domain.package_plan import PackagePlan, StorePlace
from tidemill.domain.stored_json import written
from tidemill.errors import Conflict
from tidemill.publishing.objects import Look
from tidemill.storage.documents import DocumentStore

CHUNK = 500
"""Packages that are looked up at a time."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A package that was left alone, because a run has it in hand."""

    name: str
    run: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A package as it is to be. Its plan's document is safe; `stored` says where."""

    name: str
    package: str
    size: int
    """Bytes of the files in it."""
    metadata: Mapping[str, Any]
    """What its record is to say."""
    why: str
    """Why it is to be made, in words."""
    stored: Row | None
    """None in a rehearsal."""
    lost: tuple[object, ...] | None = None
    """The computed file and the attempt that made it, where that would do if its bytes were there."""


@dataclass(slots=True)
class Choice:
    """First all plans are considered, which may take long and holds nobody up; then it is settled, others kept out."""

    store: StorePlace
    anywhere: bool = False
    """Whether a package that lies in another store serves as well."""
    regenerate: bool = False
    """Whether those are due, too, that are there and unchanged."""
    look: Look | None = None
    """With what it is looked whether the bytes of what would do are there; None: nobody looks."""
    unchanged: int = 0
    busy: list[Busy] = field(default_factory=list)
    _wanted: list[Wanted] = field(default_factory=list)

    async def consider(
        self, session: AsyncSession, documents: DocumentStore | None, plans: Sequence[PackagePlan]
    ) -> None:
        """Sort out what is there and unchanged. Without `documents` it is a rehearsal, which keeps nothing.

        Raises InvalidInput (for a name), Conflict (the name is an item's).
        """
        found = await _standing(session, [plan.name for plan in plans])
        amiss = await self._amiss(found, plans)
        for plan in plans:
            check_name(plan.name)
            row = found.get(plan.name)
            _check_kind(plan.name, plan.package, row)
            lost = amiss.get(row["file"]) if row is not None else None
            if row is not None and row["run"] is not None:
                self.busy.append(Busy(plan.name, row["run"]))
            elif self._serves(row, _said(plan)) and row is not None and _tells(row, _said(plan)) and lost is None:
                self.unchanged += 1
            else:
                stored = (await documents.keep(plan.document)).as_row() if documents is not None else None
                plan_of = stored["sha256"] if stored is not None else None
                metadata = _said(plan) | {"plan": plan_of, "size": plan.size, "files": plan.files}
                wanted = Wanted(plan.name, plan.package, plan.size, metadata, lost or self._why(row, metadata), stored)
                self._wanted.append(replace(wanted, lost=_maker(row)) if lost and row is not None else wanted)

    async def settle(self, session: AsyncSession, *, rehearsal: bool = False) -> list[Wanted]:
        """Those that are due now. Where the bytes stay as they are, record and file say what else is new."""
        due, described = [], []
        for chunk in _chunks(self._wanted):
            found = await _standing(session, [one.name for one in chunk])
            for one in chunk:
                row = found.get(one.name)
                _check_kind(one.name, one.package, row)
                if row is not None and row["run"] is not None:
                    self.busy.append(Busy(one.name, row["run"]))
                elif self._serves(row, one.metadata) and not (row is not None and one.lost == _maker(row)):
                    self.unchanged += 1
                    described.append(one)
                else:
                    due.append(one)
        if described and not rehearsal:
            await keep(session, described)
            await fetch(session, "package_runs.describe", {"names": written([one.name for one in described])})
        return due

    @property
    def wants(self) -> bool:
        """Whether anything is to be done, as far as was considered."""
        return bool(self._wanted)

    async def _amiss(self, found: Mapping[str, Row], plans: Sequence[PackagePlan]) -> dict[int, str]:
        """What is wrong with the bytes of those that would do, by file."""
        if self.look is None:
            return {}
        rows = ((plan, found.get(plan.name)) for plan in plans)
        return await self.look.amiss(
            [row for plan, row in rows if row is not None and row["run"] is None and self._serves(row, _said(plan))]
        )

    def _serves(self, row: Row | None, metadata: Mapping[str, Any]) -> bool:
        """Whether what is there is what is wanted, and where it is wanted."""
        if row is None or self.regenerate or row["fingerprint"] != metadata["fingerprint"]:
            return False
        return self.anywhere or bool(row["store"] == self.store.url)

    def _why(self, row: Row | None, metadata: Mapping[str, Any]) -> str:
        """Why one is due that does not serve, in words."""
        if row is None or row["fingerprint"] is None:
            return "it is not there"
        if row["fingerprint"] != metadata["fingerprint"]:
            return "what goes into it is other by now"
        return "asked for anew" if self.regenerate else "it lies in another store"


async def keep(session: AsyncSession, wanted: Sequence[Wanted]) -> None:
    """Make packages, or renew what their records say."""
    stored = orjson.dumps([one.stored for one in wanted if one.stored is not None]).decode()
    await fetch(session, "tasks.store", {"documents": stored})
    rows = [{"name": one.name, "metadata": dict(one.metadata)} for one in wanted]
    await fetch(session, "package_runs.upsert", {"rows": written(rows)})


async def _standing(session: AsyncSession, names: Sequence[str]) -> dict[str, Row]:
    """By name what there is: `kind, metadata`, of what is current `file, fingerprint, store, options, key, size, task,
    fence`, and the `run` that has it in hand."""
    rows = await fetch(session, "package_runs.standing", {"names": written(list(names))})
    return {row["name"]: row for row in rows}


def _check_kind(name: str, package: str, row: Row | None) -> None:
    if row is not None and row["kind"] != Kind.PACKAGE:
        raise Conflict(
            f"There is an item named {name!r}: no package can have that name.",
            hint=f"Change the file name of package {package!r} in the site file.",
        )


def _said(plan: PackagePlan) -> dict[str, Any]:
    """What the record of a package says, but for its plan."""
    return {
        "package": plan.package,
        "project": plan.project,
        "items": list(plan.items),
        "attributes": dict(plan.attributes),
        "fingerprint": plan.fingerprint,
    }


def _tells(row: Row, said: Mapping[str, Any]) -> bool:
    return all(row["metadata"].get(key) == value for key, value in said.items())


def _maker(row: Row) -> tuple[object, ...]:
    return row["file"], row["task"], row["fence"]


def _chunks(wanted: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    for start in range(0, len(wanted), CHUNK):
        yield wanted[start : start + CHUNK]
