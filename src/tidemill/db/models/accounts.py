"""Tokens: keys that were given out, each for what it may do."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from tidemill.db.models.base import Base, Json, Key, Now, one_of
from tidemill.domain.roles import Role


class Token(Base):
    """A key to the API. Only its SHA-256 is kept: the token itself was shown once."""

    __tablename__ = "token"
    __table_args__ = (
        CheckConstraint(one_of("role", Role), name="role"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
        CheckConstraint("name is not null or role = 'downloader'", name="named"),
        Index("token_people_idx", "created_at", postgresql_where=text("role = 'downloader'")),
        Index("token_person_idx", "id", postgresql_where=text("role = 'downloader'")),
        Index("token_email_idx", text("lower(email)"), "id", postgresql_where=text("role = 'downloader'")),
    )

    id: Mapped[Key]
    name: Mapped[str | None] = mapped_column(unique=True)
    """Those of people who download have none, but an address."""
    email: Mapped[str] = mapped_column(server_default="")
    terms: Mapped[str | None] = mapped_column(ForeignKey("terms.version"))
    """The version of the terms that its holder accepted, at `accepted_at`."""
    accepted_at: Mapped[dt.datetime | None]
    caller: Mapped[str] = mapped_column(server_default="")
    """A keyed digest of the address that asked for it, so that no one asks for too many."""
    sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    role: Mapped[str]
    limits: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """What narrows the role: `{"apps": [names]}` for a worker."""
    created_at: Mapped[Now]
    expires_at: Mapped[dt.datetime | None]
    used_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]
