"""Reading the change feed by position, without ever skipping a change.

A position (`seq`) is `"<xid>-<id>"`, opaque to consumers. Transactions commit in another order than they take their
numbers, so a page holds only changes of transactions older than every one that is still open in this database; what
those write later comes after it. The same page can be read again and again, and two readers see the same order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import InvalidInput

START = "0-0"
"""The position before the first change."""

MOST_PENDING = 10_000
MOST_PER_PAGE = 10_000
_POSITION = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the feed in CouchDB's shape. `last_seq` is where the next page begins.

    `results`: `{seq, id, kind, changes: [{state, step}], run, task, item, position, at}`; `id` is `task:7`, `run:3`….
    `pending`: changes after this page, counted up to 10,000.
    """

    results: list[Row]
    last_seq: str
    pending: int


async def read(
    session: AsyncSession,
    since: str | None = None,
    limit: int = 1000,
    *,
    run: int | None = None,
    kinds: Sequence[str] | None = None,
) -> Page:
    """The changes after `since`, oldest first, at most `limit`; of one run or of some kinds if named.

    A change says that something is different now and what its writer made of it. A consumer that needs the state as it
    is reads the record. Raises InvalidInput for a position that is none, or that lies in this database's future.
    """
    if not 1 <= limit <= MOST_PER_PAGE:
        raise InvalidInput(f"limit is {limit}; it must be from 1 to {MOST_PER_PAGE}.")
    xid, id_ = await checked(session, since)
    params: dict[str, Any] = {"run": run, "kinds": list(kinds) if kinds is not None else None}
    # The end is taken before the rows, so that nothing which commits in between can lie before it unread.
    end = await _horizon(session)
    params["before"] = end["before"]
    rows = await fetch(session, "feed.read", params | {"xid": str(xid), "id": id_, "limit": limit})
    if len(rows) < limit:
        last = max((end["seq"], f"{xid}-{id_}", *(_seq(row) for row in rows[-1:])), key=parse)
        return Page([_result(row) for row in rows], last, 0)
    last = _seq(rows[-1])
    where = dict(zip(("xid", "id"), (rows[-1]["xid"], rows[-1]["id"]), strict=True))
    rest = await fetch_one(session, "feed.pending", params | where | {"most": MOST_PENDING})
    return Page([_result(row) for row in rows], last, rest["changes"] if rest else 0)


async def now(session: AsyncSession) -> str:
    """The newest position before which nothing can come any more. Any state that is read after this call, or in the
    same held snapshot, holds all that the feed says up to it: state and feed join without a gap.

    Changes that the state holds already may come again: a state told twice does no harm.
    """
    return str((await _horizon(session))["seq"])


async def hold_snapshot(session: AsyncSession) -> str:
    """Make all reads of this transaction see one moment, and give that moment's position. Call it first."""
    await session.execute(text("set transaction isolation level repeatable read, read only"))
    return await now(session)


def parse(seq: str) -> tuple[int, int]:
    """The parts of a position. Raises InvalidInput."""
    found = _POSITION.fullmatch(seq)
    if found is None:
        raise InvalidInput(
            f"{seq[:60]!r} is not a position of the change feed.",
            hint="Take `last_seq` or a result's `seq` as it came, or leave `since` out to read from the beginning.",
        )
    return int(found[1]), int(found[2])


async def checked(session: AsyncSession, since: str | None) -> tuple[int, int]:
    """The parts of a position that this database can have given out. Raises InvalidInput."""
    if since is None or since in ("", "0"):
        return 0, 0
    if since == "now":
        return parse(await now(session))
    xid, id_ = parse(since)
    if xid >= int((await _horizon(session))["next_xid"]):
        raise InvalidInput(
            f"Position {since} lies ahead of this database: it comes from another one.",
            hint="Leave `since` out to read from the beginning.",
        )
    return xid, id_


async def _horizon(session: AsyncSession) -> Row:
    row = await fetch_one(session, "feed.now")
    assert row is not None
    return row


def _seq(row: Row) -> str:
    return f"{row['xid']}-{row['id']}"


def _result(row: Row) -> Row:
    kind = row["kind"]
    return {
        "seq": _seq(row),
        "id": f"{kind}:{row[f'{kind}_id']}" if f"{kind}_id" in row else kind,
        "kind": kind,
        "changes": [{"state": row["state"], "step": row["step"]}],
        "run": row["run_id"],
        "task": row["task_id"],
        "item": row["item_id"],
        "position": row["position"],
        "at": row["at"],
    }
