"""Nobody gets in without the site's key or a token, and no other web page can act through the browser of who has one.

Plain ASGI, around everything: pages, API, static files and the WebSocket. Key or token come as `Authorization: Bearer`,
or once as `?key=` on a page's address, which is then kept in a cookie. What the holder of a token may do is in
`permits.py`; who it is goes along in the scope, as `HOLDER`. The Host header must name this machine, so that no foreign
name can be pointed at it (DNS rebinding); what changes something, and the WebSocket, must come from our origin.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from dataclasses import dataclass
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.accounts.keyring import Holder, Keyring
from tidemill.accounts.tokens import PREFIX
from tidemill.errors import DatabaseUnavailable
from tidemill.web.permits import refusal

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FREE = frozenset({"/api/health"})
"""What answers without the key."""

COOKIE_AGE = 400 * 24 * 3600
"""Seconds that a browser keeps the key: the most that browsers allow."""

HOLDER = "tidemill.holder"
"""Where in the scope the app finds the `Holder` of the token; None: the site's own key."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks: `holder` of a token, None for the site's own key; `header`: it was said in the Authorization header."""

    holder: Holder | None
    header: bool


class Guard:
    """Wraps an ASGI app. `key`: the site's key; `host`: the address that the server listens on."""

    def __init__(self, app: ASGIApp, *, key: str, host: str, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring
        self._key = key.encode()
        self._cookie = hmac.new(self._key, b"tidemill cookie", sha256).hexdigest()
        self._hosts = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}
        self._any_address = _is_wildcard(host)
        if self._any_address:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            refused = await self._refusal(scope, Headers(scope=scope))
        except DatabaseUnavailable as error:  # who shows a token cannot be known now
            refused = _refuse(scope, 503, "DatabaseUnavailable", error.message, None, {"retry-after": "1"})
        if refused is None:
            await self._app(scope, receive, _with_headers(send, scope))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refused(scope, receive, _with_headers(send, scope))

    async def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that must not go on; None for one that may."""
        word = _bearer(headers)
        # No page of a foreign name can know a token, so a proxy with a name of its own may stand before the site.
        if not word.startswith(PREFIX) and not self._knows_host(headers.get("host", "")):
            hint = "Use the address that the site printed, or set TIDEMILL_HOST."
            return _refuse(scope, 421, "WrongHost", "This site does not answer to that host name.", hint)
        if scope["path"] in FREE and scope["type"] == "http":
            return None
        caller = await self._caller(headers, word)
        if caller is None:
            if word.startswith(PREFIX):
                return _refuse_token(scope)
            return await self._take_key(scope, headers) or _refuse_keyless(scope)
        acts = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if acts and not _own_origin(headers, required=not caller.header):
            return _refuse(scope, 403, "WrongOrigin", "This request comes from another site's page.", None)
        scope[HOLDER] = caller.holder
        if caller.holder is not None and (why := refusal(caller.holder.role, scope.get("method"), scope["path"])):
            return _refuse(scope, 403, "RoleRefused", why, None)
        return await self._take_key(scope, headers)

    async def _caller(self, headers: Headers, word: str) -> _Caller | None:
        """Who bears the site's key or a good token, in the header or in a cookie; None: nobody."""
        if self._is_key(word):
            return _Caller(None, header=True)
        if word.startswith(PREFIX):
            holder = await self._keyring.holder(word)
            return _Caller(holder, header=True) if holder is not None else None
        kept = _cookie(headers)
        if hmac.compare_digest(kept.encode(), self._cookie.encode()):
            return _Caller(None, header=False)
        holder = await self._keyring.holder(kept) if kept.startswith(PREFIX) else None
        return _Caller(holder, header=False) if holder is not None else None

    def _knows_host(self, value: str) -> bool:
        name = _host_name(value)
        return name in self._hosts or (self._any_address and _is_address(name))

    def _is_key(self, word: str) -> bool:
        return hmac.compare_digest(word.encode("utf-8", "replace"), self._key)

    async def _take_key(self, scope: Scope, headers: Headers) -> Response | None:
        """A page asked for with a good `?key=`: keep it in a cookie and go on without it in the address."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        cookie = await self._cookie_for([value for name, value in query if name == "key"])
        if cookie is None:
            return None
        rest = urlencode([(name, value) for name, value in query if name != "key"])
        # One slash only: two would name another host.
        path = "/" + quote(scope["path"].lstrip("/\\"), safe="/~:@!$&'()*+,;=-._")
        answer = RedirectResponse(path + (f"?{rest}" if rest else ""), status_code=303)
        answer.set_cookie(
            _cookie_name(headers), cookie, max_age=COOKIE_AGE, httponly=True, samesite="strict",
            secure=scope.get("scheme") == "https",
        )  # fmt: skip
        return answer

    async def _cookie_for(self, words: list[str]) -> str | None:
        """What a browser is to keep so that it is known again; None if none of the words is a good key."""
        for word in words:
            if self._is_key(word):
                return self._cookie
            if word.startswith(PREFIX) and await self._keyring.holder(word) is not None:
                return word
        return None


def _refuse_token(scope: Scope) -> Response:
    message = "This token is not good here: it is unknown, has expired, or was revoked."
    return _refuse(scope, 401, "TokenRefused", message, "Whoever keeps the site can give out another.")


def _refuse_keyless(scope: Scope) -> Response:
    return _refuse(
        scope,
        401,
        "KeyNeeded",
        "This site needs its key.",
        "Open the address with the key that `tidemill up` prints; programs send it as Authorization: Bearer.",
    )


def _refuse(
    scope: Scope, status: int, kind: str, message: str, hint: str | None, headers: dict[str, str] | None = None
) -> Response:
    headers = {"www-authenticate": "Bearer"} if status == 401 else headers or {}
    if scope["path"].startswith("/api"):
        body = json.dumps({"error": {"kind": kind, "message": message, "hint": hint}})
        return Response(body, status, headers, media_type="application/json")
    page = f"<!doctype html><html lang=en><title>{message}</title><h1>{message}</h1><p>{hint or ''}</p></html>"
    return HTMLResponse(page, status, headers)


def _bearer(headers: Headers) -> str:
    """The word behind `Authorization: Bearer`; empty if there is none."""
    scheme, _, word = headers.get("authorization", "").partition(" ")
    return word.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(headers))
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _own_origin(headers: Headers, *, required: bool) -> bool:
    """Whether the request comes from a page of ours. Programs send no Origin: then the key itself must come along."""
    origin = headers.get("origin")
    if origin is None:
        return not required
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == headers.get("host", "").lower()


def _host_name(value: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; empty for what is none."""
    try:
        parts = urlsplit(f"//{value}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.path or parts.username is not None or parts.query or parts.fragment:
        return ""
    return (parts.hostname or "").lower()


def _cookie_name(headers: Headers) -> str:
    """With the port in it: browsers share cookies between the ports of a host, and each may be another site."""
    _, _, port = headers.get("host", "").rpartition(":")
    return f"tidemill-{port if port.isdecimal() else 'key'}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_wildcard(host: str) -> bool:
    return host in ("", "*") or (_is_address(host) and ipaddress.ip_address(host).is_unspecified)


def _with_headers(send: Send, scope: Scope) -> Send:
    """Adds to every answer what keeps browsers from doing more with it than they should."""
    host = Headers(scope=scope).get("host", "")
    sockets = f" ws://{host} wss://{host}" if _host_name(host) else ""
    policy = (
        f"default-src 'self'; connect-src 'self'{sockets}; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = policy
            headers["x-content-type-options"] = "nosniff"
            headers["x-frame-options"] = "DENY"
            # With "no-referrer" browsers would send our own forms with `Origin: null`.
            headers["referrer-policy"] = "same-origin"
            headers["cross-origin-opener-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending
