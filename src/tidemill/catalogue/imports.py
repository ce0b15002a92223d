"""Records that are taken over from another system, a set at a time, with the position that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import records
from tidemill.catalogue.couchdb import Change
from tidemill.catalogue.records import Draft, Held
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.couchdb_document import Taken, taken
from tidemill.domain.item_edits import Record, package_refused, same
from tidemill.domain.kinds import Kind
from tidemill.domain.stored_json import listed, written
from tidemill.domain.takeover import Base, take_over
from tidemill.errors import Conflict, InvalidInput
from tidemill.pipelines.names import check_name

LONGEST_ID = 500
DESIGN = "_design/"


@dataclass(slots=True)
class Counts:
    """What became of the documents: each is counted once, and `kept` beside it."""

    documents: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    """Of items that are here; the others were never taken."""
    left_out: int = 0
    """Design documents, and what was deleted before it was taken."""
    refused: int = 0
    kept: int = 0
    """Of items in which something differs that was edited here, and stays."""

    def add(self, other: Counts) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Wish:
    """How documents are to be taken. `name`: the import's, the address without secrets."""

    name: str
    project: str | None = None
    design: bool = False


async def begin(session: AsyncSession, name: str) -> str:
    """Note that there is such an import; the position that it has come to, empty at the beginning."""
    row = await fetch_one(session, "imports.begin", {"name": name})
    return str(row["seq"]) if row else ""


async def restart(session: AsyncSession, name: str) -> None:
    """Read it from the beginning again; what was taken over already is known and not taken twice."""
    await fetch(session, "imports.restart", {"name": name})


async def take(session: AsyncSession, wish: Wish, changes: Sequence[Change], since: str, seq: str) -> Counts:
    """Take over what changed between two positions, and note the new one.

    A document that cannot be taken is noted and spoils no other. Raises Conflict: somebody else reads this import at
    the same time, or the project is locked.
    """
    await _hold(session, wish, since)
    counts = Counts(documents=len(changes))
    notes, documents = _read(wish, changes, counts)
    known = await _known(session, wish, list(documents))
    for name in [name for name, one in documents.items() if _is_old(one, known.get(name), counts)]:
        del documents[name]
    drafts = {one.name: Draft(one.status, "", one.metadata) for one in documents.values() if not one.deleted}
    held = await records.hold(session, list(documents), drafts)
    notes |= _of_packages(documents, held, counts)
    rows = [written({"document": document, "note": note}) for document, note in notes.items()]
    for document, one in documents.items():
        rows.append(_taken_over(wish, one, known.get(document), held, counts))
    await records.write(session, held.records.values())
    new = [name for name in documents if name not in known]
    await records.place(session, [(wish.project, name) for name in new] if wish.project else [])
    only_past = await _write_past(session, documents, held)
    counts.changed += only_past
    counts.unchanged -= only_past
    if rows:
        await fetch(session, "imports.keep", {"name": wish.name, "rows": listed(rows)})
    counted = {"name": wish.name, "seq": seq, "records": counts.created + counts.changed + counts.deleted}
    await fetch(session, "imports.advance", counted)
    return counts


async def listing(session: AsyncSession) -> list[Row]:
    """All imports: `name, seq, records, updated_at`, and of documents how many are `items, refused, noted`."""
    return await fetch(session, "imports.listing")


async def notes(session: AsyncSession, name: str, limit: int = 1000) -> list[Row]:
    """What a person should know of documents: `document, taken, rev, note`."""
    return await fetch(session, "imports.notes", {"name": name, "limit": limit})


async def _hold(session: AsyncSession, wish: Wish, since: str) -> None:
    """Make sure that nobody else moved the position, and that the project takes items."""
    row = await fetch_one(session, "imports.hold", {"name": wish.name})
    if row is None or row["seq"] != since:
        raise Conflict(
            f"Another process takes over {wish.name} at the same time.", hint="One is enough: stop the other."
        )
    if wish.project:
        check_name("a project", wish.project)
        await fetch(session, "items.hold_projects", {"pairs": written([{"project": wish.project}])})
        if await fetch(session, "catalogue.locked", {"names": written([wish.project])}):
            raise Conflict(f"Project {wish.project} is locked and takes no more items.")


