"""The command line: each command parses, calls one service, renders. `main` is the `tidemill` program."""

from __future__ import annotations


def main() -> int:
    """Run the command line; the exit code (see `tidemill.cli.exits`)."""
    try:
        from tidemill.cli.edge import run_program
        from tidemill.cli.threads import leave

        return leave(run_program())
    except KeyboardInterrupt:  # in the first moments, or the last
        return 130
