"""One HTTP exchange with an app, within bounds: where it may connect, how long it may take, how much may come
back.

Every exchange has a connection of its own. CLAMS apps in production replace their process after each request
(gunicorn with `max_requests=1`), so a kept connection is a connection about to be reset; and a call that
takes minutes gains nothing from one. Proxies of the environment are not used: the address policy would not
see through them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpcore2

from tidemill.executors.addresses import AddressPolicy, PinnedBackend, Target, parse_url

CONNECT_SECONDS = 10.0
RESETS_RETRIED = 2
PROBABLY_UNREAD_SECONDS = 2.0
"""A connection that is cut this soon, before a byte of the answer, was most likely never read by the app."""


class Unreachable(Exception):
    """No connection: refused, unknown host, no route, TLS failed, or no answer to the attempt to connect."""


class Broken(Exception):
    """The connection was cut, or what came over it was not HTTP."""


class TooLong(Exception):
    """The answer is longer than it may be."""


class OutOfTime(Exception):
    """The deadline passed after the connection was made."""


class Encoded(Exception):
    """The answer is compressed, which was not asked for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; the last one wins where a name repeats."""
    body: bytes
    url: str = ""


@dataclass(slots=True)
class _Progress:
    """How far one exchange came, so that a failure can be told apart afterwards."""

    answered: bool = False
    connected_at: float = field(default=0.0)


class Exchanger:
    """Makes exchanges under one address policy; safe for hundreds at once in one event loop."""

    def __init__(self, policy: AddressPolicy) -> None:
        self.policy = policy
        self._backend = PinnedBackend(policy)
        self._tls: ssl.SSLContext | None = None

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        deadline: float,
        max_answer: int,
    ) -> Reply:
        """One request and its whole answer; redirects are handed back, never followed.

        `deadline` in seconds covers everything from the connection to the last byte; `max_answer` in bytes.
        Raises AddressForbidden, Unreachable, Broken, TooLong, Encoded, OutOfTime.
        """
        target = parse_url(url)
        ends = time.monotonic() + deadline
        for attempt in range(RESETS_RETRIED + 1):
            progress = _Progress()
            try:
                async with asyncio.timeout(max(ends - time.monotonic(), 0)):
                    return await self._once(method, target, body, headers or {}, max_answer, progress)
            except TimeoutError as error:
                if progress.connected_at:
                    raise OutOfTime from error
                raise Unreachable(f"no connection within {deadline:g} s") from error
            except Broken:
                early = time.monotonic() - progress.connected_at < PROBABLY_UNREAD_SECONDS
                if progress.answered or not early or attempt == RESETS_RETRIED:
                    raise
                # The app's process was being replaced: give the next one a moment to listen.
                await asyncio.sleep(0.05 * (attempt + 1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(
        self,
        method: str,
        target: Target,
        body: bytes,
        headers: Mapping[str, str],
        max_answer: int,
        progress: _Progress,
    ) -> Reply:
        request = _request(method, target, body, headers)
        connection = httpcore2.AsyncHTTPConnection(
            origin=request.url.origin,
            ssl_context=self._tls_context() if target.scheme == "https" else None,
            network_backend=self._backend,
        )
        try:
            response = await self._headers(connection, request, progress)
            _refuse_long_or_encoded(response, max_answer)
            return Reply(response.status, _headers_of(response), await _read(response, max_answer), str(target))
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise Broken(str(error) or type(error).__name__) from error
        finally:
            await connection.aclose()

    async def _headers(
        self, connection: httpcore2.AsyncHTTPConnection, request: httpcore2.Request, progress: _Progress
    ) -> httpcore2.Response:
        async def note(event: str, _: object) -> None:
            if event == "connection.connect_tcp.complete":
                progress.connected_at = time.monotonic()

        request.extensions["trace"] = note
        try:
            response = await connection.handle_async_request(request)
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise Unreachable(_why(error)) from error
        progress.answered = True
        return response

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            try:
                self._tls = httpcore2.default_ssl_context()
            except OSError as error:
                raise Unreachable(f"this machine's certificate authorities cannot be read ({error})") from error
        return self._tls


def _request(method: str, target: Target, body: bytes, headers: Mapping[str, str]) -> httpcore2.Request:
    sent = {
        "Host": target.authority,
        "User-Agent": "tidemill",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    if method in ("POST", "PUT"):
        sent["Content-Length"] = str(len(body))
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    return httpcore2.Request(
        method,
        url,
        headers=list(sent.items()),
        content=body,
        extensions={"timeout": {"connect": CONNECT_SECONDS}},
    )


def _headers_of(response: httpcore2.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _refuse_long_or_encoded(response: httpcore2.Response, max_answer: int) -> None:
    headers = _headers_of(response)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Encoded(encoding)
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > max_answer:
        raise TooLong(f"{int(length)} bytes announced")


async def _read(response: httpcore2.Response, max_answer: int) -> bytes:
    chunks, size = [], 0
    async with contextlib.aclosing(response.aiter_stream()) as stream:
        async for chunk in stream:
            size += len(chunk)
            if size > max_answer:
                raise TooLong(f"more than {max_answer} bytes")
            chunks.append(chunk)
    return b"".join(chunks)


def _why(error: Exception) -> str:
    if isinstance(error, httpcore2.ConnectTimeout):
        return str(error) or f"no answer within {CONNECT_SECONDS:g} s"
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return str(error) or str(cause) or type(cause).__name__
