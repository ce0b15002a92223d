"""From a command to the services: settings, the open site, the event loop, the signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tidemill.cli.application import invoked
from tidemill.cli.exits import Exit
from tidemill.cli.threads import Threads, told_to_end
from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.main import Site
    from tidemill.settings import Settings

T = TypeVar("T")

PATIENCE = 4
"""The signal at which the process ends at once, whatever it is doing."""


def settings() -> Settings:
    """The settings of the site that the command line names. Raises InvalidInput, which names the wrong setting."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from tidemill.settings import load_settings

    try:
        found = load_settings(invoked.site)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "TIDEMILL_" + "_".join(str(part) for part in wrong["loc"][:1]).upper()
        raise InvalidInput(f"The setting {name} is wrong: {wrong['msg']} (it is {wrong['input']!r}).") from error
    except SettingsError as error:
        raise InvalidInput(f"A setting cannot be read: {error}.", hint="Lists are written as JSON.") from error
    invoked.site = found.site
    return found


@asynccontextmanager
async def opened(*, migrate: bool = True, **instead: Any) -> AsyncIterator[Site]:
    """The site, with its database up and current. `instead`: settings that the command line overrides (None: not)."""
    from tidemill.main import open_site

    found = settings().model_copy(update={name: value for name, value in instead.items() if value is not None})
    async with open_site(found, migrate=migrate) as site:
        yield site


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end: the one place where an event loop is made.

    SIGINT and SIGTERM cancel the work, unless it has taken the signals itself (see `stop_signals`).
    """
    quiet()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.get_loop().set_default_executor(Threads())
        return runner.run(_interruptible(work))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        from uvloop import new_event_loop
    except ImportError:  # not made for this platform
        return asyncio.new_event_loop
    return new_event_loop


_takers: list[Callable[[], None]] = []
"""Who takes a signal: the last of them."""


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    seen = 0

    def interrupt() -> None:
        nonlocal seen
        seen += 1
        task.cancel()
        if seen == PATIENCE:  # something does not let itself be cancelled, and a person wants out
            os._exit(Exit.INTERRUPTED)

    def signalled() -> None:
        told_to_end.set()
        if _takers:  # none any more when the work is over and only its threads are waited for
            _takers[-1]()

    loop = asyncio.get_running_loop()
    _takers.append(interrupt)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        _takers.remove(interrupt)


@contextmanager
def stop_signals(called: Callable[[int], None], *, patience: int | None = PATIENCE) -> Iterator[None]:
    """Within: SIGINT and SIGTERM call `called` with how many there were, and cancel nothing.

    `patience`: at that signal the process ends at once; None: at none.
    """
    seen = 0

    def again() -> None:
        nonlocal seen
        seen += 1
        called(seen)
        if seen == patience:
            os._exit(Exit.INTERRUPTED)

    _takers.append(again)
    try:
        yield
    finally:
        _takers.remove(again)


def quiet() -> None:
    """Commands that answer a person: only warnings are logged."""
    _log(logging.WARNING)


def log_all(*, json: bool) -> None:
    """Processes that stay: everything from `info` on."""
    _log(logging.INFO, json=json)


def _log(level: int, *, json: bool = False) -> None:
    import structlog

    from tidemill.cli.output import Lenient

    stream: Any = Lenient(lambda: sys.stderr)  # asked anew: a live display takes stderr's place
    renderer: Any = structlog.processors.JSONRenderer()
    if not json:
        # Its own tracebacks show every variable: slow where they are large, and secrets are among them.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(stream),
        cache_logger_on_first_use=False,
    )
