"""Under which names a site may be reached, and whether a request comes from a page of its own."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope


class Hosts:
    """The names that this site answers to. `host`: the address that it listens on; `names`: what else it is called."""

    def __init__(self, host: str, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}
        self._names |= {host_name(name) or name.lower() for name in names}
        self._any_address = _is_wildcard(host)
        if self._any_address:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def know(self, value: str) -> bool:
        """Whether a Host header names this site."""
        name = host_name(value)
        return name in self._names or (self._any_address and _is_address(name))


def own_origin(headers: Headers, *, required: bool) -> bool:
    """Whether the request comes from a page of ours. Programs send no Origin: then the key itself must come along."""
    origin = headers.get("origin")
    if origin is None:
        return not required
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == headers.get("host", "").lower()


def host_name(value: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; empty for what is none."""
    try:
        parts = urlsplit(f"//{value}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.path or parts.username is not None or parts.query or parts.fragment:
        return ""
    return (parts.hostname or "").lower()


def as_forwarded(scope: Scope) -> Scope:
    """The request as the proxy before the site got it, by its `X-Forwarded-Proto` and `X-Forwarded-Host`.

    Of several values the last counts: the proxy next to the site wrote that one.
    """
    headers = Headers(scope=scope)
    scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    host = headers.get("x-forwarded-host", "").rpartition(",")[2].strip()
    changed = dict(scope)
    if scheme in ("http", "https"):
        secure = scheme == "https"
        changed["scheme"] = scheme if scope["type"] == "http" else ("wss" if secure else "ws")
    if host:
        kept = [(name, value) for name, value in scope["headers"] if name != b"host"]
        changed["headers"] = [*kept, (b"host", host.encode("latin-1", "replace"))]
    return changed


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_wildcard(host: str) -> bool:
    return host in ("", "*") or (_is_address(host) and ipaddress.ip_address(host).is_unspecified)
