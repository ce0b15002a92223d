"""Reading the change feed by position, without ever skipping a change.

A position (`seq`) is `"<xid>-<id>"`, opaque to consumers. Transactions commit in another order than they take their
numbers, so a page holds only changes of transactions older than every one that is still open in this database; what
those write later comes after it. The same page can be read again and again, and two readers see the same order.

A page with a filter costs no more than one without: a short stretch is read in order, which is all that a reader near
the end needs; further back, where an index says which records match and these are few, only their changes are looked
at; else the feed is read in order for so long, and the page ends there. Its `last_seq` has moved on in every case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import ChangesGone, InvalidInput
from tidemill.feed.filters import NOTHING_DONE, Filter

START = "0-0"
"""The position before the first change."""

EVERYTHING = Filter()
MOST_PENDING = 10_000
MOST_PER_PAGE = 10_000
FEW_ITEMS = 20_000
"""Up to so many matching records, their changes are looked up one record after the other."""

STRETCH, SLOW_STRETCH = 20_000, 4_000
"""Changes that are looked through at once; the second where every record's last step has to be found out."""

LEAST_STRETCH = 500
MOST_STRETCHES = 10
NOBODY: Row = {"elsewhere": []}
_POSITION = re.compile(r"(\d{1,18})-(\d{1,18})")
Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the feed in CouchDB's shape. `last_seq` is where the next page begins.

    `results`: `{seq, id, kind, changes: [{state, step, name}], run, task, item, item_id, project, position, at}`; `id`
    is `task:7`, `run:3`…, `item` (or package) and `project` are names; `deleted` is there and true where it is gone.
    `pending`: changes of any kind after this page, counted up to 10,000; 0: the reader has come to the end.
    """

    results: list[Row]
    last_seq: str
    pending: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of `feed.read` and its like, in order. Everything up to `last` was looked at; `more`: that is not all.

    `open`: a transaction is under way that may hold back changes of others; what it holds back comes without a hint.
    """

    rows: list[Row]
    last: Position
    more: bool
    open: bool = False


