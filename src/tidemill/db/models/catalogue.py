"""The site itself, its sources, their files, the items that files belong to, and projects."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from tidemill.db.models.base import Base, Json, Key, Now, one_of
from tidemill.domain.kinds import Kind


class Site(Base):
    """What the site calls itself and its nouns, and the metadata keys that it declares. One row, or none yet."""

    __tablename__ = "site"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="1")
    title: Mapped[str] = mapped_column(server_default="")
    vocabulary: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """`item`, `items`, `project`, `projects`; a key that is missing has its default."""
    fields: Mapped[Json] = mapped_column(JSON, server_default=text("'{}'::json"))
    """Declared metadata keys of items: `{name: {"type", "title", …}}`. Their order is the one in which they are shown,
    which is why this is no jsonb."""
    project_fields: Mapped[Json] = mapped_column(JSON, server_default=text("'{}'::json"))
    """Likewise of projects."""
    tables: Mapped[list[Any]] = mapped_column(JSON, server_default=text("'[]'::json"))
    """The metadata files of its sources, and what they say; see `pipelines.portal_entries`, as for the rest. The order
    of their columns is the one in which lists of them are shown."""
    packages: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    publishing: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    portal: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    updated_at: Mapped[Now]


class Source(Base):
    """Where original files lie. `layout` holds its rules as the site file has them."""

    __tablename__ = "source"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    url: Mapped[str]
    layout: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    options: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """How its service is reached: `endpoint`, `region`, `anonymous`. Never a secret."""
    may_lose: Mapped[float] = mapped_column(server_default="0.1")
    """Share of its files that a sync may take out of the catalogue without being told that it may."""
    synced_at: Mapped[dt.datetime | None]


class File(Base):
    """One original file as last seen in its source."""

    __tablename__ = "file"
    __table_args__ = (UniqueConstraint("source_id", "key"), CheckConstraint("size >= 0", name="size"))

    id: Mapped[Key]
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id", ondelete="CASCADE"))
    key: Mapped[str]
    size: Mapped[int]
    etag: Mapped[str] = mapped_column(server_default="")
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id", ondelete="SET NULL"), index=True)
    """The project that its key names, if it names one."""
    changed_at: Mapped[dt.datetime | None]
    """When a sync last found other bytes under this key."""
    modified_at: Mapped[dt.datetime | None]
    attributes: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    seen_at: Mapped[Now]


class Project(Base):
    """A set of items with metadata of its own."""

    __tablename__ = "project"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str] = mapped_column(server_default="")
    details: Mapped[Json] = mapped_column("metadata", server_default=text("'{}'"))
    locked: Mapped[bool] = mapped_column(server_default=text("false"))
    described: Mapped[list[Any] | None]
    """Metadata keys that came out of its source's tables when they were last loaded; NULL: they never were."""
    created_at: Mapped[Now]

    @property
    def own_details(self) -> Json:
        """Its metadata without those."""
        return {key: value for key, value in self.details.items() if key not in (self.described or ())}


class Item(Base):
    """The unit of processing: a record that people, steps and imports may edit at the same time.

    Triggers (`db/triggers.sql`) raise `revision` and write a change with every edit, whoever makes it and however.
    """

    __tablename__ = "item"
    __table_args__ = (
        CheckConstraint(one_of("kind", Kind), name="kind"),
        Index("item_name_prefix_idx", "name", postgresql_ops={"name": "text_pattern_ops"}),
        Index("item_grams_idx", text("name_grams(name)"), postgresql_using="gin"),
        Index("item_status_idx", "status", "id", postgresql_where=text("kind = 'item'")),
        Index("item_created_idx", "created_at", "id", postgresql_where=text("kind = 'item'")),
        Index("item_package_idx", "name", postgresql_where=text("kind = 'package'")),
        Index("item_metadata_idx", "metadata", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}),
    )

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(server_default="item")
    """`package`: not one of the collection's items, but something to be packed from them, whose tasks pack it."""
    status: Mapped[str] = mapped_column(server_default="good")
    status_reason: Mapped[str] = mapped_column(server_default="")
    """Why it has this status, where a step or a person said so."""
    details: Mapped[Json] = mapped_column("metadata", server_default=text("'{}'"))
    revision: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Now]
    updated_at: Mapped[Now]