def _read(wish: Wish, changes: Sequence[Change], counts: Counts) -> tuple[dict[str, str], dict[str, Taken]]:
    """Why some documents cannot be taken, by id; and what the others say. Of an id that comes again the last counts."""
    refused: dict[str, str] = {}
    found: dict[str, Taken] = {}
    for change in changes:
        if change.id.startswith(DESIGN) and not wish.design:
            counts.left_out += 1
            continue
        try:
            if change.document is None:
                raise InvalidInput("it is too large, or no JSON that can be read")
            one = taken(change.document)
        except InvalidInput as error:
            refused[_storable(change.id)] = f"It could not be taken: {error.message}"
            counts.refused += 1
        else:
            found[one.name] = one
    return refused, found


def _of_packages(documents: dict[str, Taken], held: Held, counts: Counts) -> dict[str, str]:
    """Leave out documents that are named like packages of this site; why, by id."""
    names = [name for name in documents if name in held.records and held.records[name].kind == Kind.PACKAGE]
    for name in names:
        del documents[name]
    counts.refused += len(names)
    return {name: f"It could not be taken: {package_refused([name]).message}" for name in names}


def _storable(document: str) -> str:
    """An id as it can be written down, even if it is no name."""
    return document.replace("\0", "␀").encode("utf-8", "replace").decode()[:LONGEST_ID]


async def _known(session: AsyncSession, wish: Wish, names: list[str]) -> dict[str, Row]:
    rows = await fetch(session, "imports.known", {"name": wish.name, "documents": written(names)}) if names else []
    return {row["document"]: row for row in rows if row["item_id"] is not None}


def _is_old(one: Taken, known: Row | None, counts: Counts) -> bool:
    """Whether there is nothing to do: this revision was taken over, or it was deleted before it ever was."""
    if known is None:
        counts.left_out += one.deleted
        return one.deleted
    counts.unchanged += known["rev"] == one.rev
    return bool(known["rev"] == one.rev)


def _taken_over(wish: Wish, one: Taken, known: Row | None, held: Held, counts: Counts) -> str:
    """Put a document into its record; the row that remembers it."""
    record = held.records.get(one.name)
    kept: list[str] = []
    if record is None:  # deleted there, and here
        counts.left_out += 1
    elif one.name in held.made:
        counts.created += 1
    else:
        kept = _merge(wish, one, known, record)
        counts.deleted += one.deleted
        counts.changed += record.edited and not one.deleted
        counts.unchanged += not record.edited and not one.deleted
    counts.kept += bool(kept)
    edited = f"edited here, and kept as it is here: {', '.join(kept)}" if kept else ""
    return written(
        {
            "document": one.name,
            "item": record.id if record else None,
            "rev": one.rev,
            "status": one.status,
            "metadata": known["metadata"] if known and one.deleted else dict(one.metadata),
            "note": "; ".join(filter(None, (one.note, edited)))[:2000],
        }
    )


def _merge(wish: Wish, one: Taken, known: Row | None, record: Record) -> list[str]:
    base = Base(known["status"], known["metadata"]) if known else Base()
    if one.deleted:  # the metadata of what is deleted stay as they were
        return take_over(record, Base(base.status), one.status, f"deleted in {wish.name}", {})
    return take_over(record, base, one.status, "", one.metadata)


async def _write_past(session: AsyncSession, documents: Mapping[str, Taken], held: Held) -> int:
    """Write the past steps of items where they are others than before; of how many items nothing else changed.

    A change tells of these, too.
    """
    current = {
        held.records[name].id: one for name, one in documents.items() if name in held.records and not one.deleted
    }
    found = await fetch(session, "imports.past", {"items": written(list(current))}) if current else []
    before = {row["item_id"]: row["steps"] for row in found}
    changed = {item: one for item, one in current.items() if not same(before.get(item, []), _steps(one))}
    if not changed:
        return 0
    await fetch(session, "imports.forget_past", {"items": written(list(changed))})
    rows = [
        written(step | {"item": item, "position": position, "finished_at": at.isoformat() if at else None})
        for item, one in changed.items()
        for position, (step, at) in enumerate(zip(_steps(one), [e.finished_at for e in one.process], strict=True))
    ]
    await fetch(session, "imports.write_past", {"rows": listed(rows)})
    told = {one.id for one in held.records.values() if one.edited or one.name in held.made}
    only = [item for item in changed if item not in told]
    await fetch(session, "imports.tell", {"items": written(only)})
    return len(only)


def _steps(one: Taken) -> list[dict[str, Any]]:
    return [{"name": entry.name, "details": dict(entry.details)} for entry in one.process]
