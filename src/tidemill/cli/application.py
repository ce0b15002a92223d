"""The `tidemill` program: its global options, and the modules that bring its commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from tidemill.cli.exits import Exit


@dataclass
class Invocation:
    """What was said before the command's name."""

    site: Path | None = None


invoked = Invocation()


class Commands(TyperGroup):
    """All commands: a reader of their output that goes away is not an error of theirs."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; BrokenPipeError becomes an exit code before Typer can call it a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(closed_pipe()) from None


def closed_pipe() -> int:
    """The reader is gone: nothing more to say, and Python must not complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.PIPE


application = typer.Typer(
    cls=Commands,
    name="tidemill",
    help="Run collections of files through chains of processing, watch it live, take the results away.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from tidemill import __version__

        typer.echo(f"tidemill {__version__}")
        raise typer.Exit


@application.callback()
def options(
    site: Annotated[
        Path | None,
        typer.Option(help="Folder of the site [default: $TIDEMILL_SITE, or ./site].", show_default=False),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run collections of files through chains of processing, watch it live, take the results away."""
    invoked.site = site


COMMANDS = (
    "up",
    "demo",
    "site_file",
    "apps",
    "sync",
    "load_metadata",
    "items",
    "item_edits",
    "imports",
    "batches",
    "runs",
    "steering",
    "operating",
    "operating_results",
    "watch_runs",
    "schedules",
    "worker",
    "changes",
    "documents",
    "attempts",
    "packages",
    "purge",
    "purge_packages",
    "build_package",
    "tokens",
    "database",
)
"""Modules of commands, in the order of the help; each registers its own with `application`."""


def with_commands() -> typer.Typer:
    """The application with every command."""
    for module in COMMANDS:
        name = f"tidemill.cli.{module}"
        if find_spec(name):
            import_module(name)
    return application


@cache
def program() -> Callable[..., Any]:
    """The command line, ready to be called: made of what all modules declare, which takes longer than most parsing."""
    return get_command(with_commands())
