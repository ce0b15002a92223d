"""A worker's HTTP to its site: one place where what goes wrong on the way becomes one of our errors.

Only the site's own words are final: what a proxy, a captive portal or a site that is just being restarted answers
counts as a site out of reach, and is tried again.
"""

from __future__ import annotations

import ipaddress
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from tidemill import __version__, errors
from tidemill.errors import AccessRefused, DatabaseRefused, InvalidInput, SiteUnavailable, TidemillError
from tidemill.runner.remote_protocol import HEADER, LONGEST_WAIT, VERSION, WORTH_PACKING

CONNECT, ANSWER = 10.0, 60.0
"""Seconds to wait for a connection, and for the next bytes of an answer."""

_KINDS: dict[str, type[TidemillError]] = {
    "KeyNeeded": AccessRefused,
    "TokenRefused": AccessRefused,
    "RoleRefused": AccessRefused,
    "AccessRefused": AccessRefused,
    "WrongProtocol": errors.WrongProtocol,
    "InvalidInput": DatabaseRefused,
    "DatabaseRefused": DatabaseRefused,
    "Conflict": errors.Conflict,
    "NotFound": errors.NotFound,
}
"""What the site's kinds of error are here."""


class TooLarge(DatabaseRefused):
    """Something on the way takes no request of this size."""


class SiteClient:
    """One for a worker. `url`: the site's; `ca`: a file of certificates to trust instead of the system's."""

    def __init__(self, url: str, token: str, *, ca: Path | None = None, insecure_http: bool = False) -> None:
        self.url = checked_url(url, insecure_http=insecure_http)
        headers = {"authorization": f"Bearer {token}", HEADER: str(VERSION), "user-agent": f"tidemill/{__version__}"}
        self._http = httpx2.AsyncClient(
            base_url=f"{self.url}/api/worker",
            headers=headers,
            verify=_trust(ca),
            timeout=httpx2.Timeout(ANSWER, connect=CONNECT),
            limits=httpx2.Limits(max_connections=50, keepalive_expiry=30.0),
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON and read JSON; packed where that is worth it."""
        content = orjson.dumps(body, default=str)
        headers = {"content-type": "application/json"}
        if len(content) > WORTH_PACKING:
            packer = zlib.compressobj(1, wbits=31)
            content = packer.compress(content) + packer.flush()
            headers["content-encoding"] = "gzip"
        return await self._json("POST", path, content=content, headers=headers)

    async def get(self, path: str, **params: Any) -> Any:
        """Read JSON."""
        return await self._json("GET", path, params=params, timeout=LONGEST_WAIT + ANSWER)

    async def put(self, path: str, content: bytes, **params: Any) -> Any:
        """Send bytes and read JSON."""
        return await self._json("PUT", path, params=params, content=content)

    async def read(self, path: str, **params: Any) -> bytes:
        """Read bytes."""
        async with self.stream(path, **params) as answer:
            with _reached(self.url):
                return await answer.aread()

    @asynccontextmanager
    async def stream(
        self, path: str, *, start: int = 0, etag: str = "", **params: Any
    ) -> AsyncIterator[httpx2.Response]:
        """An answer whose bytes, from `start` on, are to be read as they come. Reading may raise httpx2.HTTPError.

        All of them come where what is there has another `etag` by now.
        """
        headers = {"range": f"bytes={start}-"} if start else {}
        if start and etag:
            headers["if-range"] = etag
        # What is fetched is seldom the smaller for packing, and its length is to be known.
        headers["accept-encoding"] = "identity"
        with _reached(self.url):
            request = self._http.build_request("GET", path, params=params, headers=headers)
            answer = await self._http.send(request, stream=True)
        try:
            if answer.status_code not in (200, 206):
                with _reached(self.url):
                    await answer.aread()
                raise self._error(answer)
            yield answer
        finally:
            await answer.aclose()

    async def close(self) -> None:
        await self._http.aclose()

    async def _json(self, method: str, path: str, **more: Any) -> Any:
        with _reached(self.url):
            answer = await self._http.request(method, path, **more)
        if answer.status_code not in (200, 201):
            raise self._error(answer)
        with suppress(orjson.JSONDecodeError):
            said = orjson.loads(answer.content)
            if isinstance(said, dict):
                return said
        raise SiteUnavailable(f"What answers at {self.url} is not a Tidemill site.")

    def _error(self, answer: httpx2.Response) -> TidemillError:
        """What an answer that is no success means."""
        said = _said(answer)
        if said is not None:
            kind = _KINDS.get(str(said.get("kind")), SiteUnavailable)
            return kind(str(said.get("message")), hint=said.get("hint"))
        if answer.status_code == 413:
            return TooLarge("Something on the way to the site takes no request of this size.")
        if answer.is_redirect:
            where = answer.headers.get("location", "elsewhere")
            return SiteUnavailable(f"{self.url} sends us on to {where}: give the site's own address.")
        return SiteUnavailable(f"{self.url} answered with {answer.status_code}, and not as a Tidemill site does.")


class _reached:  # noqa: N801 - reads as a statement
    """Within: failures of the network are a site out of reach."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, httpx2.HTTPError | httpx2.StreamError | OSError):
            why = str(error) or type(error).__name__
            raise SiteUnavailable(f"The site at {self._url} cannot be reached: {why}") from error


def checked_url(url: str, *, insecure_http: bool) -> str:
    """The site's address without what may stand behind it. Raises InvalidInput for none, or one that is not private."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url!r} is no address of a site.", hint="Such as https://mill.example.org")
    if parts.username or parts.query:
        raise InvalidInput("Give the site's address without a key: the token has a file of its own.")
    if parts.scheme == "http" and not insecure_http and not _loopback(parts.hostname):
        raise InvalidInput(
            f"http://{parts.hostname} is not private: everybody on the way could read the token.",
            hint="Use https, or --insecure-http if the network itself is trusted.",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _trust(ca: Path | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"{ca} holds no certificates: {error}.") from error


def _said(answer: httpx2.Response) -> dict[str, Any] | None:
    """What the site itself says is wrong; None if it is not the site that answers."""
    try:
        error = orjson.loads(answer.content)["error"]
        return error if isinstance(error, dict) and "kind" in error else None
    except (orjson.JSONDecodeError, KeyError, TypeError, httpx2.HTTPError):
        return None
