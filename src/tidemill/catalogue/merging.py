"""Making the catalogue true to what was seen in a source: a handful of statements in one transaction.

All of it goes over one connection of its own, which holds the lock of the source and the table of what was seen: if it
is lost, so is the sync, and nothing was changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import psycopg

from tidemill.catalogue.listing import SHOWN, Listed
from tidemill.catalogue.sorting import COLUMNS
from tidemill.catalogue.sync_report import RECORDED, SyncReport
from tidemill.db.database import Row
from tidemill.db.models import Source
from tidemill.db.queries import sql
from tidemill.domain.keys import printable
from tidemill.errors import Conflict

MANY = 5000
"""New files above which the planner is told."""
LARGE = 50_000
"""Files from which on a first load is one that is made quicker; below, it takes a second or two anyway."""
TRIES, PAUSE = 5, 0.1
"""How often it tries to have the empty tables to itself, and seconds between."""
Connection = psycopg.AsyncConnection[Row]


class Merge:
    """One sync's statements. Psycopg's errors are the caller's to translate."""

    def __init__(self, connection: Connection, source: Source, report: SyncReport) -> None:
        self._connection, self._source, self.report = connection, source, report
        self._empty = False

    async def prepare(self) -> None:
        """Make room for what will be seen. No transaction stays open, so nobody waits for a long listing."""
        await self._rows("plan_for_sets")
        await self._rows("seen_table")
        self._empty = bool((await self._row("first_load"))["empty"])

    async def copy(self, block: bytes) -> None:
        """Take in some lines of what was seen."""
        into = f"copy seen ({COLUMNS}) from stdin".encode()
        async with self._connection.cursor() as cursor, cursor.copy(into) as copy:
            await copy.write(block)

    async def merge(self, *, allow_wipe: bool) -> None:
        """Make files, items, projects, links and locks what was seen. Raises Conflict: too much would go."""
        report = self.report
        await self._rows("seen_analyze")
        alone = self._empty and report.seen > LARGE and await self._set_aside()
        await self._hold()
        await self._compare()
        report.projects = await self._count("merge_projects")
        await self._locks()
        await self._rows("find_gone")
        await self._guard(allow_wipe)
        if alone:
            await self._load()
        else:
            await self._change()
        for row in await self._rows("held_out"):
            report.held_out[row["project"]] = row["items"]

    async def analyze(self) -> None:
        """Tell the planner of what has come, so that no question is planned as if there was nothing."""
        if self.report.created > MANY:
            await self._connection.execute(sql("catalogue.analyze").encode())

    async def note(self, started: Any) -> None:
        """Keep the record of this sync."""
        report = self.report
        counts = {key: getattr(report, key) for key in ("seen", "created", "changed", "deleted")}
        details = {key: value for key, value in report.as_json().items() if key not in counts and key != "source"}
        details["did_something"] = report.did_something and not report.error
        did = not report.dry_run and not report.error
        told = {"started": started, "details": orjson.dumps(details).decode(), "did": did}
        await self._rows("synced", counts | told)
        await self._rows("prune")
        await self._connection.execute(sql("catalogue.announce").encode())

    async def _compare(self) -> None:
        """Find what the catalogue does not have just so: mostly little, and nothing else is looked at from here on."""
        if self._empty:
            await self._rows("all_odd")
            await self._rows("all_fresh")
        else:
            await self._rows("find_odd")
            await self._rows("find_fresh")

    async def _change(self) -> None:
        report = self.report
        report.items = await self._count("merge_items")
        report.deleted = await self._count("delete_files") if report.gone.count else 0
        report.changed, report.other = await self._listed("change_files")
        report.created, report.new = await self._listed("add_files")
        row = await self._row("merge_links")
        report.tied, report.untied = row["tied"], row["untied"]
        await self._count("merge_members")

    async def _load(self) -> None:
        """The same where there is nothing yet."""
        report = self.report
        report.items = await self._count("merge_items")
        report.created, report.new = await self._listed("add_files")
        report.tied = (await self._row("first_links"))["tied"]
        await self._count("merge_members")
        await self._rows("put_back")

    async def _set_aside(self) -> bool:
        """Whether the tables are empty, and this transaction has them to itself until all is loaded and checked.

        It comes before all else and waits for nobody, so that no two transactions can wait for each other.
        """
        for _ in range(TRIES):
            try:
                async with self._connection.transaction():
                    await self._rows("tables_alone")
                    if not (await self._row("first_load"))["empty"]:
                        raise psycopg.Rollback
                    await self._rows("aside_table")
                    await self._rows("set_aside")
                    return True
            except psycopg.errors.LockNotAvailable:  # somebody is reading
                await asyncio.sleep(PAUSE)
            else:
                break
        return False

    async def _hold(self) -> None:
        """The source must be what it was when the listing began, and stays so until the end."""
        source = self._source
        row = await self._row("hold")
        if (row["url"], row["layout"], row["options"]) != (source.url, source.layout, source.options):
            raise Conflict(
                f"Source {source.name!r} was changed while it was being read. Nothing was changed.", hint="Sync again."
            )

    async def _locks(self) -> None:
        await self._rows("find_locks")
        unlocked = [row["name"] for row in await self._rows("locks_gone")]
        row = await self._row("lock_projects", {"unlocked": unlocked})
        self.report.locked, self.report.unlocked = row["locked"], row["freed"]

    async def _guard(self, allow_wipe: bool) -> None:
        """Stop before more leaves the catalogue than the source may lose; a listing may be wrong."""
        report, source = self.report, self._source
        losing = await self._row("losing", {"limit": SHOWN})
        report.kept, report.gone = losing["kept"], Listed(losing["gone"], losing["keys"])
        gone = losing["counted"]
        if not gone or allow_wipe:
            return
        files = (await self._row("files"))["files"]
        if gone < files and gone <= files * source.may_lose:
            return
        share = "all" if gone == files else f"{gone / files:.0%} of"
        examples = ", ".join(map(printable, losing["keys"][:5])) + (", …" if report.gone.count > 5 else "")
        report.refused = (
            f"Source {source.name!r}: {share} its {files:,} files are gone ({gone:,}: {examples}); "
            f"it may lose {source.may_lose:.0%} at once.{self._left_out()} Nothing was changed."
        )
        if not report.dry_run:
            hint = "To take them out of the catalogue: --allow-bucket-wipe; with --dry-run it only says what would go."
            raise Conflict(report.refused, hint=hint)

    def _left_out(self) -> str:
        """What may stand behind it, if its rules were changed rather than its files."""
        left_out = self.report.unmatched.count + self.report.ignored
        return f" Its layout rules leave out {left_out:,} of the keys that lie there." if left_out else ""

    async def _listed(self, statement: str) -> tuple[int, Listed]:
        row = await self._row(statement, {"limit": RECORDED})
        return row["n"], Listed(row["n"], row["keys"])

    async def _count(self, statement: str) -> int:
        return int((await self._row(statement))["n"])

    async def _row(self, statement: str, params: Mapping[str, Any] | None = None) -> Row:
        return (await self._rows(statement, params))[0]

    async def _rows(self, statement: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        given = {"source": self._source.id} | dict(params or {})
        cursor = await self._connection.execute(sql(f"sync.{statement}").encode(), given)
        return await cursor.fetchall() if cursor.description else []
