"""The change feed: what changed, how far back it goes, and how far its readers are."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Integer, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from tidemill.db.models.base import Base, Now, Xid8


class Change(Base):
    """One entry of the change feed. Its position is (xid, id): see `feed/`."""

    __tablename__ = "change"
    __table_args__ = (
        Index("change_item_idx", "item_id", "xid", "id", postgresql_where=text("item_id is not null")),
        Index("change_at_idx", "at", postgresql_using="brin", postgresql_where=text("kind in ('item', 'project')")),
        Index("change_record_idx", "xid", "id", postgresql_where=text("kind in ('item', 'project')")),
    )

    xid: Mapped[int] = mapped_column(Xid8, primary_key=True, server_default=func.pg_current_xact_id())
    id: Mapped[int] = mapped_column(BigInteger, Identity(cache=200), primary_key=True)
    kind: Mapped[str]
    """`task`, `run`, `app`, `item`, `project`."""
    run_id: Mapped[int | None]
    task_id: Mapped[int | None]
    item_id: Mapped[int | None]
    project_id: Mapped[int | None]
    position: Mapped[int | None] = mapped_column(Integer)
    step: Mapped[int | None] = mapped_column(SmallInteger)
    state: Mapped[str | None]
    name: Mapped[str | None]
    """What an item was called that is deleted: its record can no longer be asked."""
    at: Mapped[Now]


class Floor(Base):
    """Up to where the change feed has been pruned. One row, or none yet."""

    __tablename__ = "floor"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="1")
    seq: Mapped[str]
    """The last position that was removed: whoever stands before it has missed something."""
    updated_at: Mapped[Now]


class Consumer(Base):
    """A reader of the change feed whose position the server keeps."""

    __tablename__ = "consumer"

    name: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[str]
    """Everything up to here has been dealt with."""
    updated_at: Mapped[Now]
