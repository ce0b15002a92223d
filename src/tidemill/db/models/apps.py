"""Apps with their versions, and pipelines with theirs."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Integer, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tidemill.db.models.base import Base, Json, Key, Now


class App(Base):
    """A program that does one step: how it is reached, its limits, and whether it is up.

    `revision` rises with every change, so that a worker knows when what it remembers is old.
    """

    __tablename__ = "app"
    __table_args__ = (
        CheckConstraint("concurrency > 0", name="concurrency"),
        CheckConstraint("deadline > 0 and max_answer > 0", name="limits"),
        CheckConstraint("tries > 0 and backoff >= 0", name="retry"),
    )

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(server_default="http")
    url: Mapped[str]
    protocol: Mapped[str] = mapped_column(server_default="clams")
    version_id: Mapped[int | None] = mapped_column(
        ForeignKey("app_version.id", use_alter=True, name="app_version_id_fkey")
    )
    concurrency: Mapped[int | None] = mapped_column(Integer)
    """How many attempts at once over all workers; NULL: no limit."""
    deadline: Mapped[float] = mapped_column(server_default="3600")
    """Seconds that one attempt may take."""
    max_answer: Mapped[int] = mapped_column(server_default=str(256 * 1024 * 1024))
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    backoff: Mapped[float] = mapped_column(server_default="5")
    """Seconds before the second try; doubled for each further one, with jitter."""
    options: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """What only its engine understands: a command with its environment and limits, the two ends of a transfer."""
    quiet: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    """Hours in which no attempt is begun: `[{"days": [1..7], "from": "22:00", "to": "06:00", "zone": "UTC"}]`."""
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    circuit_failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often in a row the app was found to be down."""
    circuit_open_until: Mapped[dt.datetime | None]
    circuit_reason: Mapped[str | None]
    revision: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Now]


class AppVersion(Base):
    """What an app said of itself at one time. Never changed: attempts refer to it."""

    __tablename__ = "app_version"
    __table_args__ = (UniqueConstraint("app_id", "version", "digest"),)

    id: Mapped[Key]
    app_id: Mapped[int] = mapped_column(ForeignKey("app.id", ondelete="CASCADE"))
    version: Mapped[str]
    identifier: Mapped[str] = mapped_column(server_default="")
    details: Mapped[Json] = mapped_column("metadata", server_default=text("'{}'"))
    digest: Mapped[str]
    """SHA-256 of the metadata, so that a version that changed without saying so is a new row."""
    seen_at: Mapped[Now]


class Pipeline(Base):
    """Ordered steps, versioned."""

    __tablename__ = "pipeline"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str] = mapped_column(server_default="")
    version_id: Mapped[int | None] = mapped_column(
        ForeignKey("pipeline_version.id", use_alter=True, name="pipeline_version_id_fkey")
    )
    """The version that new runs take."""


class PipelineVersion(Base):
    """One version of a pipeline. Never changed."""

    __tablename__ = "pipeline_version"
    __table_args__ = (UniqueConstraint("pipeline_id", "number"),)

    id: Mapped[Key]
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id", ondelete="CASCADE"))
    number: Mapped[int]
    created_at: Mapped[Now]


class Step(Base):
    """One app with parameters at a position (from 0) of a pipeline version. The same app may stand there twice."""

    __tablename__ = "step"
    __table_args__ = (UniqueConstraint("pipeline_version_id", "name"),)

    pipeline_version_id: Mapped[int] = mapped_column(
        ForeignKey("pipeline_version.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    name: Mapped[str]
    app_id: Mapped[int] = mapped_column(ForeignKey("app.id"), index=True)
    parameters: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    tries: Mapped[int | None] = mapped_column(SmallInteger)
    """NULL: as the app says."""
    backoff: Mapped[float | None]
