"""Watching a run from the command line: a live table on a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from contextlib import nullcontext, suppress
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tidemill.cli.exits import Exit
from tidemill.cli.output import COLOURS, SIGNS, count, emit_line, out, say, tell
from tidemill.db.database import Database
from tidemill.errors import DatabaseUnavailable
from tidemill.runner import look
from tidemill.runner.look import RunOverview

LOOK_SECONDS = 0.5
LINE_SECONDS = 2.0
"""Without a terminal: at most a line in so many seconds."""

SHOWN_FAILURES = 20

SELDOM = ("submitted", "cancelled")
"""States that have a column only where a task is in them, so that the table fits 80 columns."""


class Face(Protocol):
    """How progress is shown."""

    def show(self, run: RunOverview) -> None: ...


async def follow(database: Database, run: int, *, json: bool, stopped: asyncio.Event) -> RunOverview:
    """Show a run's progress until it is over or until `stopped` is set; the last that was seen.

    Raises NotFound, and DatabaseUnavailable where `stopped` is set while the database is away.
    """
    face: Face = JsonFace() if json else LiveFace() if out().is_terminal else PlainFace()
    with face if isinstance(face, LiveFace) else nullcontext():
        while True:
            seen = await _looked(database, run, stopped)
            face.show(seen)
            if seen.state != "active" or stopped.is_set():
                return seen
            await _pause(stopped)


async def seen_now(database: Database, run: int) -> RunOverview:
    """How far the run is. Raises NotFound."""
    async with database.begin() as session:
        return await look.overview(session, run)


async def _looked(database: Database, run: int, stopped: asyncio.Event) -> RunOverview:
    """How far the run is; waits while the database is away, as the workers do, until `stopped` is set."""
    told = False
    while True:
        try:
            return await seen_now(database, run)
        except DatabaseUnavailable as error:
            if stopped.is_set():
                raise
            if not told:
                say(f"{error.message} Waiting for it.")
                told = True
            await _pause(stopped)


async def _pause(stopped: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_SECONDS):
            await stopped.wait()


async def conclude(database: Database, run: RunOverview, *, json: bool) -> Exit:
    """Say how a run ended, with the reasons of its failures; the exit code that this means."""
    failed = []
    if run.totals["failed"]:
        async with database.begin() as session:
            failed = (await look.window(session, run.id, limit=SHOWN_FAILURES, states=["failed"])).tasks
    if json:
        reasons = [{key: row[key] for key in ("item", "step", "step_name", "tries", "reason")} for row in failed]
        emit_line({"type": "end", "run": dataclasses.asdict(run), "failures": reasons})
    else:
        tell(f"Run {run.id} is {run.state}: {in_words(run.totals)}.")
        for row in failed:
            tell(f"  {SIGNS['failed']} {row['item']} at {row['step_name']}: {row['reason']}")
        if (more := run.totals["failed"] - len(failed)) > 0:
            tell(f"  … and {more:,} more")
        if failed:
            say(f"To try them again: tidemill retry {run.id}")
    if run.state == "cancelled":
        return Exit.CANCELLED
    return Exit.SOME_FAILED if run.totals["failed"] else Exit.OK


def in_words(totals: dict[str, int]) -> str:
    """`12 done, 1 failed`: the states in which there is something."""
    return ", ".join(f"{number:,} {state}" for state, number in totals.items() if number) or "nothing in it"


class JsonFace:
    """A line of JSON for each change."""

    def __init__(self) -> None:
        self._last: object = None

    def show(self, run: RunOverview) -> None:
        """Print how the run stands, if that differs from the last line."""
        standing = (run.state, run.paused, run.priority, [(step.counts, step.held_back) for step in run.steps])
        if standing != self._last and run.state == "active":
            self._last = standing
            emit_line({"type": "progress", "run": dataclasses.asdict(run)})


class PlainFace:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._last = ""
        self._next = 0.0

    def show(self, run: RunOverview) -> None:
        """Print a line if something has changed, but not too often."""
        line = " · ".join([_signs(step.name, step.counts) for step in run.steps] + _holds(run))
        over = run.state != "active"
        if line == self._last or (time.monotonic() < self._next and not over):
            return
        self._last, self._next = line, time.monotonic() + LINE_SECONDS
        tell(f"run {run.id}: {line}" + ("" if over else f" — {_tempo(run)}"))
        out().file.flush()


class LiveFace:
    """A table that changes in place; when it is left, the last one stays."""

    def __init__(self) -> None:
        self._live = Live(console=out(), auto_refresh=False, transient=True)
        self._final: Group | None = None

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        if self._final is not None:
            out().print(self._final)

    def show(self, run: RunOverview) -> None:
        """Draw the table anew."""
        self._final = Group(_title(run), _drawn(run))
        holds = (Text(hold, COLOURS["paused"]) for hold in _holds(run))
        self._live.update(Group(self._final, *holds, Text(_tempo(run), style="dim")), refresh=True)


def _title(run: RunOverview) -> Text:
    held = f" [{COLOURS['paused']}]{SIGNS['paused']} paused[/]" if run.paused else ""
    return Text.from_markup(
        f"[bold]Run {run.id}[/] {escape(run.batch)} → {escape(run.pipeline)} "
        f"(version {run.pipeline_version}), {count(run.total, 'item')}{held}"
    )


def _drawn(run: RunOverview) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("step", no_wrap=True)
    states = [state for state in run.totals if run.totals[state] or state not in SELDOM]
    for state in states:
        table.add_column(f"{SIGNS[state]} {state}", justify="right", style=COLOURS[state])
    for step in run.steps:
        numbers = (f"{step.counts[state]:,}" if step.counts[state] else "·" for state in states)
        table.add_row(f"{step.position + 1} {escape(step.name)}", *numbers)
    return table


def _signs(name: str, counts: dict[str, int]) -> str:
    return " ".join([name, *(f"{SIGNS[state]} {n}" for state, n in counts.items() if n and state in SIGNS)])


def _holds(run: RunOverview) -> list[str]:
    reasons = (step.held_back for step in run.steps)
    return [f"{SIGNS['paused']} {reason}" for reason in dict.fromkeys(reasons) if reason]


def _tempo(run: RunOverview) -> str:
    rate = f"{run.rate:,.0f} steps a minute, " if run.rate else ""
    return f"{run.percent:g}%, {rate}time left: {run.time_left}"
