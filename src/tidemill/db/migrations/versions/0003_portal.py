"""Sources in buckets, packages, and those who download them.

Revision: 0003, after 0002
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _sources()
    _sites()
    _described()
    _people()
    _computed_files()
    _computed_file_indexes()
    _contents()
    _downloads()
    _datasets()
    _field_tables()
    _triggers({})


def _triggers(words: Mapping[str, str]) -> None:
    """Define what the tables keep true by themselves anew, with some words in place of others."""
    text = (files("tidemill.db") / "triggers.sql").read_text(encoding="utf-8")
    for now, then in words.items():
        text = text.replace(now, then)
    op.get_bind().exec_driver_sql(text)


def _sources() -> None:
    op.create_table(
        "sync",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        _now("finished_at"),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        _json("details"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="sync_source_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="sync_pkey"),
    )
    op.create_index("sync_source_id_idx", "sync", ["source_id"])
    op.add_column("source", _json("options"))
    op.add_column("source", sa.Column("may_lose", sa.Float(), server_default=sa.text("0.1"), nullable=False))
    op.add_column("file", sa.Column("project_id", sa.BigInteger(), nullable=True))
    op.add_column("file", sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("file_project_id_idx", "file", ["project_id"])
    op.create_foreign_key(op.f("file_project_id_fkey"), "file", "project", ["project_id"], ["id"], ondelete="SET NULL")


def _sites() -> None:
    _fields("json")
    op.add_column("site", sa.Column("project_fields", sa.JSON(), server_default=sa.text("'{}'::json"), nullable=False))
    for name, empty in (
        ("tables", "[]"),
        ("packages", "[]"),
        ("publishing", "{}"),
        ("portal", "{}"),
    ):
        op.add_column("site", _json(name, empty))
    op.add_column("item", _text("kind", "item"))
    op.create_check_constraint(op.f("item_kind_check"), "item", "kind in ('item', 'package')")
    op.drop_index("item_status_idx", "item")
    op.create_index("item_status_idx", "item", ["status", "id"], postgresql_where=sa.text("kind = 'item'"))
    op.create_index("item_package_idx", "item", ["name"], postgresql_where=sa.text("kind = 'package'"))


def _fields(kind: str) -> None:
    """`json` keeps the order of its keys."""
    op.execute("alter table site alter column fields drop default")
    op.execute(f"alter table site alter column fields type {kind} using fields::{kind}")
    op.execute(f"alter table site alter column fields set default '{{}}'::{kind}")


def _described() -> None:
    """Whose metadata keys are those of the sources' tables."""
    keys = postgresql.JSONB(astext_type=sa.Text())
    op.add_column("project", sa.Column("described", keys, nullable=True))
    op.create_table(
        "described",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.Column("keys", keys, nullable=False),
        sa.Column("named", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="described_item_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="described_project_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="described_pkey"),
    )
    op.create_index(
        "described_place_idx", "described", [sa.text("coalesce(project_id, 0)"), sa.text("item_id")], unique=True
    )
    op.create_index("described_item_id_idx", "described", ["item_id"])
    op.create_index("described_project_id_idx", "described", ["project_id"])


def _field_tables() -> None:
    op.create_table(
        "field_table",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        _json("columns", "[]"),
        sa.Column("long", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        _now("created_at"),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="field_table_pkey"),
    )


def _people() -> None:
    op.create_table(
        "terms",
        _text("version"),
        _text("body"),
        _now("created_at"),
        sa.PrimaryKeyConstraint("version", name="terms_pkey"),
    )
    op.add_column("token", _text("email", ""))
    op.add_column("token", sa.Column("terms", sa.Text(), nullable=True))
    op.add_column("token", sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("token", _text("caller", ""))
    op.create_foreign_key(op.f("token_terms_fkey"), "token", "terms", ["terms"], ["version"])
    op.alter_column("token", "name", nullable=True)
    op.create_check_constraint(op.f("token_named_check"), "token", "name is not null or role = 'downloader'")
    op.drop_constraint(op.f("token_role_check"), "token")
    op.create_check_constraint(
        op.f("token_role_check"), "token", "role in ('reader', 'operator', 'worker', 'downloader')"
    )
    op.create_index("token_people_idx", "token", ["created_at"], postgresql_where=sa.text("role = 'downloader'"))


def _computed_files() -> None:
    op.create_table(
        "computed_file",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=True),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        *(_text(name) for name in ("package", "name", "store", "key")),
        _json("options"),
        sa.Column("size", sa.BigInteger(), nullable=False),
        _text("sha256"),
        _text("etag", ""),
        _text("fingerprint"),
        _json("attributes"),
        sa.Column("files", sa.Integer(), server_default="0", nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=True),
        _now("created_at"),
        _now("updated_at"),
        *(
            sa.Column(f"{done}_at", sa.DateTime(timezone=True), nullable=True)
            for done in ("replaced", "removed", "expires")
        ),
        sa.Column("downloads", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("size >= 0", name="computed_file_size_check"),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="computed_file_sha256_check"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="computed_file_item_id_fkey", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="computed_file_project_id_fkey", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["task_id", "fence"],
            ["attempt.task_id", "attempt.fence"],
            name="computed_file_attempt_fkey",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name="computed_file_pkey"),
    )


