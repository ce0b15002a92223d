"""Edits of records, one or thousands at a time: each row is answered for itself, and a bad one spoils no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import records
from tidemill.catalogue.records import Draft, Held
from tidemill.db.database import fetch, fetch_one
from tidemill.domain import item_edits
from tidemill.domain.fields import Fields
from tidemill.domain.item_edits import Edit
from tidemill.domain.stored_json import written
from tidemill.errors import Conflict, InvalidInput, NotFound, TidemillError
from tidemill.pipelines.names import check_name

MOST_ROWS = 10_000

CREATED, CHANGED, UNCHANGED, REFUSED = "created", "changed", "unchanged", "refused"
OUTCOMES = (CREATED, CHANGED, UNCHANGED, REFUSED)


@dataclass(slots=True)
class Answer:
    """What became of one row. `revision`: the record's after the whole set; None where there is no such record."""

    name: str
    outcome: str = UNCHANGED
    revision: int | None = None
    error: TidemillError | None = None
    record: dict[str, Any] | None = None
    """The record as it is now, where it was not what the edit expected."""

    def told(self) -> dict[str, Any]:
        """The answer as JSON: `name, outcome, revision`, and where it was refused `error` and perhaps `record`."""
        told: dict[str, Any] = {"name": self.name, "outcome": self.outcome, "revision": self.revision}
        if self.error is not None:
            kind = type(self.error).__name__
            told["error"] = {"kind": kind, "message": self.error.message, "hint": self.error.hint}
        return told if self.record is None else told | {"record": self.record}


async def declared(session: AsyncSession) -> Fields:
    """The metadata keys that the site declares."""
    row = await fetch_one(session, "items.fields")
    return row["fields"] if row else {}


async def apply(session: AsyncSession, rows: Sequence[Any], *, create: bool = True) -> list[Answer]:
    """Change items, and `create` those that are missing; answers in the order of the rows. A later row sees what an
    earlier one did.

    A row is an object with `name` and perhaps `status`, `reason`, `metadata` (merged key by key, null takes a key out),
    `projects` (made where they do not exist), `revision` (which it must have now; 0: it must not exist), `expect` (the
    status that it must have now); or an InvalidInput, if it could not even be read. Raises InvalidInput for too many.
    """
    if len(rows) > MOST_ROWS:
        raise InvalidInput(f"These are {len(rows):,} rows; {MOST_ROWS:,} at a time is the most.")
    fields = await declared(session)
    answers, edits = [], []
    for row in rows:
        answer, edit = _read(row, fields)
        answers.append(answer)
        edits.append((answer, edit))
    wanted = await _without_locked(session, [(answer, edit) for answer, edit in edits if edit is not None])
    drafts = _drafts([edit for _, edit in wanted]) if create else {}
    held = await records.hold(session, [edit.name for _, edit in wanted], drafts)
    pairs: list[tuple[str, str]] = []
    begun: set[str] = set()
    for answer, edit in wanted:
        if _decide(answer, edit, held, begun):
            pairs += [(project, edit.name) for project in edit.projects]
    await records.write(session, held.records.values())
    await records.place(session, pairs)
    for answer, edit in wanted:
        answer.revision = held.records[edit.name].revision if edit.name in held.records else None
        if answer.record is not None:
            answer.record = held.records[edit.name].told()
    return answers


async def apply_one(session: AsyncSession, row: Any, *, create: bool = True) -> Answer:
    """One edit, answered; see `apply`."""
    return (await apply(session, [row], create=create))[0]


def counted(answers: Sequence[Answer]) -> dict[str, int]:
    """How many rows ended how: a number for each of `OUTCOMES`."""
    return {word: sum(answer.outcome == word for answer in answers) for word in OUTCOMES}


def _read(row: Any, fields: Fields) -> tuple[Answer, Edit | None]:
    given = row.get("name") if isinstance(row, Mapping) else None
    answer = Answer(given if isinstance(given, str) else "")
    try:
        if isinstance(row, TidemillError):
            raise row
        edit = item_edits.read_edit(row, fields)
        for project in edit.projects:
            check_name("a project", project)
    except TidemillError as error:
        _refuse(answer, error)
        return answer, None
    return answer, edit


async def _without_locked(session: AsyncSession, edits: list[tuple[Answer, Edit]]) -> list[tuple[Answer, Edit]]:
    """The edits but those that would put an item into a locked project: these are refused. None is locked meanwhile."""
    pairs = [{"project": project, "item": edit.name} for _, edit in edits for project in edit.projects]
    if not pairs:
        return edits
    closed: dict[str, list[str]] = {}
    await fetch(session, "items.hold_projects", {"pairs": written(pairs)})
    for row in await fetch(session, "items.locked_out", {"pairs": written(pairs)}):
        closed.setdefault(row["item"], []).append(row["project"])
    for answer, edit in edits:
        if shut := [project for project in edit.projects if project in closed.get(edit.name, ())]:
            _refuse(answer, Conflict(f"Project {', '.join(shut)} is locked and takes no more items."))
    return [(answer, edit) for answer, edit in edits if answer.error is None]


def _drafts(edits: Sequence[Edit]) -> dict[str, Draft]:
    """For each name that the first edit may create: what the record begins as."""
    drafts: dict[str, Draft] = {}
    for edit in edits:
        if edit.may_create and edit.name not in drafts and _name_fault(edit.name) is None:
            metadata = {key: value for key, value in edit.metadata.items() if value is not None}
            drafts[edit.name] = Draft(edit.status or "good", edit.reason or "", metadata)
    return drafts


def _decide(answer: Answer, edit: Edit, held: Held, begun: set[str]) -> bool:
    """Put one edit into the record that is held; whether it was taken."""
    record = held.records.get(edit.name)
    if record is None:
        _refuse(answer, _name_fault(edit.name) or NotFound(f"There is no item named {edit.name!r}."))
        return False
    if edit.may_create and edit.name in held.made and edit.name not in begun:
        begun.add(edit.name)
        answer.outcome = CREATED
        return True
    before = record.edited
    try:
        item_edits.check_own(record)
    except Conflict as error:
        _refuse(answer, error)
        return False
    try:
        item_edits.check_expected(edit, record)
    except Conflict as error:
        _refuse(answer, error)
        answer.record = {}
        return False
    record.edited = False
    item_edits.apply(edit, record)
    answer.outcome = CHANGED if record.edited else UNCHANGED
    record.revision += record.edited
    record.edited = record.edited or before
    return True


def _refuse(answer: Answer, error: TidemillError) -> None:
    answer.outcome, answer.error = REFUSED, error


def _name_fault(name: str) -> InvalidInput | None:
    try:
        item_edits.check_name(name)
    except InvalidInput as error:
        return error
    return None
