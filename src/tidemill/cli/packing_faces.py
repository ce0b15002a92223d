"""How the making of packages is shown: bars on a terminal, a line for each package in a log, nothing for programs."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tidemill.cli.output import SIGNS, count, out, tell
from tidemill.db.database import Row
from tidemill.executors.amounts import amount

FINAL = ("done", "failed", "cancelled")
LONGEST = 44
"""Letters of a package's name beside its bar."""


class Face(Protocol):
    """Shown once and again with the rows of `package_runs.progress`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, rows: Sequence[Row]) -> None: ...


def face_for(*, json: bool) -> Face:
    """The face for where the answer goes."""
    return Silence() if json else Bars() if out().is_terminal else Lines()


class Silence:
    """For programs: the answer comes at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, rows: Sequence[Row]) -> None:
        """Show nothing."""


class Lines(Silence):
    """A line for each package that is finished."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def show(self, rows: Sequence[Row]) -> None:
        """Tell of those that have been finished since."""
        fresh = [row for row in rows if row["state"] in FINAL and row["task"] not in self._told]
        for row in fresh:
            self._told.add(row["task"])
            tell(f"[{len(self._told):,} of {len(rows):,}] {finished(row)}")
        if fresh:
            out().file.flush()


class Bars:
    """A bar for each package in hand with its bytes and the time left, and one for all."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=out(),
            transient=True,
        )
        self._bars: dict[int, TaskID] = {}
        self._told: set[int] = set()
        self._all: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """Draw the bars anew; what is finished is told above them."""
        if self._all is None:
            self._all = self._progress.add_task("all", total=None)
        for row in rows:
            if row["state"] in FINAL:
                self._finish(row)
            elif row["state"] in ("running", "submitted"):
                self._move(row)
            elif row["task"] in self._bars:  # given back, or tried again later
                self._progress.remove_task(self._bars.pop(row["task"]))
        over = sum(row["state"] in FINAL for row in rows)
        self._progress.update(
            self._all,
            description=f"[bold]{over:,} of {count(len(rows), 'package')}[/]",
            total=sum(max(row["size"], 1) for row in rows),
            completed=sum(packed(row) for row in rows),
        )

    def _move(self, row: Row) -> None:
        if row["task"] not in self._bars:
            name = row["name"] if len(row["name"]) <= LONGEST else row["name"][: LONGEST - 1] + "…"
            self._bars[row["task"]] = self._progress.add_task(escape(name), total=max(row["size"], 1))
        self._progress.update(self._bars[row["task"]], completed=packed(row))

    def _finish(self, row: Row) -> None:
        if row["task"] in self._told:
            return
        self._told.add(row["task"])
        if row["task"] in self._bars:
            self._progress.remove_task(self._bars.pop(row["task"]))
        self._progress.console.print(escape(finished(row)))


def packed(row: Row) -> int:
    """How many of a package's bytes are packed, as far as it is known."""
    size = max(row["size"], 1)
    return size if row["state"] in FINAL else int(size * (row["progress"] or 0))


def finished(row: Row) -> str:
    """What became of a package, in a line."""
    why = f": {row['reason']}" if row["reason"] and row["state"] != "done" else ""
    return f"{SIGNS[row['state']]} {row['name']} {row['state']}, {amount(row['size'])}{why}"