class ProjectItem(Base):
    """Which items stand in a project; an item may stand in several."""

    __tablename__ = "project_item"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id", ondelete="CASCADE"), primary_key=True, index=True)


class Described(Base):
    """Which metadata keys of an item came out of a project's tables when they were last loaded: those are theirs."""

    __tablename__ = "described"
    __table_args__ = (Index("described_place_idx", text("coalesce(project_id, 0)"), "item_id", unique=True),)

    id: Mapped[Key]
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id", ondelete="CASCADE"), index=True)
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    """NULL: tables that name no project."""
    keys: Mapped[list[Any]]
    named: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether it had a row of its own, so that it is in the project because of the tables; else only parts."""


class ItemFile(Base):
    """Which files belong to an item; a file may belong to several."""

    __tablename__ = "item_file"

    item_id: Mapped[int] = mapped_column(ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("file.id", ondelete="CASCADE"), primary_key=True, index=True)


class PastStep(Base):
    """A step that another system did before the item came here: the beginning of the item's process."""

    __tablename__ = "past_step"
    __table_args__ = (Index("past_step_name_idx", "name", "item_id"),)

    item_id: Mapped[int] = mapped_column(ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    name: Mapped[str]
    details: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """The entry as the other system had it."""
    finished_at: Mapped[dt.datetime | None]


class Import(Base):
    """Another system whose records are taken over, and how far its change feed has been read."""

    __tablename__ = "import"

    name: Mapped[str] = mapped_column(primary_key=True)
    """Its address without secrets."""
    seq: Mapped[str] = mapped_column(server_default="")
    records: Mapped[int] = mapped_column(server_default="0")
    updated_at: Mapped[Now]


class Imported(Base):
    """One document of another system as it was last taken over: what tells an edit there from an edit here."""

    __tablename__ = "imported"
    __table_args__ = (
        ForeignKeyConstraint(["import"], ["import.name"], ondelete="CASCADE", name="imported_import_fkey"),
        Index("imported_noted_idx", "import", "document", postgresql_where=text("note <> ''")),
    )

    origin: Mapped[str] = mapped_column("import", primary_key=True)
    document: Mapped[str] = mapped_column(primary_key=True)
    """Its id there."""
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id", ondelete="CASCADE"), index=True)
    """NULL: it could not be taken."""
    rev: Mapped[str] = mapped_column(server_default="")
    status: Mapped[str] = mapped_column(server_default="")
    details: Mapped[Json] = mapped_column("metadata", server_default=text("'{}'"))
    note: Mapped[str] = mapped_column(server_default="")
    """What a person should know: why it could not be taken, what was kept because it had been edited here."""


class FieldTable(Base):
    """A narrow copy of the declared fields of all items, which a large site answers lists from; see
    `catalogue/field_index.py`. The copy itself is in a schema of its own, since its columns are the site's."""

    __tablename__ = "field_table"

    id: Mapped[Key]
    columns: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    """`[{"field", "type", "column", "tallied", "lower"}]`, as `domain.shop_window.Column` has them; the last one only
    where there is such a column. What a release adds is in a column of its own: one that still runs reads this."""
    bits: Mapped[Json | None]
    """What there are bits of, by the name of the column, items' names among them: `{"bits"}`, or `{"parts", "bounds"}`.
    NULL: the copy has none, so it is not whole, or a process of the release before has made it."""
    long: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Fields of which some item has a value that is too long for it: they are looked up in the items themselves."""
    created_at: Mapped[Now]
    ready_at: Mapped[dt.datetime | None]


class Sync(Base):
    """One reading of a source: what it found, and what it did to the catalogue."""

    __tablename__ = "sync"

    id: Mapped[Key]
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id", ondelete="CASCADE"), index=True)
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[Now]
    seen: Mapped[int]
    created: Mapped[int]
    changed: Mapped[int]
    deleted: Mapped[int]
    details: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """The rest of the report: new items and projects, keys that no rule matches, …"""
