"""What an import may write into a record that people and steps here edit, too.

It writes a key only if the value here is still the one that it took over last: an edit made here stays, whatever
happens there. What was taken over last is the base of the comparison; for a record that was here before, it is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.domain.item_edits import Record, same


@dataclass(frozen=True, slots=True)
class Base:
    """What was taken over last."""

    status: str = ""
    metadata: Mapping[str, Any] | None = None


def take_over(record: Record, base: Base, status: str, reason: str, metadata: Mapping[str, Any]) -> list[str]:
    """Put what changed there into the record; the keys (and `status`) that are another here, and stay."""
    before = base.metadata or {}
    kept = []
    for key in sorted({*before, *metadata}):
        if same(record.metadata.get(key), before.get(key)):
            record.put_key(key, metadata.get(key))
        elif not same(record.metadata.get(key), metadata.get(key)):
            kept.append(key)
    if record.status == base.status:
        record.set_status(status, reason)
    elif record.status != status:
        kept.append("status")
    return kept
