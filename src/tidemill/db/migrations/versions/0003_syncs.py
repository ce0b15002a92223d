"""Sources in buckets, files of projects, and the record of each sync.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sync",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="sync_source_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="sync_pkey"),
    )
    op.create_index("sync_source_id_idx", "sync", ["source_id"])
    options = sa.Column(
        "options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
    )
    op.add_column("source", options)
    op.add_column("source", sa.Column("may_lose", sa.Float(), server_default=sa.text("0.1"), nullable=False))
    op.add_column("file", sa.Column("project_id", sa.BigInteger(), nullable=True))
    op.add_column("file", sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("file_project_id_idx", "file", ["project_id"])
    op.create_foreign_key("file_project_id_fkey", "file", "project", ["project_id"], ["id"], ondelete="SET NULL")


def downgrade() -> None:
    op.drop_column("file", "changed_at")
    op.drop_column("file", "project_id")
    op.drop_column("source", "may_lose")
    op.drop_column("source", "options")
    op.drop_table("sync")
