"""Tokens: making them, listing them, revoking them. A token itself is shown once, when it is made."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import zlib
from collections.abc import Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.domain.roles import Role
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.pipelines.names import check_name

PREFIX = "tm_"
"""What every token begins with, so that it is known for one where it should not be: in a log, in a repository."""

_BYTES = 32
_LENGTH = len(PREFIX) + 43 + 6


def new_secret() -> str:
    """A new token: the prefix, 256 random bits, and a checksum that tells a mistyped one without a database."""
    word = PREFIX + secrets.token_urlsafe(_BYTES)
    return word + _checksum(word)


def well_formed(token: str) -> bool:
    """Whether this can be a token at all."""
    if len(token) != _LENGTH or not token.startswith(PREFIX) or not token.isascii():
        return False
    return hmac.compare_digest(token[-6:], _checksum(token[:-6]))


def digest(token: str) -> bytes:
    """What is kept of a token: its SHA-256. With 256 random bits in it nothing slower is needed."""
    return hashlib.sha256(token.encode()).digest()


async def create(
    session: AsyncSession, name: str, role: Role, *, apps: Sequence[str] = (), expires: float | None = None
) -> tuple[str, Row]:
    """A new token and its row. `apps`: the only ones that a worker may work for; none: all. `expires`: seconds.

    Raises InvalidInput for a bad name, limits that the role does not have, or apps that are not there; Conflict where
    the name is taken.
    """
    check_name("a token", name)
    if role is Role.DOWNLOADER:
        raise InvalidInput(
            "People who download ask the portal for their tokens themselves, and accept its terms there."
        )
    _check_expiry(expires)
    if apps and role is not Role.WORKER:
        raise InvalidInput(f"Apps narrow a worker's token, not a {role}'s.")
    if unknown := await fetch(session, "accounts.unknown_apps", {"apps": list(apps)}):
        raise InvalidInput(f"There is no app {unknown[0]['name']}.", hint="`tidemill apps` lists them.")
    secret = new_secret()
    limits = {"apps": sorted(set(apps))} if apps else {}
    row = await fetch_one(
        session,
        "accounts.create",
        {
            "name": name,
            "sha256": digest(secret),
            "role": role.value,
            "limits": orjson.dumps(limits).decode(),
            "expires": expires,
        },
    )
    if row is None:
        hint = f"`tidemill tokens renew {name}` gives it a new secret; `tidemill tokens` lists them."
        raise Conflict(f"There is a token {name} already.", hint=hint)
    return secret, row


async def renew(session: AsyncSession, name: str, *, expires: float | None = None) -> tuple[str, Row]:
    """A new secret for a token, whether it was good, revoked or expired; the old one is good no longer.

    Its workers stay its workers: results that one of them holds under the old secret are taken under the new one.
    Raises NotFound.
    """
    _check_expiry(expires)
    secret = new_secret()
    row = await fetch_one(session, "accounts.renew", {"name": name, "sha256": digest(secret), "expires": expires})
    return secret, _found(row, name)


async def revoke(session: AsyncSession, name: str) -> Row:
    """End a token: every process of the site refuses it within a second or two. Raises NotFound."""
    return _found(await fetch_one(session, "accounts.revoke", {"name": name}), name)


async def listing(session: AsyncSession) -> list[Row]:
    """All tokens by name, never with their secrets; `state`: good, expired or revoked."""
    return await fetch(session, "accounts.listing")


def _found(row: Row | None, name: str) -> Row:
    if row is None:
        raise NotFound(f"There is no token {name}.", hint="`tidemill tokens` lists them.")
    return row


def _check_expiry(expires: float | None) -> None:
    if expires is not None and not 0 < expires <= 100 * 366 * 86400:
        raise InvalidInput("A token must be good for some time, and for less than a hundred years.")


def _checksum(word: str) -> str:
    return base64.urlsafe_b64encode(zlib.crc32(word.encode()).to_bytes(4, "big")).decode().rstrip("=")
