"""Watching a run from the command line: a live table on a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tidemill.cli.exits import Exit
from tidemill.cli.output import COLOURS, SIGNS, count, duration, emit_line, out, say, tell
from tidemill.cli.progress import SHOWN_FAILURES, Pace, Progress, failures, progress_of
from tidemill.db.database import Database
from tidemill.errors import DatabaseUnavailable

LOOK_SECONDS = 0.5
LINE_SECONDS = 2.0
"""Without a terminal: at most a line in so many seconds."""


class Face(Protocol):
    """How progress is shown."""

    def show(self, progress: Progress, pace: Pace) -> None: ...


async def follow(database: Database, run: int, *, json: bool, stopped: asyncio.Event) -> Progress:
    """Show a run's progress until it is over or until `stopped` is set; the last that was seen."""
    face: Face = JsonFace() if json else LiveFace() if out().is_terminal else PlainFace()
    pace = Pace()
    with face if isinstance(face, LiveFace) else nullcontext():
        while True:
            progress = await _looked(database, run)
            pace.note(progress)
            face.show(progress, pace)
            if progress.over or stopped.is_set():
                return progress
            await _pause(stopped)


async def _looked(database: Database, run: int) -> Progress:
    """The run's progress; waits while the database is away, as the workers do."""
    told = False
    while True:
        try:
            return await progress_of(database, run)
        except DatabaseUnavailable as error:
            if not told:
                say(f"{error.message} Waiting for it.")
                told = True
            await asyncio.sleep(LOOK_SECONDS)


async def _pause(stopped: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopped.wait(), LOOK_SECONDS)
    except TimeoutError:
        return


async def conclude(database: Database, progress: Progress, *, json: bool) -> Exit:
    """Say how a run ended, with the reasons of its failures; the exit code that this means."""
    failed = await failures(database, progress.run["id"]) if progress.totals["failed"] else []
    if json:
        shown = [{"item": row["item"], "step": row["step"], "reason": row["reason"]} for row in failed]
        emit_line({"type": "end", **progress.as_json(), "failures": shown})
    else:
        tell(f"Run {progress.run['id']} is {progress.run['state']}: {in_words(progress.totals)}.")
        for row in failed:
            tell(f"  {SIGNS['failed']} {row['item']} at {progress.steps[row['step']].name}: {row['reason']}")
        if (more := progress.totals["failed"] - len(failed)) > 0:
            tell(f"  … and {more:,} more (the first {SHOWN_FAILURES} are shown)")
        if failed:
            say(f"Try them again: tidemill retry {progress.run['id']}")
    if progress.run["state"] == "cancelled":
        return Exit.CANCELLED
    return Exit.SOME_FAILED if progress.totals["failed"] else Exit.OK


def in_words(totals: dict[str, int]) -> str:
    """`12 done, 1 failed`: the states in which there is something."""
    return ", ".join(f"{number:,} {state}" for state, number in totals.items() if number) or "nothing in it"


class JsonFace:
    """A line of JSON for each change."""

    def __init__(self) -> None:
        self._last: object = None

    def show(self, progress: Progress, pace: Pace) -> None:
        """Print the progress if it differs from the last."""
        value = progress.as_json()
        if value != self._last and not progress.over:
            self._last = value
            emit_line({"type": "progress", **value})


class PlainFace:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._last = ""
        self._next = 0.0

    def show(self, progress: Progress, pace: Pace) -> None:
        """Print a line if something has changed, but not too often."""
        line = " · ".join([_signs(step.name, step.counts) for step in progress.steps] + _holds(progress))
        if line == self._last or (time.monotonic() < self._next and not progress.over):
            return
        self._last, self._next = line, time.monotonic() + LINE_SECONDS
        tell(f"run {progress.run['id']}: {line}{_tempo(progress, pace)}")
        out().file.flush()


class LiveFace:
    """A table that changes in place."""

    def __init__(self) -> None:
        self._live = Live(console=out(), auto_refresh=False, transient=True)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        if self._final is not None:
            out().print(self._final)

    _final: Table | None = None

    def show(self, progress: Progress, pace: Pace) -> None:
        """Draw the table anew."""
        self._final = _drawn(progress)
        head = Text.from_markup(_title(progress))
        foot = Text(_tempo(progress, pace).removeprefix(" — ") or "…", style="dim")
        self._live.update(
            Group(head, self._final, *(Text(hold, "magenta") for hold in _holds(progress)), foot), refresh=True
        )


def _title(progress: Progress) -> str:
    run = progress.run
    held = f" [magenta]{SIGNS['paused']} paused[/]" if run["paused"] else ""
    return (
        f"[bold]Run {run['id']}[/] {escape(run['batch'])} → {escape(run['pipeline'])} "
        f"(version {run['pipeline_version']}), {count(run['total'], 'item')}{held}"
    )


def _drawn(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("step")
    for state in progress.totals:
        table.add_column(f"{SIGNS[state]} {state}", justify="right", style=COLOURS[state])
    for step in progress.steps:
        numbers = (f"{step.counts[state]:,}" if step.counts[state] else "·" for state in progress.totals)
        table.add_row(f"{step.position + 1} {escape(step.name)}", *numbers)
    return table


def _signs(name: str, counts: dict[str, int]) -> str:
    return " ".join([name, *(f"{SIGNS[state]} {number}" for state, number in counts.items() if number)])


def _holds(progress: Progress) -> list[str]:
    return [f"{SIGNS['paused']} {held}" for held in dict.fromkeys(step.held for step in progress.steps) if held]


def _tempo(progress: Progress, pace: Pace) -> str:
    rate, left = pace.rate(), pace.left(progress)
    if progress.over or not rate:
        return ""
    return f" — {rate:.1f} steps/s" + (f", about {duration(left)} left (estimate)" if left else "")


@contextmanager
def ending_on_signal(stopped: asyncio.Event) -> Iterator[None]:
    """Within: Ctrl-C sets `stopped`, and the run goes on."""
    from tidemill.cli import door

    with door.stop_signals(lambda _: stopped.set()):
        yield
