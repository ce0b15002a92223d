"""What commands print: tables and sentences for people on a terminal or in a log, JSON for programs."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import IO, Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]

SIGNS = {
    "waiting": "○",
    "running": "◐",
    "submitted": "⇡",
    "done": "●",
    "failed": "✕",
    "cancelled": "⊘",
    "paused": "‖",
}
"""The same signs as on the pages."""

COLOURS = {
    "waiting": "dim",
    "running": "cyan",
    "submitted": "blue",
    "done": "green",
    "failed": "red",
    "cancelled": "yellow",
    "paused": "magenta",
}


@cache
def out() -> Console:
    """Where answers go. Piped into a file or a program it never cuts or wraps a line."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000, soft_wrap=not sys.stdout.isatty())


class Lenient:
    """A stream that loses what it cannot write, as a log does on a full disk or without a reader: work goes on."""

    def __init__(self, stream: Callable[[], IO[str]]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)


class _Remarks(Console):
    @property
    def file(self) -> IO[str]:
        stream = super().file
        return cast("IO[str]", Lenient(lambda: stream))

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file


@cache
def err() -> Console:
    """Where remarks, questions and errors go. None of them fails: what is to be done does not hang on being heard."""
    return _Remarks(stderr=True, highlight=False, soft_wrap=True)


_STEERING = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def tame(text: str) -> str:
    """Text as a terminal may have it: what would steer it (from a key, or an app's own words) is written out."""
    return text.translate(_STEERING)


def say(text: str) -> None:
    """A sentence for a person, beside the answer proper (on stderr)."""
    err().print(escape(tame(text)))


def tell(text: str) -> None:
    """A line of the answer (on stdout)."""
    out().print(escape(tame(text)))


def complain(message: str, hint: str | None = None) -> None:
    """An error, in red, with what may help beneath."""
    err().print(f"[bold red]error:[/] {escape(tame(message))}")
    if hint:
        err().print(f"[dim]hint:[/] {escape(tame(hint))}")


def emit(value: Any) -> None:
    """One JSON document on stdout; times as ISO 8601 in UTC."""
    sys.stdout.write(_json(value, indent=True) + "\n")


def emit_line(value: Any) -> None:
    """One line of a stream of JSON, sent at once."""
    sys.stdout.write(_json(value, indent=False) + "\n")
    sys.stdout.flush()


def _json(value: Any, *, indent: bool) -> str:
    from tidemill.domain.plain_json import dumped

    return dumped(value, indent=indent).decode()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Rows under headings; a sentence where there are none. Columns whose heading ends in `#` stand to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column.rstrip("#"), justify="right" if column.endswith("#") else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell(value) for value in row))
    out().print(drawn) if drawn.row_count else say(empty)


def cell(value: Any) -> str:
    """A value as a person reads it; a state with its sign."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    text = str(value)
    return state(text) if text in SIGNS else escape(tame(text))


def state(word: str) -> str:
    """A state as sign and word, coloured where there is colour."""
    return f"[{COLOURS[word]}]{SIGNS[word]} {word}[/]"


def count(number: int, noun: str) -> str:
    """`1 item`, `2,000 items`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """`850 ms`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


async def confirm(question: str, *, yes: bool) -> None:
    """Ask a person. Raises NotConfirmed where the answer is no, or where nobody is there to ask."""
    from tidemill.cli.exits import NotConfirmed

    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed("Nobody is here to say yes: nothing was changed.", hint="Give --yes to go ahead.")
    answer = ""
    while answer not in ("y", "yes"):
        typer.echo(f"{question} [y/N]: ", err=True, nl=False)
        answer = (await _line_of_terminal()).strip().lower()
        if answer in ("", "n", "no"):
            raise NotConfirmed


async def _line_of_terminal() -> str:
    """What a person types, up to Enter. The event loop waits for it, so that a signal ends the wait at once."""
    loop, terminal, typed = asyncio.get_running_loop(), sys.stdin.fileno(), asyncio.Event()
    loop.add_reader(terminal, typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(terminal)
        os.set_blocking(terminal, True)  # the loop's library set it otherwise, for whoever shares this terminal
    return sys.stdin.buffer.readline().decode(errors="replace")