@dataclass(frozen=True, slots=True)
class _Span:
    """From a position (which is left out) to another (left out as well)."""

    after: Position
    before: Position

    def params(self) -> dict[str, Any]:
        return {
            "xid": str(self.after[0]),
            "id": self.after[1],
            "to_xid": str(self.before[0]),
            "to_id": self.before[1],
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter and its parameters for the statements."""

    which: Filter
    params: Row


async def parameters(session: AsyncSession, which: Filter) -> Row:
    """A filter's parameters for the statements of `queries/feed.sql`.

    Projects go in by their ids, so that the planner can know how large they are.
    """
    params = which.params()
    names = params.pop("projects")
    ids = [row["id"] for row in await fetch(session, "feed.projects", {"names": names})] if names else None
    return params | {"projects": ids}


async def read(session: AsyncSession, since: str | None = None, limit: int = 1000, which: Filter = EVERYTHING) -> Page:
    """The changes after `since` that `which` lets pass, oldest first, at most `limit`.

    A change says that something is different now and what its writer made of it. A consumer that needs the state as it
    is reads the record. Raises InvalidInput for a position that is none, or that lies in this database's future,
    ChangesGone for one from which on changes have been pruned.
    """
    found = await stretch(session, since, limit, which)
    pending = await _pending(session, found) if found.more else 0
    return Page([result(row) for row in found.rows], seq_of(found.last), pending)


async def stretch(session: AsyncSession, since: str | None, limit: int, which: Filter = EVERYTHING) -> Stretch:
    """What `read` gives, as rows. Raises InvalidInput, ChangesGone."""
    if not 1 <= limit <= MOST_PER_PAGE:
        raise InvalidInput(f"limit is {limit}; it must be from 1 to {MOST_PER_PAGE}.")
    # The end is taken before the rows, so that nothing which commits in between can lie before it unread.
    end = await horizon(session)
    after = _checked(since, end)
    await fetch(session, "feed.plan")
    span = _Span(after, (int(end["before"]), 0))
    asked = Asked(which, await parameters(session, which))
    found = await (_of_records if which.of_records else _in_order)(session, span, limit, asked)
    # The floor is asked after the rows: what is pruned from here on was still among them.
    await _must_reach(session, after)
    last = found.last if found.more else max(found.last, after, parse(end["seq"]))
    return replace(found, last=last, open=end["before"] != end["next_xid"])


async def start(session: AsyncSession, since: str | None) -> Position:
    """The position that a reader begins at. Raises InvalidInput, ChangesGone."""
    after = await checked(session, since)
    await _must_reach(session, after)
    return after


async def now(session: AsyncSession) -> str:
    """The newest position before which nothing can come any more. Any state that is read after this call, or in the
    same held snapshot, holds all that the feed says up to it: state and feed join without a gap.

    Changes that the state holds already may come again: a state told twice does no harm.
    """
    return str((await horizon(session))["seq"])


async def hold_snapshot(session: AsyncSession) -> str:
    """Make all reads of this transaction see one moment, and give that moment's position. Call it first."""
    async with AsyncSession(session.bind) as before:
        elsewhere = await fetch_one(before, "feed.elsewhere")
    await session.execute(text("set transaction isolation level repeatable read, read only"))
    return str((await _horizon(session, elsewhere))["seq"])


def parse(seq: str) -> Position:
    """The parts of a position. Raises InvalidInput."""
    found = _POSITION.fullmatch(seq)
    if found is None:
        raise InvalidInput(
            f"{seq[:60]!r} is not a position of the change feed.",
            hint="Take `last_seq` or a result's `seq` as it came, or leave `since` out to read from the beginning.",
        )
    return int(found[1]), int(found[2])


def seq_of(position: Position) -> str:
    """A position as consumers see it."""
    return f"{position[0]}-{position[1]}"


async def checked(session: AsyncSession, since: str | None) -> Position:
    """The parts of a position that this database can have given out. Raises InvalidInput."""
    return _checked(since, await horizon(session))


def result(row: Row) -> Row:
    """A row of `feed.read` as readers of the feed see it."""
    kind = row["kind"]
    key = "item_id" if kind == "package" else f"{kind}_id"
    shown = {
        "seq": f"{row['xid']}-{row['id']}",
        "id": f"{kind}:{row[key]}" if row.get(key) is not None else kind,
        "kind": kind,
        "changes": [{"state": row["state"], "step": row["step"], "name": row["step_name"]}],
        "run": row["run_id"],
        "task": row["task_id"],
        "item": row["item"],
        "item_id": row["item_id"],
        "project": row["project"],
        "position": row["position"],
        "at": row["at"],
    }
    return shown | {"deleted": True} if kind in ("item", "package") and row["state"] == "deleted" else shown


async def _of_records(session: AsyncSession, span: _Span, limit: int, asked: Asked) -> Stretch:
    most = SLOW_STRETCH if asked.which.last_steps else STRETCH
    found = await _scanned(session, span, limit, asked, most)
    if found.more and len(found.rows) < limit:
        ids = await _few_items(session, asked)
        rest = _Span(found.last, span.before)
        left = limit - len(found.rows)
        if ids is not None:
            further = await _among(session, rest, left, asked, ids)
        else:
            further = await _scanned(session, rest, left, asked, most, MOST_STRETCHES)
        found = replace(further, rows=found.rows + further.rows)
    return found


async def _in_order(session: AsyncSession, span: _Span, limit: int, asked: Asked) -> Stretch:
    """Changes by what they are themselves: read in order, in stretches where many may have to be passed over."""
    if not (asked.which.kinds or asked.which.run):
        rows = await fetch(session, "feed.read", asked.params | span.params() | {"limit": limit})
        return Stretch(rows, _position(rows[-1]) if rows else span.after, len(rows) == limit)
    return await _scanned(session, span, limit, asked, STRETCH, MOST_STRETCHES)


async def _scanned(
    session: AsyncSession, span: _Span, limit: int, asked: Asked, most: int, stretches: int = 1
) -> Stretch:
    """Read in order, up to so many changes at a time, until the page is full, the end is reached, or it is enough.

    The first stretch is short: where most changes pass, a page is full after it.
    """
    statement = "feed.scan" if asked.which.of_records else "feed.read"
    rows: list[Row] = []
    length = min(most, max(LEAST_STRETCH, 2 * limit))
    for _ in range(stretches):
        edge = await fetch_one(session, "feed.chunk", span.params() | {"most": length})
        length = min(most, 4 * length)
        end = (int(edge["xid"]), edge["id"] + 1) if edge else span.before
        part = _Span(span.after, end)
        rows += await fetch(session, statement, asked.params | part.params() | {"limit": limit - len(rows)})
        if len(rows) == limit:
            return Stretch(rows, _position(rows[-1]), True)
        if edge is None:
            return Stretch(rows, _position(rows[-1]) if rows else span.after, False)
        span = replace(span, after=(end[0], end[1] - 1))
    return Stretch(rows, span.after, True)


async def _among(session: AsyncSession, span: _Span, limit: int, asked: Asked, ids: Sequence[int]) -> Stretch:
    params = asked.params | span.params() | {"ids": list(ids), "limit": limit}
    rows = await fetch(session, "feed.among", params) if ids else []
    return Stretch(rows, _position(rows[-1]) if rows else span.after, len(rows) == limit)


async def _few_items(session: AsyncSession, asked: Asked) -> list[int] | None:
    """The items that match, if an index can say so and they are few; else None."""
    most = FEW_ITEMS // 4 if asked.which.last_steps else FEW_ITEMS
    if asked.which.looks_up:
        rows = await fetch(session, "feed.few", asked.params | {"most": most + 1})
    elif NOTHING_DONE in asked.which.last_steps:
        return None
    else:
        rows = await fetch(session, "views.candidates", {"names": list(asked.which.last_steps), "most": most + 1})
    if len(rows) > most:
        return None
    ids = sorted({row["id"] for row in rows})
    if asked.which.last_steps:
        ids = [row["id"] for row in await fetch(session, "feed.narrow", asked.params | {"ids": ids})]
    return ids


async def _pending(session: AsyncSession, found: Stretch) -> int:
    span = _Span(found.last, (int((await horizon(session))["before"]), 0))
    row = await fetch_one(session, "feed.pending", span.params() | {"most": MOST_PENDING})
    return int(row["changes"]) if row else 0


async def _must_reach(session: AsyncSession, after: Position) -> None:
    """Raises ChangesGone where changes after this position have been removed."""
    floor = await fetch_one(session, "feed.floor")
    if floor is not None and after < parse(floor["seq"]):
        raise ChangesGone(
            f"The change feed begins at {floor['seq']}: what was before is no longer kept.",
            hint="Take a snapshot (GET /api/changes/snapshot) and follow from its `seq`, or begin at `since=now`.",
        )


def _checked(since: str | None, end: Row) -> Position:
    if since is None or since in ("", "0"):
        return 0, 0
    if since == "now":
        return parse(end["seq"])
    position = parse(since)
    if position[0] >= int(end["next_xid"]):
        raise InvalidInput(
            f"Position {since} lies ahead of this database: it comes from another one.",
            hint="Leave `since` out to read from the beginning.",
        )
    return position


async def horizon(session: AsyncSession) -> Row:
    """The columns of `feed.now`. Whose the open transactions are is asked only where there are any."""
    end = await _horizon(session, NOBODY)
    if end["before"] == end["next_xid"]:
        return end
    return await _horizon(session, await fetch_one(session, "feed.elsewhere"))


async def _horizon(session: AsyncSession, elsewhere: Row | None) -> Row:
    row = await fetch_one(session, "feed.now", elsewhere)
    assert row is not None
    return row


def _position(row: Row) -> Position:
    return int(row["xid"]), int(row["id"])
