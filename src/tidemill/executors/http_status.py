"""How an asynchronous app says how far it is: the one protocol that Tidemill documents for it.

1. `POST` with `Prefer: respond-async` (RFC 7240, 4.1) is answered `202 Accepted` (RFC 9110, 15.3.3) with a
status URL in `Location`, and `Retry-After` where the app knows when it is worth asking. 2. `GET` of the
status URL answers 200 or 202 with JSON: `{"state": "running", "progress": 0.4, "message": "frame 400 of
1000"}`. `state` is `queued`, `running`, `done` or `failed`; `progress` goes from 0 to 1. 3. A finished one
carries its `result` in the same JSON, or `result_url`, or answers `303 See Other` with the result's
`Location` (RFC 9110, 15.4.4). `failed` carries the reason in `message`. 4. `DELETE` of the status URL stops
it. 404 and 410 say that the app knows nothing of it any more.

Liberally accepted as well: the words of OGC API Processes, part 1 (`status`: `accepted`, `successful`,
`dismissed`; `progress` as a whole number of percent), `percent`, `error` or `detail` for the message,
`status_url` or `location` in the body of the 202, and a status URL that answers 200 with the result itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from tidemill.executors.exchange import Reply

_RUNNING = frozenset(
    {
        "accepted",
        "active",
        "created",
        "in_progress",
        "in-progress",
        "initializing",
        "pending",
        "processing",
        "queued",
        "received",
        "running",
        "scheduled",
        "started",
        "starting",
        "submitted",
        "waiting",
        "working",
    }
)
_DONE = frozenset(["complete", "completed", "done", "finished", "ok", "ready", "succeeded", "success", "successful"])
_FAILED = frozenset(
    {
        "aborted",
        "canceled",
        "cancelled",
        "crashed",
        "dead",
        "dismissed",
        "error",
        "errored",
        "failed",
        "failure",
        "killed",
        "rejected",
        "revoked",
        "stopped",
        "timeout",
    }
)
_RESULT_KEYS = ("result_url", "result_location", "results_url")
_SHORTEST_WAIT, _LONGEST_WAIT = 0.05, 60.0


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What a status URL said."""

    state: str
    """`running`, `done`, `failed`, `gone`, or `result`: the body says no state, so it is the result or an error."""
    fraction: float | None = None
    message: str = ""
    result: Any = None
    result_url: str | None = None
    poll_after: float = 1.0


def read_status(reply: Reply) -> StatusReport:
    """Read the answer of a status URL."""
    wait = poll_after(reply)
    if reply.status in (404, 410):
        return StatusReport("gone")
    if reply.status in (301, 302, 303, 307, 308) and "location" in reply.headers:
        return StatusReport("done", result_url=reply.headers["location"])
    body = json_object(reply.body)
    state = _state(body)
    if state is None:
        if reply.status == 202:
            return StatusReport("running", poll_after=wait)
        return StatusReport("result")
    return StatusReport(
        state,
        _fraction(body),
        _message(body),
        body.get("result", body.get("output")),
        next((str(body[key]) for key in _RESULT_KEYS if body.get(key)), None),
        wait,
    )


def status_url(reply: Reply) -> str | None:
    """Where a 202 says that its progress can be asked for, as written (it may be relative)."""
    if location := reply.headers.get("location"):
        return location
    body = json_object(reply.body)
    return next((str(body[key]) for key in ("status_url", "location") if isinstance(body.get(key), str)), None)


def poll_after(reply: Reply, default: float = 1.0) -> float:
    """Seconds until it is worth asking again, from `Retry-After` (seconds or a date)."""
    text = reply.headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, default)
    if not math.isfinite(seconds):
        seconds = default
    return min(max(seconds, _SHORTEST_WAIT), _LONGEST_WAIT)


def json_object(body: bytes) -> Mapping[str, Any]:
    """The body as a JSON object, or an empty one where it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _seconds_until(text: str, default: float) -> float:
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return default
    return (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _state(body: Mapping[str, Any]) -> str | None:
    word = body.get("state", body.get("status"))
    if not isinstance(word, str):
        return None
    word = word.strip().lower()
    if word in _DONE:
        return "done"
    if word in _FAILED:
        return "failed"
    return "running" if word in _RUNNING else None


def _fraction(body: Mapping[str, Any]) -> float | None:
    """0 to 1. A number above 1, one named `percent` and one with a % sign is a percentage."""
    value, percent = body.get("progress"), False
    if value is None:
        value, percent = body.get("percent"), True
    if isinstance(value, str):
        percent = percent or value.strip().endswith("%")
        value = _number(value.strip().rstrip("% "))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    share = value / 100 if percent or value > 1 else float(value)
    return min(max(share, 0.0), 1.0)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _message(body: Mapping[str, Any]) -> str:
    for key in ("message", "error", "detail", "reason"):
        value = body.get(key)
        if isinstance(value, Mapping):
            value = value.get("message") or value.get("detail")
        if isinstance(value, str) and value.strip():
            return value.strip()[:2000]
    return ""
