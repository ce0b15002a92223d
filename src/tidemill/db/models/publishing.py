"""What is made for people to take away, who takes it, and the terms that they accepted."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Integer, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from tidemill.db.models.base import Base, Json, Key, Now


class Terms(Base):
    """One version of the terms that people accept before they download. The one that `site.portal` names counts."""

    __tablename__ = "terms"

    version: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str]
    """Markdown."""
    created_at: Mapped[Now]


class ComputedFile(Base):
    """A package that is in its store, verified: what a person downloads.

    Of one package (`item_id`, an item of the kind `package`) at most one is current; the others were replaced, and
    their objects go some time later.
    """

    __tablename__ = "computed_file"
    __table_args__ = (
        CheckConstraint("size >= 0", name="size"),
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
        ForeignKeyConstraint(
            ["task_id", "fence"],
            ["attempt.task_id", "attempt.fence"],
            ondelete="SET NULL",
            name="computed_file_attempt_fkey",
        ),
        Index("computed_file_current_idx", "item_id", unique=True, postgresql_where=text("replaced_at is null")),
        Index("computed_file_doomed_idx", "replaced_at", postgresql_where=text("removed_at is null")),
    )

    id: Mapped[Key]
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id", ondelete="SET NULL"), index=True)
    """The package: an item of the kind `package`."""
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id", ondelete="SET NULL"), index=True)
    package: Mapped[str]
    """Which declaration of the site file it was made by; `dataset` for what a person put together."""
    name: Mapped[str]
    """Its file name, for people."""
    store: Mapped[str]
    """URL of the store that it lies in."""
    options: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """How that store is reached: `endpoint`, `region`; see `Source.options`."""
    key: Mapped[str]
    size: Mapped[int]
    sha256: Mapped[str]
    """Hexadecimal."""
    etag: Mapped[str] = mapped_column(server_default="")
    fingerprint: Mapped[str]
    """SHA-256 of all that it was made from; a package whose fingerprint is the same is not built again."""
    attributes: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """What the declaration says of it: `format`, `modality`, …"""
    files: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many files are in it."""
    task_id: Mapped[int | None]
    fence: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[Now]
    """When the package was first published."""
    updated_at: Mapped[Now]
    """When these bytes were."""
    replaced_at: Mapped[dt.datetime | None]
    removed_at: Mapped[dt.datetime | None]
    expires_at: Mapped[dt.datetime | None]
    """For datasets."""
    downloads: Mapped[int] = mapped_column(server_default="0")


class ComputedFileItem(Base):
    """Which items a computed file holds: several, where it is a project's or a multiplexed one."""

    __tablename__ = "computed_file_item"

    computed_file_id: Mapped[int] = mapped_column(ForeignKey("computed_file.id", ondelete="CASCADE"), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id", ondelete="CASCADE"), primary_key=True, index=True)


class Download(Base):
    """One download of a computed file (or of an original one), by whom, and under which terms."""

    __tablename__ = "download"
    __table_args__ = (CheckConstraint("(computed_file_id is null) <> (original = '')", name="of_one"),)

    id: Mapped[Key]
    computed_file_id: Mapped[int | None] = mapped_column(ForeignKey("computed_file.id", ondelete="CASCADE"), index=True)
    original: Mapped[str] = mapped_column(server_default="")
    """Source and key of the original file, where it was one."""
    token_id: Mapped[int | None] = mapped_column(ForeignKey("token.id", ondelete="SET NULL"), index=True)
    terms: Mapped[str] = mapped_column(server_default="")
    """The version of the terms that this token had accepted."""
    at: Mapped[Now]


class Dataset(Base):
    """What one person gathers from several projects, to be packed for them alone."""

    __tablename__ = "dataset"
    __table_args__ = (
        Index("dataset_created_idx", "created_at", "id"),
        Index("dataset_person_idx", "token_id", "created_at", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, server_default=text("gen_random_uuid()"))
    token_id: Mapped[int | None] = mapped_column(ForeignKey("token.id", ondelete="SET NULL"))
    email: Mapped[str] = mapped_column(server_default="")
    format: Mapped[str] = mapped_column(server_default="")
    contents: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """What is in it: `{project: {modality: [items] | "MERGED", "includes_bulk": bool}}`."""
    size: Mapped[int] = mapped_column(server_default="0")
    """Bytes of the files in it, as they were when it was last looked at."""
    files: Mapped[int] = mapped_column(Integer, server_default="0")
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id", ondelete="SET NULL"), index=True)
    """The package that it became, once it was asked for."""
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    started_at: Mapped[dt.datetime | None]
    expires_at: Mapped[dt.datetime | None]
