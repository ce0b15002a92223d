"""The edge of the program: whatever happens inside becomes an exit code and, at most, one clear message."""

from __future__ import annotations

import datetime as dt
import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path

from tidemill.cli.exits import Exit, exit_code
from tidemill.errors import TidemillError


def run_program() -> int:
    """Parse the command line and do what it says."""
    from tidemill.cli.application import invoked, program

    try:
        program()(standalone_mode=True)
    except SystemExit as end:
        return _flushed(end.code if isinstance(end.code, int) else Exit.INTERNAL if end.code else Exit.OK)
    except TidemillError as error:
        code = exit_code(error)
        if code is Exit.INTERNAL and error.__cause__ is not None:  # of no kind that a person could do something about
            return _broken(error, invoked.site, error.message.splitlines()[0])
        _complain(error.message, error.hint)
        return code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the edge: the whole error is kept in a file
        return _broken(error, invoked.site, f"Tidemill itself has a fault ({type(error).__name__}).")
    return _flushed(Exit.OK)


def _flushed(code: int) -> int:
    """Write out what is still held back, while a reader that is gone can still be noticed."""
    from tidemill.cli.application import closed_pipe

    try:
        sys.stdout.flush()
    except OSError as error:
        return closed_pipe() if error.errno == errno.EPIPE else Exit.INTERNAL
    return code


def _complain(message: str, hint: str | None) -> None:
    from tidemill.cli.output import complain

    complain(message, hint)


def _broken(error: Exception, site: Path | None, message: str) -> int:
    try:
        path = _keep_trace(site, traceback.format_exc())
        where = f"The whole error is in {path}; please send it to those who keep Tidemill."
    except OSError:
        where = "The error could not be written to a file: " + "".join(traceback.format_exception_only(error)).strip()
    _complain(message, where)
    return Exit.INTERNAL


def _keep_trace(site: Path | None, trace: str) -> Path:
    name = f"error-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    text = f"{dt.datetime.now(dt.UTC).isoformat()} tidemill, Python {sys.version}\n\n{trace}"
    if site is not None and site.is_dir():
        path = site / "logs" / name
        path.parent.mkdir(exist_ok=True)
    else:
        path = Path(tempfile.gettempdir()) / f"tidemill-{name}"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
