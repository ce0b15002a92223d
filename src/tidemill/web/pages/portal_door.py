"""Who comes to the portal, and what the site shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException

from tidemill.accounts import people
from tidemill.accounts.keyring import HOLDER
from tidemill.accounts.people import Person
from tidemill.domain.places import for_visitors
from tidemill.domain.roles import Role
from tidemill.domain.vocabulary import as_key, in_address
from tidemill.errors import TidemillError
from tidemill.publishing import datasets
from tidemill.publishing.datasets import Dataset
from tidemill.web import portal_basket
from tidemill.web.guard import guard_cookie
from tidemill.web.origins import own_origin
from tidemill.web.rendering import problem_title, render, site_of
from tidemill.web.words import Words, words_of

TOP = "/portal"
REFUSED = "✕"
"""What a sentence begins with that says over a redirect what could not be done."""

COOKIE_AGE = 400 * 24 * 3600
"""Seconds that a browser keeps a person's key: the most that browsers allow."""

_READERS = frozenset({Role.READER, Role.OPERATOR})


class PortalClosed(HTTPException):
    """The catalogue is not for everyone, and whoever asks has shown no key."""

    def __init__(self) -> None:
        super().__init__(401, "This catalogue is not open to everyone.")


@dataclass(frozen=True, slots=True)
class Portal:
    """What the site says of its portal."""

    public: bool = False
    welcome: str = ""
    terms: str = ""
    """The version of its terms; empty where there are none."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    project_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where things are on the portal, in the site's own words."""

    words: Words

    @property
    def projects(self) -> str:
        return f"{TOP}/{slug(self.words.projects)}"

    @property
    def items(self) -> str:
        return f"{TOP}/{slug(self.words.items)}"

    @property
    def project_filter(self) -> str:
        """The filter of items that names their project."""
        return as_key(self.words.project)

    def manifest(self, name: str) -> str:
        """Where the API has the manifest of a whole project."""
        return f"/v1/{slug(self.words.projects)}/{quote(name, safe='')}/manifest"

    def project(self, name: str) -> str:
        return f"{self.projects}/{quote(name, safe='')}"

    def item(self, name: str) -> str:
        return f"{self.items}/{quote(name, safe='')}"


def slug(word: str) -> str:
    """A word of the vocabulary as a part of an address."""
    return quote(in_address(word), safe="")


def portal_of(request: Request) -> Portal:
    """What the site says of its portal, as `load_words` has read it."""
    says = getattr(request.state, "site_says", None)
    if says is None:
        return Portal()
    portal: Mapping[str, Any] = says.portal or {}
    return Portal(
        public=bool(portal.get("public")),
        welcome=str(portal.get("welcome") or ""),
        terms=str((portal.get("terms") or {}).get("version") or ""),
        fields=says.fields or {},
        project_fields=says.project_fields or {},
    )


def titles_of(request: Request) -> dict[str, str]:
    """What the site calls its packages, by the names of their declarations."""
    says = getattr(request.state, "site_says", None)
    return {one["name"]: one.get("title") or "" for one in (says.packages if says else ())}


def declared_of(request: Request) -> portal_basket.Declared:
    """What its packages are declared to hold, as far as baskets go."""
    says = getattr(request.state, "site_says", None)
    return portal_basket.declared(says.packages if says else ())


def operates(request: Request) -> bool:
    """Whether who asks may see the operators' pages: the site's own key, or a token that reads."""
    if HOLDER not in request.scope:
        return False
    holder = request.scope[HOLDER]
    return holder is None or holder.role in _READERS


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks for a page of the portal."""

    reads: bool = False
    operates: bool = False
    """Whether they may see the operators' pages."""
    person: Person | None = None
    """Whose key this browser keeps."""
    secret: str = ""
    """That key."""
    gathered: int = 0
    """How much is in their basket."""

    @property
    def downloads(self) -> bool:
        """Whether they may download now, without being asked anything."""
        return self.person is not None and self.person.activated


