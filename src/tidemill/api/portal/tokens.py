"""`/v1/tokens`: a person asks for a key, accepts the terms with it, looks at it, ends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from tidemill.accounts import people, terms
from tidemill.accounts.people import Person
from tidemill.api.door import Json, Session, Site
from tidemill.api.portal.bodies import body_of, required_text, text_of, truth_of
from tidemill.api.portal.callers import may_act
from tidemill.errors import InvalidFields, NotFound

router = APIRouter(tags=["tokens"])

_FIELDS = {
    "email": {"type": "string", "format": "email"},
    "is_activated": {"type": "boolean", "description": "true: I accept the terms and conditions as they are now."},
    "terms_version": {
        "type": "string",
        "description": "The version that was read; refused where it is not the newest.",
    },
}
_ANSWER: dict[str, Any] = {
    "description": "The token.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "The key; it goes in the header API-KEY."},
                    **_FIELDS,
                    "terms_and_conditions": {"type": "string", "description": "The terms as they are now (Markdown)."},
                    "accepted_version": {"type": "string", "nullable": True},
                },
            }
        }
    },
}


def _takes(*required: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": _FIELDS, "required": list(required)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post(
    "/tokens",
    status_code=201,
    summary="Ask for a key; it is shown this once",
    response_class=Response,
    responses={201: _ANSWER},
    openapi_extra=_takes("email"),
)
async def join(request: Request, session: Session, site: Site) -> Response:
    """No mail is sent: keep the answer. The key is good for downloads once the terms are accepted (`is_activated`),
    here or later; one that is not activated is gone after a week."""
    body = await body_of(request)
    caller = b""
    if request.client is not None:
        caller = people.caller_digest(site.settings.signing_key("callers"), request.client.host)
    accepted = truth_of(body, "is_activated") or False
    await _check_read(session, body)
    secret, person = await people.join(session, required_text(body, "email"), accepted, caller=caller)
    return Json(await _shown(session, secret, person), 201)


@router.get(
    "/tokens/{key}",
    summary="A key, and the terms as they are now",
    response_class=Response,
    responses={200: _ANSWER},
)
async def get(session: Session, key: str) -> Response:
    person = await people.holder(session, key)
    if person is None:
        raise NotFound("Not found.")
    return Json(await _shown(session, key, person))


@router.patch(
    "/tokens/{key}",
    summary="Accept the terms as they are now, or correct the address",
    response_class=Response,
    responses={200: _ANSWER},
    openapi_extra=_takes(),
)
async def change(request: Request, session: Session, key: str) -> Response:
    body = await body_of(request)
    await _check_read(session, body)
    person = await people.accept(session, key, truth_of(body, "is_activated"), text_of(body, "email"))
    return Json(await _shown(session, key, person))


@router.put("/tokens/{key}", include_in_schema=False)
async def replace(request: Request, session: Session, key: str) -> Response:
    body = await body_of(request)
    email = required_text(body, "email")
    person = await people.accept(session, key, truth_of(body, "is_activated") or False, email)
    return Json(await _shown(session, key, person))


@router.delete("/tokens/{key}", status_code=204, summary="End a key, for good", response_class=Response)
async def end(request: Request, session: Session, key: str) -> Response:
    """The key itself names it; operators may name it by its number."""
    if may_act(request) and key.isdecimal():
        await people.revoke(session, key)
    else:
        await people.leave(session, key)
    return Response(status_code=204)


async def _check_read(session: AsyncSession, body: Mapping[str, Any]) -> None:
    """Nobody accepts what they did not read, where they say what they read. Raises InvalidFields."""
    read, now = text_of(body, "terms_version"), await terms.current(session)
    if read is not None and (now is None or now.version != read):
        there = f"The terms are of version {now.version} now: read them." if now else "There are no terms here."
        raise InvalidFields({"terms_version": [there]})


async def _shown(session: Session, secret: str, person: Person) -> dict[str, Any]:
    now = await terms.current(session)
    return {
        "id": secret,
        "email": person.email,
        "is_activated": person.activated,
        "terms_and_conditions": now.body if now else "",
        "terms_version": now.version if now else None,
        "accepted_version": person.terms,
    }
