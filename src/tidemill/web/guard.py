"""Nobody gets in without the site's key or a token, and no other web page can act through the browser of who has one.

Plain ASGI, around everything: pages, API, static files and the WebSocket. Key or token come as `Authorization: Bearer`,
or once as `?key=` on a page's address, which is then kept in a cookie. What the holder of a token may do is in
`permits.py`; who it is goes along in the scope, as `HOLDER`. The Host header must name this machine, so that no foreign
name can be pointed at it (DNS rebinding); what changes something, and the WebSocket, must come from our origin.

What is for people outside (`permits.OPEN`) goes on without a key: who answers there decides what to show to whom, by
whether `HOLDER` is in the scope. The portal's API takes keys in headers; a cookie lets it read, and no more.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.accounts.keyring import HOLDER, Holder, Keyring
from tidemill.accounts.tokens import PREFIX
from tidemill.domain.places import for_visitors
from tidemill.errors import DatabaseUnavailable
from tidemill.web.origins import Hosts, as_forwarded, host_name, own_origin
from tidemill.web.permits import PORTAL_API, below, is_open, refusal

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FREE = frozenset({"/api/health"})
"""What answers without the key."""

COOKIE_AGE = 400 * 24 * 3600
"""Seconds that a browser keeps the key: the most that browsers allow."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks: `holder` of a token, None for the site's own key; `header`: it was said in the Authorization header."""

    holder: Holder | None
    header: bool


class Guard:
    """Wraps an ASGI app. `key`: the site's key; `hosts`: the names that it answers to; `behind_proxy`: a proxy stands
    before it, whose word on name and scheme counts; `public`: tells whether the site has a portal for everyone."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str,
        hosts: Hosts,
        keyring: Keyring,
        behind_proxy: bool = False,
        public: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        if not key:
            raise ValueError("without a key everybody would have it")
        self._app = app
        self._keyring = keyring
        self._key = key.encode()
        self._cookie = hmac.new(self._key, b"tidemill cookie", sha256).hexdigest()
        self._hosts = hosts
        self._behind_proxy = behind_proxy
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._behind_proxy:
            scope = as_forwarded(scope)
        try:
            refused = await self._refusal(scope, Headers(scope=scope))
        except DatabaseUnavailable as error:  # who shows a token cannot be known now
            refused = _refuse(
                scope, 503, "DatabaseUnavailable", for_visitors(error).message, None, {"retry-after": "1"}
            )
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
        if not word.startswith(PREFIX) and not self._hosts.know(headers.get("host", "")):
            hint = "Use the address that the site printed, or put the name into TIDEMILL_HOSTS."
            return _refuse(scope, 421, "WrongHost", "This site does not answer to that host name.", hint)
        if scope["path"] in FREE and scope["type"] == "http":
            return None
        caller = await self._caller(headers, word)
        acts = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if caller is not None and not caller.header and acts and below(scope["path"], PORTAL_API):
            caller = None
        if caller is None:
            if word.startswith(PREFIX):
                return _refuse_token(scope)
            taken = await self._take_key(scope, headers)
            return taken or (None if is_open(scope) else await self._turn_away(scope))
        if acts and not below(scope["path"], PORTAL_API) and not own_origin(headers, required=not caller.header):
            return _refuse(scope, 403, "WrongOrigin", "This request comes from another site's page.", None)
        scope[HOLDER] = caller.holder
        holder = caller.holder
        if holder and (why := refusal(holder.role, scope.get("method"), scope["path"], holder.name)):
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

    async def _turn_away(self, scope: Scope) -> Response:
        """What somebody without a key is told; at the front door of a public site, where its portal is."""
        asks = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if asks and scope["path"] == "/" and self._public is not None and await self._public():
            return RedirectResponse("/portal", status_code=303)
        return _refuse_keyless(scope)

    def _is_key(self, word: str) -> bool:
        return bool(word) and hmac.compare_digest(word.encode("utf-8", "replace"), self._key)

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
            guard_cookie(headers), cookie, max_age=COOKIE_AGE, httponly=True, samesite="strict",
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
    if below(scope["path"], PORTAL_API):
        return Response(json.dumps({"detail": message}), status, headers, media_type="application/json")
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
        found = SimpleCookie(headers.get("cookie", "")).get(guard_cookie(headers))
    except CookieError:
        return ""
    return found.value if found is not None else ""


def guard_cookie(headers: Headers) -> str:
    """The cookie that keeps a key. With the port in it: browsers share cookies between the ports of a host, and each
    may be another site."""
    _, _, port = headers.get("host", "").rpartition(":")
    return f"tidemill-{port if port.isdecimal() else 'key'}"


def _with_headers(send: Send, scope: Scope) -> Send:
    """Adds to every answer what keeps browsers from doing more with it than they should."""
    host = Headers(scope=scope).get("host", "")
    sockets = f" ws://{host} wss://{host}" if host_name(host) else ""
    shared = below(scope["path"], PORTAL_API)
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
            # Pages elsewhere may read the portal's API, as far as it lets them (CORS).
            headers["cross-origin-resource-policy"] = "cross-origin" if shared else "same-origin"
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending
