"""Reading the changes of a CouchDB database: the HTTP API of CouchDB 1 to 3, as PouchDB Server and others speak it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from tidemill.domain.stored_json import read_json
from tidemill.errors import ImportRefused, InvalidInput, NotFound

HEARTBEAT = 10.0
"""Seconds between the signs of life that a waiting server is asked for."""

PATIENCE = 60.0
"""Seconds without a byte after which a connection counts as cut."""

LARGEST_PAGE = 64 * 1024 * 1024
"""Bytes of one answer; a page that is larger is asked for again in smaller ones."""


class Interrupted(ImportRefused):
    """The other system cannot be reached, or broke off: trying again may help."""


class Unreadable(ImportRefused):
    """An answer is larger than can be taken at once, or something in it is no JSON that can be read."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is. `url` has no secrets in it and is the import's name; the secrets are never shown."""

    url: str
    auth: tuple[str, str] | None

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


@dataclass(frozen=True, slots=True)
class Change:
    """A document that changed, as it is now. `document` None: it is too large, or no JSON that can be read."""

    id: str
    document: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Changes in order, and the position after them."""

    changes: list[Change]
    seq: str


def parse_address(text: str) -> Address:
    """Take `http://user:password@host:5984/database` apart. Raises InvalidInput, which repeats no secret."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise InvalidInput("This is no URL of a database.", hint=_EXAMPLE) from None
    path = parts.path.strip("/")
    if parts.scheme not in ("http", "https") or not parts.hostname or not path or parts.query or parts.fragment:
        raise InvalidInput("This is no URL of a CouchDB database.", hint=_EXAMPLE)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    auth = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return Address(f"{parts.scheme}://{host}{f':{port}' if port else ''}/{path}", auth)


_EXAMPLE = "It looks like http://user:password@couch.example.org:5984/database."


class CouchDB:
    """One database, read only. Every method raises ImportRefused (`Interrupted` where it may pass) and NotFound."""

    def __init__(self, client: httpx2.AsyncClient, address: Address) -> None:
        self._client = client
        self._url = address.url

    async def look(self) -> str:
        """Make sure that it is a CouchDB database; its newest position."""
        told = await self._ask("", {})
        if not isinstance(told, dict) or "update_seq" not in told:
            raise ImportRefused(f"{self._url} answers, but not as a CouchDB database does.")
        return _seq(told["update_seq"])

    async def changes(self, since: str, limit: int, *, wait: bool = False) -> Page:
        """What changed after a position, up to `limit`, with the documents. `wait`: for something, or a while."""
        asked = {"since": since or "0", "limit": str(limit), "include_docs": "true", "conflicts": "true"}
        if wait:
            asked |= {"feed": "longpoll", "heartbeat": str(int(HEARTBEAT * 1000))}
        try:
            return self._page(await self._ask("/_changes", asked), since)
        except Unreadable:
            if limit > 1:
                return await self.changes(since, max(1, limit // 4), wait=wait)
        # One document that is too large, or cannot be read, by itself: pass it by, and say so.
        bare = await self._ask("/_changes", {"since": since or "0", "limit": "1"})
        return self._page(bare, since)

    def _page(self, told: Any, since: str) -> Page:
        if not isinstance(told, dict) or not isinstance(told.get("results"), list):
            raise ImportRefused(f"{self._url} answers, but not as a CouchDB database does.")
        changes = []
        for row in told["results"]:
            document = row.get("doc") if isinstance(row, dict) else None
            changes.append(Change(str(row.get("id") if isinstance(row, dict) else row), document))
        return Page(changes, _seq(told.get("last_seq", since)))

    async def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        try:
            async with self._client.stream("GET", self._url + path, params=dict(parameters)) as answer:
                self._check(answer.status_code)
                body = await self._body(answer)
        except httpx2.TimeoutException as error:
            raise Interrupted(f"{self._url} does not answer.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Interrupted(f"{self._url} cannot be reached: {_said(error)}") from error
        try:
            return read_json(body)
        except InvalidInput:
            raise Unreadable(f"{self._url} answers, but not with JSON as a CouchDB does.") from None

    def _check(self, status: int) -> None:
        if status in (401, 403):
            raise ImportRefused(
                f"{self._url} does not let us in ({status}).",
                hint="Put name and password into the URL: http://name:password@…",
            )
        if status == 404:
            raise NotFound(f"There is no database at {self._url}.")
        if status == 429 or status >= 500:
            raise Interrupted(f"{self._url} answers {status} now.")
        if status != 200:
            raise ImportRefused(f"{self._url} answers {status}, as no CouchDB database does.")

    async def _body(self, answer: httpx2.Response) -> bytes:
        parts, size = [], 0
        async for part in answer.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > LARGEST_PAGE:
                raise Unreadable(f"{self._url} gives more than {LARGEST_PAGE:,} bytes at once.")
        return b"".join(parts)


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[CouchDB]:
    """The database at an address; redirections are not followed, so that its password goes nowhere else."""
    timeout = httpx2.Timeout(PATIENCE, connect=15.0)
    async with httpx2.AsyncClient(auth=address.auth, timeout=timeout, follow_redirects=False) as client:
        yield CouchDB(client, address)


def is_behind(newest: str, position: str) -> bool:
    """Whether the newest position of a database is before one that was read: then it is another database by now."""
    ours, theirs = (re.match(r'["\[]*(\d+)', text) for text in (position, newest))
    return bool(ours and theirs and int(theirs[1]) < int(ours[1]))


def _seq(value: Any) -> str:
    """A position as text: numbers, strings and lists occur."""
    return value if isinstance(value, str) else json.dumps(value)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
