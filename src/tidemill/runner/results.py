"""From what an engine answered to what becomes of the task: rules only, no input or output."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from tidemill.db.database import Row
from tidemill.domain.retries import UNAVAILABLE_PAUSE, RetryPolicy
from tidemill.executors.contract import Done, Failed, KeptFile, Outcome, Skipped
from tidemill.storage.documents import Stored

LOG_LIMIT = 64 * 1024
"""Characters of an attempt's log that are kept: the last ones."""


@dataclass(slots=True)
class Result:
    """One attempt's end, as `tasks.finish` takes it, with the documents to store in the same transaction."""

    row: dict[str, Any]
    documents: list[dict[str, Any]]

    @property
    def size(self) -> int:
        return 500 + sum(int(document["size"]) for document in self.documents if document["body"] is not None)


def reused(task: Row) -> Result:
    """The output of an earlier attempt with the same input, app version and parameters is taken."""
    row = _base(task) | {
        "outcome": "done",
        "move": "next",
        "output": task["earlier_output"],
        "origin_task": task["earlier_task"],
        "origin_fence": task["earlier_fence"],
    }
    return Result(row, [])


def judged(task: Row, policy: RetryPolicy, outcome: Outcome, stored: Stored | None) -> Result:
    """What `outcome` means for the task. `stored` is where the answer's document was kept, if it had one."""
    documents = [stored.as_row()] if stored else []
    row = _base(task) | {"output": stored.sha256 if stored else None}
    if isinstance(outcome, Done):
        row |= {
            "outcome": "done",
            "move": "next",
            "log": _tail(outcome.log),
            "said": clean(outcome.app_version),
            "files": _listed(outcome.files),
            "inputs": _listed(outcome.inputs),
            "record": dict(outcome.record) or None,
        }
    elif isinstance(outcome, Skipped):
        row |= {
            "outcome": "skipped",
            "move": "next",
            "log": _tail(outcome.log),
            "said": clean(outcome.app_version),
            "files": _listed(outcome.files),
            "inputs": _listed(outcome.inputs),
            "error": clean(outcome.reason),
        }
    elif isinstance(outcome, Failed):
        row |= _failed(task, policy, outcome)
    else:
        row |= {
            "outcome": "unavailable",
            "move": "retry",
            "delay": UNAVAILABLE_PAUSE * random.uniform(0.5, 1.0),
            "down": True,
            "error": clean(outcome.reason),
            "reason": clean(outcome.reason),
        }
    return Result(row, documents)


def broken(task: Row, error: Exception) -> Result:
    """The attempt itself broke, in Tidemill and not in the app: the task fails and says so."""
    reason = clean(f"Tidemill could not do this attempt: {type(error).__name__}: {error}")
    return Result(
        _base(task) | {"outcome": "failed", "move": "failed", "counted": True, "error": reason, "reason": reason}, []
    )


def refused(result: Result, why: str) -> Result:
    """A result that the database would not take: the task fails and says so; the rest of the set is not its victim."""
    kept = ("task", "fence", "step", "app", "version", "pipeline_version", "input", "revision", "started")
    reason = f"The result could not be recorded. {clean(why)}"
    row = {key: result.row[key] for key in kept}
    return Result(row | {"outcome": "failed", "move": "failed", "counted": True, "error": reason, "reason": reason}, [])


def _failed(task: Row, policy: RetryPolicy, outcome: Failed) -> dict[str, Any]:
    used = task["tries"] + 1
    pause = policy.pause(used) if outcome.retry else None
    if pause is not None and outcome.after is not None:
        pause = outcome.after
    error = clean(outcome.reason)
    reason = error if pause is None else f"{error} (try {used} of {policy.tries})"
    return {
        "outcome": "failed",
        "move": "failed" if pause is None else "retry",
        "counted": True,
        "delay": pause,
        "down": outcome.timed_out,
        "error": error,
        "reason": reason,
        "log": _tail(outcome.log),
        "said": clean(outcome.app_version),
        "status": outcome.status or None,
        "files": _listed(outcome.files),
        "inputs": _listed(outcome.inputs),
    }


def _listed(files: tuple[KeptFile, ...]) -> list[dict[str, Any]] | None:
    return [asdict(file) for file in files] or None


def _base(task: Row) -> dict[str, Any]:
    return {
        "task": task["id"],
        "fence": task["fence"],
        "step": task["step"],
        "app": task["app_id"],
        "version": task["version_id"],
        "pipeline_version": task["pipeline_version_id"],
        "input": task["input"],
        "revision": task.get("revision"),
        "started": task["started_at"],
    }


def _tail(log: str) -> str:
    return clean(log[-LOG_LIMIT:])


def clean(text: str) -> str:
    """Without what PostgreSQL's text cannot hold (NUL) and UTF-8 cannot say (lone surrogates)."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
