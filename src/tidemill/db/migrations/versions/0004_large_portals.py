"""What large portals need: bits of declared fields, pages of people by an index, changed files in the feed.

Revision: 0004, after 0003
"""

from __future__ import annotations

from importlib.resources import files

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES: tuple[tuple[str, str, list[str | sa.TextClause], str | None], ...] = (
    ("item_created_idx", "item", ["created_at", "id"], "kind = 'item'"),
    ("token_person_idx", "token", ["id"], "role = 'downloader'"),
    ("token_email_idx", "token", [sa.text("lower(email)"), "id"], "role = 'downloader'"),
    ("dataset_created_idx", "dataset", ["created_at", "id"], None),
    ("dataset_person_idx", "dataset", ["token_id", "created_at", "id"], None),
)


def upgrade() -> None:
    for name, table, columns, where in INDEXES:
        op.create_index(name, table, columns, postgresql_where=sa.text(where) if where else None)
    op.drop_index("dataset_token_id_idx", "dataset")
    _tables("json")
    _no_copies()
    op.add_column("field_table", sa.Column("bits", postgresql.JSONB(), nullable=True))
    op.get_bind().exec_driver_sql((files("tidemill.db") / "triggers.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("drop trigger file_changed on file")
    op.execute("drop function file_changed()")
    _no_copies()
    op.drop_column("field_table", "bits")
    _tables("jsonb")
    op.create_index("dataset_token_id_idx", "dataset", ["token_id"])
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table)


def _tables(kind: str) -> None:
    """Keep the order in which columns of metadata files are declared (`json`), or not (`jsonb`)."""
    type_ = postgresql.JSONB() if kind == "jsonb" else sa.JSON()
    op.alter_column("site", "tables", server_default=None)
    op.alter_column("site", "tables", type_=type_, postgresql_using=f"tables::{kind}")
    op.alter_column("site", "tables", server_default=sa.text(f"'[]'::{kind}"))


def _no_copies() -> None:
    """Take the copies of declared fields away, which are laid out otherwise: a duty makes what is wanted anew."""
    op.execute("drop schema if exists tidemill_fields cascade")
    op.execute("delete from field_table")
