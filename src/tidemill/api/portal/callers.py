"""Who asks the portal's API: a person with a key (`API-KEY`), an operator with the site's, or nobody known."""

from __future__ import annotations

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.accounts import people
from tidemill.accounts.keyring import HOLDER
from tidemill.accounts.people import NOT_VALID, Person
from tidemill.domain.roles import Role
from tidemill.errors import KeyRefused
from tidemill.publishing.downloads import HEAD_ALONE

KEY = "api-key"
"""The header that a person's key comes in."""


def key_of(request: Request) -> str | None:
    """The key that was shown, good or not."""
    return request.headers.get(KEY)


def is_operator(request: Request) -> bool:
    """Whether the guard let the caller in with the site's key, or with a token that may look at everything."""
    if HOLDER not in request.scope:
        return False
    holder = request.scope[HOLDER]
    return holder is None or holder.role in (Role.OPERATOR, Role.READER)


def may_act(request: Request) -> bool:
    """Whether the caller may change what is not theirs: the site's key, or an operator's token."""
    if HOLDER not in request.scope:
        return False
    holder = request.scope[HOLDER]
    return holder is None or holder.role is Role.OPERATOR


async def downloader_of(request: Request, session: AsyncSession) -> Person | None:
    """The person who may download; None: an operator, who shows no person's key. Raises KeyRefused."""
    key = key_of(request)
    if key is not None:
        return await people.downloader(session, key)
    if is_operator(request):
        return None
    raise KeyRefused(NOT_VALID)


def takes(request: Request) -> bool:
    """Whether a link in the answer is taken, and so counted; not where only its head is wanted."""
    return HEAD_ALONE not in request.scope


def base_of(request: Request) -> str:
    """The site's address as the caller knows it, without a slash at its end."""
    return f"{request.url.scheme}://{request.url.netloc}"