def _computed_file_indexes() -> None:
    op.create_index("computed_file_item_id_idx", "computed_file", ["item_id"])
    op.create_index("computed_file_project_id_idx", "computed_file", ["project_id"])
    op.create_index(
        "computed_file_current_idx",
        "computed_file",
        ["item_id"],
        unique=True,
        postgresql_where=sa.text("replaced_at is null"),
    )
    op.create_index(
        "computed_file_doomed_idx", "computed_file", ["replaced_at"], postgresql_where=sa.text("removed_at is null")
    )


def _contents() -> None:
    """Which items a computed file holds."""
    op.create_table(
        "computed_file_item",
        sa.Column("computed_file_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["computed_file_id"],
            ["computed_file.id"],
            name="computed_file_item_computed_file_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="computed_file_item_item_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("computed_file_id", "item_id", name="computed_file_item_pkey"),
    )
    op.create_index("computed_file_item_item_id_idx", "computed_file_item", ["item_id"])


def _downloads() -> None:
    op.create_table(
        "download",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("computed_file_id", sa.BigInteger(), nullable=True),
        _text("original", ""),
        sa.Column("token_id", sa.BigInteger(), nullable=True),
        _text("terms", ""),
        _now("at"),
        sa.CheckConstraint("(computed_file_id is null) <> (original = '')", name="download_of_one_check"),
        sa.ForeignKeyConstraint(
            ["computed_file_id"], ["computed_file.id"], name="download_computed_file_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["token_id"], ["token.id"], name="download_token_id_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="download_pkey"),
    )
    op.create_index("download_computed_file_id_idx", "download", ["computed_file_id"])
    op.create_index("download_token_id_idx", "download", ["token_id"])


def _datasets() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=True),
        _text("email", ""),
        _text("format", ""),
        _json("contents"),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("files", sa.Integer(), server_default="0", nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=True),
        _now("created_at"),
        _now("updated_at"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["token_id"], ["token.id"], name="dataset_token_id_fkey", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="dataset_item_id_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="dataset_pkey"),
    )
    op.create_index("dataset_token_id_idx", "dataset", ["token_id"])
    op.create_index("dataset_item_id_idx", "dataset", ["item_id"])


def _json(name: str, empty: str = "{}") -> sa.Column[object]:
    return sa.Column(
        name, postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text(f"'{empty}'"), nullable=False
    )


def _text(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def downgrade() -> None:
    op.execute("drop schema if exists tidemill_fields cascade")
    op.drop_table("field_table")
    for table in ("dataset", "download", "computed_file_item", "computed_file"):
        op.drop_table(table)
    op.execute("delete from token where role = 'downloader'")
    op.drop_constraint(op.f("token_role_check"), "token")
    op.create_check_constraint(op.f("token_role_check"), "token", "role in ('reader', 'operator', 'worker')")
    op.drop_constraint(op.f("token_named_check"), "token")
    op.alter_column("token", "name", nullable=False)
    op.drop_index("token_people_idx", "token")
    for name in ("email", "terms", "accepted_at", "caller"):
        op.drop_column("token", name)
    op.drop_table("terms")
    op.drop_index("item_package_idx", "item")
    op.drop_index("item_status_idx", "item")
    op.execute("delete from task where item_id in (select id from item where kind = 'package')")
    op.execute("delete from batch_item where item_id in (select id from item where kind = 'package')")
    op.execute("delete from item where kind = 'package'")
    op.drop_column("item", "kind")
    op.create_index("item_status_idx", "item", ["status", "id"])
    _triggers({"select kind, id": "select 'item', id", "select n.kind, n.id": "select 'item', n.id"})
    op.execute("drop trigger if exists file_changed on file")  # of 0004, but in the text that was just run
    op.execute("drop function if exists file_changed()")
    for name in ("project_fields", "tables", "packages", "publishing", "portal"):
        op.drop_column("site", name)
    _fields("jsonb")
    op.drop_table("described")
    op.drop_column("project", "described")
    op.drop_column("file", "changed_at")
    op.drop_column("file", "project_id")
    op.drop_column("source", "may_lose")
    op.drop_column("source", "options")
    op.drop_table("sync")
