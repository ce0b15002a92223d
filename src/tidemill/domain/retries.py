"""What becomes of a task after an attempt: the one place where retries are decided."""

from __future__ import annotations

import random
from dataclasses import dataclass

CIRCUIT_THRESHOLD = 3
"""Times in a row that an app is found to be down before its circuit opens."""

LONGEST_PAUSE = 900.0
"""Seconds; no backoff is longer."""

UNAVAILABLE_PAUSE = 2.0
"""Seconds before a task whose app was down is due again; the app's circuit holds it back longer if need be."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`tries` in all, the second after `backoff` seconds, each further one after twice the last pause."""

    tries: int
    backoff: float

    def pause(self, used: int) -> float | None:
        """Seconds to wait when `used` tries are used up; None after the last. Jitter: 50% to 100% of the pause."""
        if used >= self.tries:
            return None
        longest: float = min(self.backoff * 2 ** min(used - 1, 30), LONGEST_PAUSE)
        return longest * random.uniform(0.5, 1.0)
