"""Apps behind a URL: the CLAMS protocol, plain JSON in and out, and either of them asynchronously.

- `clams`: `POST url?parameters` with the MMIF as body (clams-python 1.8.0); `http_answers` says how it is
judged.
- `json`: the same with any JSON object; 2xx with a JSON object is the output.
- An app that answers 202 works asynchronously: `http_status` has the protocol.

Work in an app that hung up or was too slow may still be going on there, and CLAMS has no way to stop it. Apps
are functions of their input, so doing it twice costs time and nothing else; each call carries
`Idempotency-Key: <task>-<fence>` for apps that want to know it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

import orjson

from tidemill.errors import AddressForbidden, AppRefused
from tidemill.executors.addresses import AddressPolicy, parse_url
from tidemill.executors.contract import (
    Failed,
    Outcome,
    Progress,
    Report,
    Submitted,
    Unavailable,
    Work,
)
from tidemill.executors.exchange import Broken, Encoded, Exchanger, OutOfTime, Reply, TooLong, Unreachable
from tidemill.executors.http_answers import DOWN, excerpt, judge
from tidemill.executors.http_status import StatusReport, json_object, poll_after, read_status, status_url

OFF_LOOP_BYTES = 128 * 1024
"""Answers longer than this are judged in a thread, so that other calls go on meanwhile."""
STATUS_SECONDS = 30.0
METADATA_SECONDS = 20.0
METADATA_BYTES = 4 * 1024 * 1024


class HttpExecutor:
    """The engine of kind `http`. One per process; safe for hundreds of calls at once in one event loop."""

    at_once: int | None = None

    def __init__(self, policy: AddressPolicy | None = None) -> None:
        self.policy = policy or AddressPolicy()
        self._exchanger = Exchanger(self.policy)

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        """Call the app; see `Executor`. CLAMS has no progress: only an asynchronous app's attempt has any."""
        headers = {
            "Content-Type": "application/json",
            "Prefer": "respond-async",
            "Idempotency-Key": work.key,
        }
        reply = await self._call(work, "POST", with_parameters(work.app.url, work.parameters), work.document, headers)
        if not isinstance(reply, Reply):
            return reply
        if reply.status == 202:
            return self._accepted(work, reply)
        return await _judged(work, reply)

    async def poll(self, work: Work, handle: Mapping[str, Any]) -> Progress | None:
        """See `Executor`. An app that cannot be reached for a while is not finished: its deadline decides.

        That deadline is the runner's to keep, by the database's clock: the handle may be another machine's.
        """
        reply = await self._ask(work, handle)
        if isinstance(reply, Unavailable):
            return Progress(message=reply.reason, poll_after=5.0)
        if not isinstance(reply, Reply):
            return None
        if reply.status in DOWN or reply.status == 429:
            busy = f"The app answered {reply.status} when asked how far it is."
            return Progress(message=busy, poll_after=poll_after(reply, default=5.0))
        status = read_status(reply)
        if status.state != "running":
            return None
        return Progress(status.fraction, status.message, status.poll_after)

    async def collect(self, work: Work, handle: Mapping[str, Any]) -> Outcome:
        """See `Executor`."""
        reply = await self._ask(work, handle)
        if not isinstance(reply, Reply):
            return reply
        if reply.status in DOWN or reply.status == 429:
            return Unavailable(f"The app answered {reply.status} when asked for its result.")
        status = read_status(reply)
        if status.state == "running":
            return Failed("The app says that it is still at work, after it said that it was finished.")
        return await self._result(work, reply, status)

    async def cancel(self, work: Work, handle: Mapping[str, Any]) -> None:
        """Ask the app to stop (`DELETE` of the status URL). Nothing that it answers is an error."""
        await self._call(work, "DELETE", str(handle["status_url"]), seconds=STATUS_SECONDS)

    async def close(self) -> None:
        """Nothing is kept open between calls."""

    async def read_metadata(self, url: str) -> dict[str, Any]:
        """What a CLAMS app says of itself (`GET /`); keys at their default are left out by clams-python.

        Raises AddressForbidden where the site does not allow the address, AppRefused for every answer that is
        no CLAMS metadata, with what the app said instead.
        """
        await self.policy.check(url)
        try:
            reply = await self._exchanger.exchange("GET", url, deadline=METADATA_SECONDS, max_answer=METADATA_BYTES)
        except (Unreachable, Broken, TooLong, Encoded, OutOfTime) as error:
            raise AppRefused(f"{url} cannot be read: {_trouble(error, METADATA_SECONDS)}") from error
        return _metadata(url, reply)

    def _accepted(self, work: Work, reply: Reply) -> Submitted | Failed:
        written = status_url(reply)
        if written is None:
            reason = "The app answered 202 Accepted without a status URL in Location, so its result cannot be fetched."
            return Failed(reason, excerpt(reply.body), retry=False)
        url = urljoin(work.app.url, written)
        if refusal := self._refusal(work, url):
            return refusal
        return Submitted({"status_url": url}, poll_after(reply))

    def _refusal(self, work: Work, url: str) -> Failed | None:
        """A status or result URL must lead to the app's own origin, or to a host that the site names itself."""
        try:
            target = parse_url(url)
        except AddressForbidden as error:
            return Failed(f"The app named a URL that is not allowed. {error.message}", retry=False)
        if target.origin == parse_url(work.app.url).origin or self.policy.names(target.host, target.port):
            return None
        reason = f"The app named a URL on another host, {url}, which this site does not allow."
        return Failed(reason, retry=False)

    async def _ask(self, work: Work, handle: Mapping[str, Any]) -> Reply | Outcome:
        url = str(handle["status_url"])
        return self._refusal(work, url) or await self._call(work, "GET", url, seconds=STATUS_SECONDS)

    async def _result(self, work: Work, reply: Reply, status: StatusReport) -> Outcome:
        if status.state == "gone":
            return Failed(
                f"The app no longer knows of this work (it answered {reply.status}); it was restarted, perhaps."
            )
        if status.state == "failed":
            return await self._failure(work, status)
        if status.state == "result":
            return await _judged(work, reply)
        if status.result is not None:
            return await _judged(work, Reply(200, {}, orjson.dumps(status.result)))
        if status.result_url is None:
            return Failed("The app says that it is done, but gives neither a result nor a result_url.", retry=False)
        return await self._fetch(work, urljoin(reply.url, status.result_url))

    async def _fetch(self, work: Work, url: str) -> Outcome:
        if refusal := self._refusal(work, url):
            return refusal
        reply = await self._call(work, "GET", url)
        return await _judged(work, reply) if isinstance(reply, Reply) else reply

    async def _failure(self, work: Work, status: StatusReport) -> Outcome:
        reason = f"The app failed: {status.message or 'it gave no reason'}"
        if work.app.protocol == "clams" and status.result is not None:
            judged = await _judged(work, Reply(500, {}, orjson.dumps(status.result)))
            if isinstance(judged, Failed) and judged.document is not None:
                return judged
        return Failed(reason)

    async def _call(
        self,
        work: Work,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Reply | Failed | Unavailable:
        deadline = min(work.app.deadline, seconds or work.app.deadline)
        try:
            return await self._exchanger.exchange(
                method, url, body=body, headers=headers, deadline=deadline, max_answer=work.app.max_answer
            )
        except AddressForbidden as error:
            return Failed(error.message, log=error.hint or "", retry=False)
        except Unreachable as error:
            return Unavailable(f"The app cannot be reached: {error}.")
        except (OutOfTime, Broken) as error:
            if seconds is not None:  # a question about work that goes on: it can be asked again
                return Unavailable(_trouble(error, deadline))
            return Failed(_trouble(error, deadline), timed_out=isinstance(error, OutOfTime))
        except (TooLong, Encoded) as error:
            return Failed(_trouble(error, deadline), retry=False)


def with_parameters(url: str, parameters: Mapping[str, Any]) -> str:
    """An app's URL with a step's parameters in its query, after what the query held already.

    As clams-python reads them: lists repeat, a map repeats as `key:value`, booleans are `true` and `false`;
    None is left out, so that the app's default holds.
    """
    parts = urlsplit(url)
    query = urlencode(list(_pairs(parameters)))
    joined = "&".join(filter(None, [parts.query, query]))
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", joined, ""))


def _pairs(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from ((name, f"{key}:{_text(one)}") for key, one in value.items())
        elif isinstance(value, list | tuple | set | frozenset):
            yield from ((name, _text(one)) for one in value)
        elif value is not None:
            yield name, _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _judged(work: Work, reply: Reply) -> Outcome:
    if len(reply.body) + len(work.document) > OFF_LOOP_BYTES:
        return await asyncio.to_thread(judge, work, reply)
    return judge(work, reply)


def _metadata(url: str, reply: Reply) -> dict[str, Any]:
    if reply.status in (301, 302, 303, 307, 308):
        to = reply.headers.get("location", "nowhere")
        raise AppRefused(f"{url} wants to send us on to {to}. Register the app under its own address.")
    if reply.status != 200:
        raise AppRefused(f"{url} answered {reply.status} where a CLAMS app gives its metadata.")
    found = dict(json_object(reply.body))
    if not any(found.get(key) for key in ("name", "identifier")):
        raise AppRefused(
            f"{url} does not answer as a CLAMS app: it gave no JSON with a name and an identifier.",
            hint=f"It answered: {excerpt(reply.body, 200)}",
        )
    return found


def _too_slow(seconds: float) -> str:
    return f"The app did not finish its answer within {seconds:g} seconds."


def _trouble(error: Exception, seconds: float) -> str:
    if isinstance(error, Unreachable):
        return f"it cannot be reached: {error}."
    if isinstance(error, OutOfTime):
        return _too_slow(seconds)
    if isinstance(error, TooLong):
        return f"The app's answer is longer than allowed ({error})."
    if isinstance(error, Encoded):
        return f"The app sent its answer compressed ({error}), which it was asked not to."
    return f"The connection to the app broke: {error}."
