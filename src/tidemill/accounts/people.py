"""People who download: each has a token for an address, made by asking, good for downloads once the terms are accepted.

The token itself is shown once, when it is made; its SHA-256 is kept. No mail is sent: nothing here proves that an
address is somebody's, it is what they said.
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.accounts.tokens import digest, new_secret, well_formed
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import InvalidFields, KeyRefused, NotFound, TooMany

MOST = {"email": 10, "caller": 100, "every": 2000}
"""Tokens that are given out within an hour at most: for one address, to one caller, in all."""

WAITING_DAYS = 7
"""Days after which a token that was never activated is gone."""

LONGEST = 254
"""Characters of an address: RFC 5321 allows no more."""

_EMAIL = re.compile(
    r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])"
)


@dataclass(frozen=True, slots=True)
class Person:
    """Whose token was shown, and whether they may download."""

    id: int
    email: str
    terms: str | None
    """The version that they accepted; None: none, or the site had none."""
    accepted_at: dt.datetime | None
    wanted: str | None
    """The version that is to be accepted now; None: the site has no terms."""

    @property
    def activated(self) -> bool:
        """Whether they accepted what is to be accepted now."""
        return self.accepted_at is not None and self.wanted in (None, self.terms)

    @property
    def outdated(self) -> bool:
        """Whether they accepted terms, and those have changed since."""
        return self.accepted_at is not None and not self.activated

    def refusal(self) -> str | None:
        """Why they may not download, in a sentence; None: they may."""
        if self.activated:
            return None
        if self.outdated:
            before = "none" if self.terms is None else f"version {self.terms}"
            return (
                f"The terms have changed: this is version {self.wanted}, you accepted {before}. "
                "Accept them, and your token is good again."
            )
        return NOT_VALID


NOT_VALID = "Your token is not valid or not activated."


async def join(session: AsyncSession, email: str, accepted: bool, *, caller: bytes = b"") -> tuple[str, Person]:
    """A new token for an address, and its person. `accepted`: they accept the terms as they are now; a token that is
    not activated is gone after a week. `caller`: keyed digest of whence they ask (`caller_digest`), empty: unknown.

    Raises InvalidFields for what is no address, TooMany.
    """
    address = checked_email(email)
    await fetch(session, "people.lock")
    seen = await fetch_one(session, "people.crowd", {"email": address, "caller": caller.hex()})
    _check_crowd(seen or {})
    secret = new_secret()
    row = await fetch_one(
        session,
        "people.join",
        {
            "email": address,
            "sha256": digest(secret),
            "caller": caller.hex(),
            "accepted": accepted,
            "days": WAITING_DAYS,
        },
    )
    assert row is not None
    return secret, _person(row)


async def holder(session: AsyncSession, secret: str) -> Person | None:
    """Whose token this is, activated or not; None where it is unknown, expired or revoked."""
    if not well_formed(secret):
        return None
    row = await fetch_one(session, "people.holder", {"sha256": digest(secret)})
    return None if row is None else _person(row)


async def downloader(session: AsyncSession, secret: str) -> Person:
    """The person who may download with this token. Raises KeyRefused, which says why not."""
    person = await holder(session, secret)
    why = NOT_VALID if person is None else person.refusal()
    if person is None or why is not None:
        raise KeyRefused(why)
    return person


async def accept(session: AsyncSession, secret: str, accepted: bool | None, email: str | None = None) -> Person:
    """The holder accepts the terms as they are now (`accepted` False: takes that back; None: leaves it), or corrects
    their address. Raises NotFound where the token is not good, InvalidFields.
    """
    params = {
        "sha256": digest(secret),
        "accepted": accepted,
        "email": None if email is None else checked_email(email),
        "days": WAITING_DAYS,
    }
    row = await fetch_one(session, "people.accept", params) if well_formed(secret) else None
    if row is None:
        raise NotFound("There is no such token, or it has expired or was revoked.")
    return _person(row)


async def leave(session: AsyncSession, secret: str) -> None:
    """Its holder ends a token, for good. Raises NotFound."""
    found = await fetch_one(session, "people.revoke", {"id": None, "sha256": digest(secret)})
    if found is None:
        raise NotFound("There is no such token.")


async def revoke(session: AsyncSession, who: str) -> list[Row]:
    """End a person's token by its number, or all tokens of an address; the rows that ended. Raises NotFound."""
    if who.isdecimal() and len(who) < 19:
        rows = await fetch(session, "people.revoke", {"id": int(who), "sha256": None})
    else:
        rows = await fetch(session, "people.revoke_all", {"email": who})
    if not rows:
        raise NotFound(f"Nobody has a token under {who}.", hint="`tidemill tokens people` lists them by number.")
    return rows


async def listing(
    session: AsyncSession, *, email: str | None = None, before: int | None = None, limit: int = 100
) -> list[Row]:
    """People's tokens, the newest first, never with their secrets: `{id, email, terms, accepted_at, created_at,
    used_at, expires_at, revoked_at, state, downloads}`; `state`: good, not activated, expired or revoked. `before`: the
    id that a page before ended with.
    """
    params = {"email": email, "before": before, "limit": limit}
    return await fetch(session, "people.listing", params, prepare=False)  # planned for what is asked: see its indexes


async def count(session: AsyncSession) -> int:
    """How many tokens of people are good, or were asked for and are not activated yet."""
    row = await fetch_one(session, "people.count")
    return row["tokens"] if row is not None else 0


async def prune(session: AsyncSession) -> None:
    """Remove tokens that were asked for, never activated, and have expired."""
    await fetch(session, "people.prune")


def caller_digest(key: bytes, address: str) -> bytes:
    """What is kept of a caller's network address: enough to count, not to find them. `key`: the site's, for callers."""
    return hmac.new(key, address.encode(), "sha256").digest()[:16]


def checked_email(email: str) -> str:
    """The address without blanks around it. Raises InvalidFields for what is none."""
    address = email.strip()
    if not address:
        raise InvalidFields({"email": ["This field may not be blank."]})
    if len(address) > LONGEST or not _EMAIL.fullmatch(address) or ".." in address or ".@" in address:
        raise InvalidFields({"email": ["Enter a valid email address."]})
    return address


def _check_crowd(seen: Row) -> None:
    for what, most in MOST.items():
        if seen[what] >= most:
            whose = {"email": "for this address", "caller": "from this computer", "every": "here"}[what]
            raise TooMany(
                f"{seen[what]} tokens were asked for {whose} within an hour.",
                hint="A token that was made stays good: use that one, or ask again in an hour.",
            )


def _person(row: Row) -> Person:
    return Person(row["id"], row["email"], row["terms"], row["accepted_at"], row["wanted"])
