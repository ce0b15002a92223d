"""Time zones for tests that must not meet a midnight, at which a day or a week ends."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo


def quiet_zone(*names: str) -> str:
    """The first of these zones in which it is not close to midnight; some hours must lie between them."""
    now = dt.datetime.now(dt.UTC)
    return next(name for name in names if 1 <= now.astimezone(ZoneInfo(name)).hour < 22)
