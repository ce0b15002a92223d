"""Tokens: which there are, giving them out, ending them. The guard lets only the site's own key come here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.accounts import people, tokens
from tidemill.api.door import Json, Session
from tidemill.domain.roles import Role

router = APIRouter(prefix="/tokens", tags=["tokens"])


class NewToken(BaseModel):
    """Makes a token; the answer has it, this once."""

    model_config = ConfigDict(extra="forbid")

    name: str
    role: Role
    apps: list[str] = Field(default=[], description="The only apps that a worker may work for; none: all.")
    expires: float | None = Field(default=None, description="Seconds from now; null: until it is revoked.")


class Renewal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    expires: float | None = None


@router.get("", summary="All tokens, without their secrets")
async def listing(session: Session) -> Response:
    return Json({"tokens": await tokens.listing(session)})


@router.get("/people", summary="Tokens of people who download, the newest first")
async def persons(
    session: Session,
    email: str | None = None,
    before: Annotated[int | None, Query(description="The `id` that the page before ended with.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> Response:
    return Json({"tokens": await people.listing(session, email=email, before=before, limit=limit)})


@router.post("/people/{who}/revoke", summary="End a person's token by its number, or all tokens of an address")
async def revoke_person(session: Session, who: str) -> Response:
    return Json({"tokens": await people.revoke(session, who)})


@router.post("", status_code=201, summary="Make a token; it is shown this once")
async def create(session: Session, body: NewToken) -> Response:
    secret, row = await tokens.create(session, body.name, body.role, apps=body.apps, expires=body.expires)
    return Json(row | {"token": secret}, 201)


@router.post("/{name}/renew", summary="Give a token a new secret; the old one ends")
async def renew(session: Session, name: str, body: Renewal | None = None) -> Response:
    secret, row = await tokens.renew(session, name, expires=body.expires if body else None)
    return Json(row | {"token": secret})


@router.post("/{name}/revoke", summary="End a token")
async def revoke(session: Session, name: str) -> Response:
    return Json(await tokens.revoke(session, name))
