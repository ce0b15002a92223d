"""What a step raises to say how it ended, where returning says too little."""

from __future__ import annotations

import datetime as dt


class Retry(Exception):
    """This went wrong and may go better later: `Retry("the tape robot is busy", after=60)`.

    `after`: seconds (or a timedelta) until the next try; None: as the step's retry policy says. It uses up a try.
    """

    def __init__(self, reason: str = "", after: float | dt.timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after.total_seconds() if isinstance(after, dt.timedelta) else after


class Skip(Exception):
    """The step does not apply to this item, which goes on to the next step as it came."""


class Bad(Exception):
    """The item itself is no good: its status becomes `bad`, with this reason, and it is not tried again."""


class Cancelled(BaseException):
    """The attempt is over (cancelled, or past its deadline): raised in a step that still reports progress or logs.

    Not an Exception, so that a step's own `except Exception` lets it pass.
    """
