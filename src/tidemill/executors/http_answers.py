"""What an app's answer amounts to: done, failed, or the app is down.

A CLAMS app says in the *body* how it went: 500 with an MMIF that has an error view when the app failed (a
wrong parameter as well), 500 with plain text when it could not read its input, 200 with a `warnings` view for
an unknown parameter (clams-python 1.8.0, `clams/restify`). So the body is judged first, and the status only
explains a body that is no MMIF. A JSON app says it with the status.
"""

from __future__ import annotations

from http import HTTPStatus

import orjson

from tidemill.domain.mmif_answer import Answer, check_answer, first_line, is_mmif
from tidemill.executors.contract import Done, Failed, Outcome, Unavailable, Work
from tidemill.executors.exchange import Reply
from tidemill.executors.http_status import json_object

DOWN = frozenset({502, 503, 504})
"""What a proxy says for an app that is not there, and an app that is starting or full."""
_TOO_BUSY = 429
_NEVER_BETTER = frozenset({400, 401, 403, 404, 405, 406, 411, 413, 414, 415, 422, 501})


def judge(work: Work, reply: Reply) -> Outcome:
    """The outcome of a whole answer, by the app's protocol. Pure, and slow for large documents."""
    if reply.status in (301, 302, 303, 307, 308):
        return Failed(f"The app wanted to send us on to {_where(reply)}; redirects are not followed.", retry=False)
    if reply.status in DOWN and not _is_mmif(reply):
        return Unavailable(f"The app is not available: it answered {_status(reply.status)}.")
    if reply.status == _TOO_BUSY:
        return Unavailable("The app is too busy: it answered 429 Too Many Requests.")
    return _judge_clams(work, reply) if work.app.protocol == "clams" else _judge_json(reply)


def _judge_clams(work: Work, reply: Reply) -> Outcome:
    answer = check_answer(work.document, reply.body)
    if answer.problem is None:
        if reply.status >= 400:
            problem = f"The app answered {_status(reply.status)} with a good MMIF, so it is not clear what it means."
            return Failed(problem, answer.log, document=reply.body)
        return Done(reply.body, answer.log, answer.app_version)
    if answer.is_mmif:
        return Failed(answer.problem, answer.log, retry=answer.retry, document=reply.body)
    return Failed(_words(reply, answer), excerpt(reply.body), retry=_may_get_better(reply))


def _judge_json(reply: Reply) -> Outcome:
    body = json_object(reply.body)
    if 200 <= reply.status < 300:
        if body or reply.body.strip() == b"{}":
            return Done(reply.body)
        problem = f"The app answered {_status(reply.status)} with {_kind(reply.body)} where a JSON object should be."
        return Failed(problem, excerpt(reply.body))
    said = next((str(body[key]) for key in ("detail", "message", "error") if body.get(key)), first_line(reply.body))
    reason = (
        f"The app answered {_status(reply.status)}: {said}" if said else f"The app answered {_status(reply.status)}."
    )
    return Failed(reason, excerpt(reply.body), retry=_may_get_better(reply))


def excerpt(body: bytes, length: int = 4000) -> str:
    """The start of an answer, for the log."""
    text = body[:length].decode("utf-8", "replace")
    return text if len(body) <= length else f"{text}\n… ({len(body)} bytes in all)"


def _words(reply: Reply, answer: Answer) -> str:
    problem = answer.problem or ""
    if reply.status < 400 or not reply.body.strip():
        return problem if reply.status < 400 else f"The app answered {_status(reply.status)} with an empty body."
    if reply.body.lstrip()[:1] == b"<":
        return f"The app answered {_status(reply.status)} with an HTML page: {first_line(reply.body)}"
    return f"The app answered {_status(reply.status)}: {_gist(reply.body)}"


def _gist(body: bytes) -> str:
    """The line that says what is wrong. clams-python puts it below a heading of its own."""
    text = body[:4000].decode("utf-8", "replace")
    head, _, detail = text.partition("See below for validation error.")
    return first_line(detail.encode()) if detail.strip() else first_line(head.encode())


def _may_get_better(reply: Reply) -> bool:
    return reply.status not in _NEVER_BETTER and b"Invalid input data" not in reply.body[:200]


def _is_mmif(reply: Reply) -> bool:
    try:
        return is_mmif(orjson.loads(reply.body))
    except orjson.JSONDecodeError:
        return False


def _kind(body: bytes) -> str:
    start = body.lstrip()[:1]
    if not start:
        return "an empty body"
    return f"an HTML page ({first_line(body)})" if start == b"<" else f"something else ({first_line(body)})"


def _where(reply: Reply) -> str:
    return reply.headers.get("location", "another address, which it did not name")


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)
