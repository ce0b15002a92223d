"""The terms, and the key that a person gets who accepts them: shown once, kept by their browser."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from tidemill.accounts import people, terms
from tidemill.accounts.people import Person
from tidemill.errors import InvalidFields, NotFound, TooMany
from tidemill.web.pages.forms import form_of, local, ticked, words
from tidemill.web.pages.portal_door import TOP, enter, forget_key, keep_key, page, visitor_of
from tidemill.web.rendering import redirect, site_of

router = APIRouter()
FRESH = "tidemill-fresh-key"
"""The cookie that says that this browser's key has not been shown yet."""

SHOWN_WITHIN = 600
"""Seconds within which it must be."""


@router.get("/terms")
async def read(request: Request) -> HTMLResponse:
    """The terms in full, and the form that accepts them."""
    return await _page(request)


@router.post("/terms", dependencies=[Depends(enter)])
async def accept(request: Request) -> Response:
    """Accept the terms as they are now: with an address for a new key, or with the key that this browser keeps."""
    form = await form_of(request)
    then, email = local(words(form, "then")) or "", words(form, "email") or ""
    visitor = visitor_of(request)
    if not ticked(form, "accept"):
        return await _page(request, {"accept": "Tick this to go on: without it there is no download."}, email, then)
    try:
        async with site_of(request).database.begin() as session:
            now = await terms.current(session)
            if (now.version if now else None) != words(form, "version"):
                return await _page(request, {"accept": "The terms were changed meanwhile: please read them."}, email)
            if visitor.person is not None:
                return await _accepted(request, await people.accept(session, visitor.secret, True), then)
            key = site_of(request).settings.signing_key("callers")
            caller = people.caller_digest(key, request.client.host) if request.client else b""
            secret, _ = await people.join(session, email, True, caller=caller)
    except InvalidFields as error:
        return await _page(request, {name: " ".join(said) for name, said in error.fields.items()}, email, then)
    except TooMany as error:
        return await _page(request, {"email": f"{error.message} {error.hint or ''}"}, email, then, status=429)
    answer = redirect(f"{TOP}/key" + (f"?{urlencode({'then': then})}" if then else ""))
    keep_key(request, answer, secret)
    answer.set_cookie(FRESH, "1", max_age=SHOWN_WITHIN, path=TOP, httponly=True, samesite="lax")
    return answer


async def _accepted(request: Request, person: Person, then: str) -> Response:
    """On to what they wanted; where that is a file, their browser stays, so this page says so and begins it."""
    if not then.endswith("/download"):
        return redirect(then or f"{TOP}/terms", "Thank you. You can download now.")
    request.state.visitor = replace(visitor_of(request), person=person)
    return await _page(request, begins=then)


@router.get("/key")
async def key(request: Request) -> Response:
    """The key of this browser: itself once, right after it was made; later only whose it is and what can be done."""
    visitor = visitor_of(request)
    if visitor.person is None:
        return redirect(f"{TOP}/terms")
    fresh = FRESH in request.cookies
    then = local(request.query_params.get("then"))
    answer = page(request, "portal_key.html", fresh=fresh, then=then)
    if fresh:
        answer.delete_cookie(FRESH, path=TOP)
    return answer


@router.post("/key")
async def bring(request: Request) -> Response:
    """Take a key that somebody has from before, so that this browser keeps it."""
    form = await form_of(request)
    secret, then = words(form, "key") or "", local(words(form, "then")) or ""
    async with site_of(request).database.begin() as session:
        person = await people.holder(session, secret)
    if person is None:
        said = "This key is not good: it may be mistyped, expired or revoked."
        return await _page(request, {"key": said}, then=then, status=403)
    answer = redirect(then or TOP, "This browser keeps your key now.")
    keep_key(request, answer, secret)
    return answer


@router.post("/key/forget")
async def forget(request: Request) -> Response:
    """Let this browser forget the key; it stays good for who has it written down."""
    answer = redirect(f"{TOP}/terms", "This browser has forgotten your key.")
    forget_key(request, answer)
    return answer


@router.post("/key/revoke")
async def revoke(request: Request) -> Response:
    """End the key for good."""
    try:
        async with site_of(request).database.begin() as session:
            await people.leave(session, visitor_of(request).secret)
        said = "Your key has ended: nobody can use it any more."
    except NotFound:
        said = "There was no key here to end."
    answer = redirect(f"{TOP}/terms", said)
    forget_key(request, answer)
    return answer


async def _page(
    request: Request,
    wrong: dict[str, str] | None = None,
    email: str = "",
    then: str = "",
    status: int = 422,
    begins: str = "",
) -> HTMLResponse:
    """The terms. `begins`: the download that their acceptance lets begin."""
    async with site_of(request).database.begin() as session:
        now = await terms.current(session)
    return page(
        request,
        "portal_terms.html",
        status if wrong else 200,
        terms=now,
        wrong=wrong or {},
        email=email,
        begins=begins,
        then=then or local(request.query_params.get("then")) or "",
    )