async def know(request: Request) -> None:
    """A dependency of all the portal's pages: who asks. What changes something must come from a page of ours."""
    if request.method not in ("GET", "HEAD") and not own_origin(request.headers, required=True):
        raise HTTPException(403, "This request comes from another site's page.")
    secret = request.cookies.get(cookie_name(request), "") or _key_in_address(request)
    person, gathered = None, 0
    if secret:
        async with site_of(request).database.begin() as session:
            person = await people.holder(session, secret)
            if person is not None and (now := await open_dataset(session, person)) is not None:
                gathered = portal_basket.count(now.data)
    known = HOLDER in request.scope
    reads = portal_of(request).public or known or person is not None
    request.state.visitor = Visitor(reads, operates(request), person, secret if person else "", gathered)


async def enter(request: Request) -> None:
    """A dependency of the pages that show the catalogue. Raises PortalClosed."""
    if not visitor_of(request).reads:
        raise PortalClosed


async def open_dataset(session: AsyncSession, person: Person | None, *, hold: bool = False) -> Dataset | None:
    """The dataset that is a person's basket: the newest that they did not ask for yet. `hold`: it is to be changed in
    this transaction, and by nobody else before its end."""
    if person is None:
        return None
    if hold:
        await datasets.hold_basket(session, person)
    found, _ = await datasets.mine(session, person, limit=20)
    return next((one for one in found if one.state == "open"), None)


def to_terms(request: Request, then: str, *, person: bool = False) -> Response | None:
    """Sends to the terms who may not download yet; None: they may, as operators may without a key of their own, but for
    what takes a `person`. `then`: where they want to go on."""
    visitor = visitor_of(request)
    if visitor.downloads or (visitor.operates and visitor.person is None and not person):
        return None
    base = str(request.base_url).rstrip("/")
    back = then.removeprefix(base) if then.startswith((base + "/", "/")) else TOP
    address = f"{TOP}/terms?{urlencode({'then': back})}"
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"hx-redirect": address})
    return RedirectResponse(address, status_code=303)


def visitor_of(request: Request) -> Visitor:
    """Who asks, as `know` has found out."""
    visitor: Visitor = getattr(request.state, "visitor", None) or Visitor()
    return visitor


def page(request: Request, template: str, status_code: int = 200, **context: Any) -> HTMLResponse:
    """A page of the portal."""
    known = {
        "portal": portal_of(request),
        "visitor": visitor_of(request),
        "at": Addresses(words_of(request)),
        "refused": REFUSED,
    }
    return render(request, template, status_code, **known, **context)


def problem(request: Request, error: TidemillError, status: int) -> HTMLResponse:
    """A page of the portal that says what went wrong."""
    if not visitor_of(request).operates:
        error = for_visitors(error)
    return page(request, "portal_problem.html", status, error=error, keyless=status == 401, title=problem_title(status))


def on_portal(request: Request) -> bool:
    """Whether a request is for the portal."""
    return request.url.path == TOP or request.url.path.startswith(f"{TOP}/")


def keep_key(request: Request, answer: Response, secret: str) -> None:
    """Let this browser keep a person's key. Lax: so that a link from elsewhere finds them known."""
    answer.set_cookie(
        cookie_name(request), secret, max_age=COOKIE_AGE, path=TOP, httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip


def forget_key(request: Request, answer: Response) -> None:
    """Let this browser forget it."""
    answer.delete_cookie(cookie_name(request), path=TOP)
    if _key_in_address(request):
        answer.delete_cookie(guard_cookie(request.headers))


def _key_in_address(request: Request) -> str:
    """A person's key that came behind the address once (`?key=`), and which the guard lets the browser keep."""
    holder = request.scope.get(HOLDER)
    downloads = holder is not None and holder.role is Role.DOWNLOADER
    return request.cookies.get(guard_cookie(request.headers), "") if downloads else ""


def cookie_name(request: Request) -> str:
    """With the port in it: browsers share cookies between the ports of a host, and each may be another site."""
    return f"tidemill-person-{request.url.port or 'key'}"
