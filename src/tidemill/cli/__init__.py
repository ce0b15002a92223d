"""The command line: each command parses, calls one service, renders. `main` is the `tidemill` program."""

from __future__ import annotations


def main() -> int:
    """Run the command line; the exit code (see `tidemill.cli.exits`)."""
    from tidemill.cli.edge import run_program

    return run_program()
