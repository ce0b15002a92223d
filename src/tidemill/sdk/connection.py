"""HTTP to a site: one place where what goes wrong on the way becomes one of our errors.

Only the site's own words are final. What a proxy answers for it, or a site that is just being restarted, is a site out
of reach, which may be tried again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2

from tidemill import errors
from tidemill.errors import AccessRefused, Conflict, InvalidInput, SiteUnavailable, TidemillError

CONNECT, ANSWER = 10.0, 60.0
"""Seconds to wait for a connection, and for the next bytes of an answer."""

Params = Sequence[tuple[str, str]]
_REFUSED = frozenset({"KeyNeeded", "TokenRefused", "RoleRefused", "WrongHost", "WrongOrigin"})


class Stale(Conflict):
    """The record was edited since. `record`: how it is now."""

    def __init__(self, message: str, *, hint: str | None, record: Mapping[str, Any]) -> None:
        super().__init__(message, hint=hint)
        self.record = dict(record)


class Connection:
    """Talks JSON with a site. May be used by several threads."""

    def __init__(self, url: str, token: str, *, verify: Any = True) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"{url!r} is no address of a site: it begins with http:// or https://.")
        self.url = url.rstrip("/").removesuffix("/api")
        self._http = httpx2.Client(
            base_url=f"{self.url}/api",
            headers={"authorization": f"Bearer {token}"},
            timeout=httpx2.Timeout(ANSWER, connect=CONNECT),
            verify=verify,
        )

    def call(self, method: str, path: str, *, params: Params = (), body: Any = None, wait: float = ANSWER) -> Any:
        """The JSON that the site answers; None where it says nothing. Raises SiteUnavailable, AccessRefused, NotFound,
        Conflict (or Stale), InvalidInput and whatever else the site says."""
        timeout = httpx2.Timeout(wait, connect=min(wait, CONNECT))
        with _reaching(self.url):
            answer = self._http.request(
                method, path, params=list(params), timeout=timeout, **({} if body is None else {"json": body})
            )
            return self._read(answer)

    @contextmanager
    def stream(self, path: str, params: Params, silence: float) -> Iterator[httpx2.Response]:
        """An answer that is read line by line; cut after so many seconds without a byte. Raises as `call`."""
        timeout = httpx2.Timeout(CONNECT, read=silence)
        with _reaching(self.url), self._http.stream("GET", path, params=list(params), timeout=timeout) as answer:
            if answer.status_code != 200:
                answer.read()
                self._read(answer)
            yield answer

    def close(self) -> None:
        self._http.close()

    def _read(self, answer: httpx2.Response) -> Any:
        if answer.status_code == 204:
            return None
        try:
            said = answer.json()
        except ValueError:
            raise SiteUnavailable(f"{self.url} answered {answer.status_code}, and not as a site does.") from None
        if answer.is_success:
            return said
        raise error_of(said) or SiteUnavailable(f"{self.url} answered {answer.status_code}.")


def error_of(said: Any) -> TidemillError | None:
    """The error that a site's answer tells of, as it was raised there; None if it tells of none."""
    told = said.get("error") if isinstance(said, dict) else None
    if not isinstance(told, dict) or not isinstance(told.get("kind"), str):
        return None
    kind, message, hint = told["kind"], str(told.get("message")), told.get("hint")
    if kind == "Conflict" and isinstance(said.get("record"), dict):
        return Stale(message, hint=hint, record=said["record"])
    if kind in _REFUSED:
        return AccessRefused(message, hint=hint)
    if kind == "DatabaseUnavailable":
        return SiteUnavailable(message, hint=hint)
    ours = getattr(errors, kind, None)
    if ours is errors.UnknownIds or not (isinstance(ours, type) and issubclass(ours, TidemillError)):
        ours = InvalidInput if kind == "UnknownIds" else TidemillError
    found: TidemillError = ours(message, hint=hint)
    return found


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.TransportError, OSError) as error:
        why = str(error).strip() or type(error).__name__
        raise SiteUnavailable(f"{url} cannot be reached: {why}") from error


def line_of(text: str) -> Any:
    """A line of a stream as JSON. Raises SiteUnavailable for half a line: the connection was cut."""
    try:
        return json.loads(text)
    except ValueError:
        raise SiteUnavailable("The stream was cut in the middle of a line.") from None
