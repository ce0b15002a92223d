"""The first tables

Revision: 0001, the first
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from tidemill.db.models.base import Xid8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "app",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="http", nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), server_default="clams", nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=True),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("deadline", sa.Double(), server_default="3600", nullable=False),
        sa.Column("max_answer", sa.BigInteger(), server_default="268435456", nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default="3", nullable=False),
        sa.Column("backoff", sa.Double(), server_default="5", nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("circuit_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("circuit_open_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("circuit_reason", sa.Text(), nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("concurrency > 0", name=op.f("app_concurrency_check")),
        sa.CheckConstraint("deadline > 0 and max_answer > 0", name=op.f("app_limits_check")),
        sa.CheckConstraint("tries > 0 and backoff >= 0", name=op.f("app_retry_check")),
        sa.ForeignKeyConstraint(["version_id"], ["app_version.id"], name="app_version_id_fkey", use_alter=True),
        sa.PrimaryKeyConstraint("id", name=op.f("app_pkey")),
        sa.UniqueConstraint("name", name=op.f("app_name_key")),
    )
    op.create_table(
        "change",
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=200), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("task_id", sa.BigInteger(), nullable=True),
        sa.Column("item_id", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("step", sa.SmallInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("xid", "id", name=op.f("change_pkey")),
    )
    op.create_table(
        "document",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("num_nonnulls(body, location) = 1", name=op.f("document_one_place_check")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("document_sha256_check")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("document_pkey")),
    )
    op.create_table(
        "item",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="good", nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("item_pkey")),
        sa.UniqueConstraint("name", name=op.f("item_name_key")),
    )
    op.create_index("item_name_prefix_idx", "item", ["name"], unique=False, postgresql_ops={"name": "text_pattern_ops"})
    op.create_index("item_status_idx", "item", ["status", "id"], unique=False)
    op.create_table(
        "pipeline",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["version_id"], ["pipeline_version.id"], name="pipeline_version_id_fkey", use_alter=True
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pipeline_pkey")),
        sa.UniqueConstraint("name", name=op.f("pipeline_name_key")),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("locked", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("project_pkey")),
        sa.UniqueConstraint("name", name=op.f("project_name_key")),
    )
    op.create_table(
        "site",
        sa.Column("id", sa.SmallInteger(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "vocabulary", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("site_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("site_pkey")),
    )
    op.create_table(
        "source",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("layout", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("source_pkey")),
        sa.UniqueConstraint("name", name=op.f("source_name_key")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process", sa.Text(), server_default="", nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("kinds", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("worker_pkey")),
    )
    op.create_table(
        "app_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("app_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("identifier", sa.Text(), server_default="", nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["app_id"], ["app.id"], name=op.f("app_version_app_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("app_version_pkey")),
        sa.UniqueConstraint("app_id", "version", "digest", name=op.f("app_version_app_id_version_digest_key")),
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=True),
        sa.Column("made_from", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipeline.id"], name=op.f("batch_pipeline_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_pkey")),
        sa.UniqueConstraint("name", name=op.f("batch_name_key")),
    )
    op.create_table(
        "file",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), server_default="", nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "attributes", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("size >= 0", name=op.f("file_size_check")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("file_source_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("file_pkey")),
        sa.UniqueConstraint("source_id", "key", name=op.f("file_source_id_key_key")),
    )
    op.create_table(
        "pipeline_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipeline.id"], name=op.f("pipeline_version_pipeline_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pipeline_version_pkey")),
        sa.UniqueConstraint("pipeline_id", "number", name=op.f("pipeline_version_pipeline_id_number_key")),
    )
    op.create_table(
        "project_item",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("project_item_item_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("project_item_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "item_id", name=op.f("project_item_pkey")),
    )
    op.create_index(op.f("project_item_item_id_idx"), "project_item", ["item_id"], unique=False)
    op.create_table(
        "batch_item",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("batch_item_batch_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("batch_item_item_id_fkey")),
        sa.PrimaryKeyConstraint("batch_id", "position", name=op.f("batch_item_pkey")),
        sa.UniqueConstraint("batch_id", "item_id", name=op.f("batch_item_batch_id_item_id_key")),
    )
    op.create_index(op.f("batch_item_item_id_idx"), "batch_item", ["item_id"], unique=False)
    op.create_table(
        "item_file",
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("item_file_file_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("item_file_item_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("item_id", "file_id", name=op.f("item_file_pkey")),
    )
    op.create_index(op.f("item_file_file_id_idx"), "item_file", ["file_id"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("pipeline_version_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reuse", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("steps", sa.SmallInteger(), nullable=False),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(finished_at is not null) = (state <> 'active')", name=op.f("run_finished_check")),
        sa.CheckConstraint("state in ('active', 'done', 'cancelled')", name=op.f("run_state_check")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("run_batch_id_fkey")),
        sa.ForeignKeyConstraint(
            ["pipeline_version_id"], ["pipeline_version.id"], name=op.f("run_pipeline_version_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("run_pkey")),
    )
    op.create_index("run_active_idx", "run", ["id"], unique=False, postgresql_where=sa.text("state = 'active'"))
    op.create_index(op.f("run_batch_id_idx"), "run", ["batch_id"], unique=False)
    op.create_table(
        "step",
        sa.Column("pipeline_version_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("app_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "parameters", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("tries", sa.SmallInteger(), nullable=True),
        sa.Column("backoff", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["app_id"], ["app.id"], name=op.f("step_app_id_fkey")),
        sa.ForeignKeyConstraint(
            ["pipeline_version_id"],
            ["pipeline_version.id"],
            name=op.f("step_pipeline_version_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("pipeline_version_id", "position", name=op.f("step_pkey")),
        sa.UniqueConstraint("pipeline_version_id", "name", name=op.f("step_pipeline_version_id_name_key")),
    )
    op.create_index(op.f("step_app_id_idx"), "step", ["app_id"], unique=False)
    op.create_table(
        "task",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("fresh", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker_id", sa.BigInteger(), nullable=True),
        sa.Column("handle", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("progress", sa.REAL(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(finished_at is not null) = (state in ('done', 'failed', 'cancelled'))", name=op.f("task_finished_check")
        ),
        sa.CheckConstraint(
            "(lease_until is not null) = (state in ('running', 'submitted'))", name=op.f("task_lease_check")
        ),
        sa.CheckConstraint(
            "(worker_id is not null) = (state in ('running', 'submitted'))", name=op.f("task_worker_check")
        ),
        sa.CheckConstraint("handle is null or state = 'submitted'", name=op.f("task_handle_check")),
        sa.CheckConstraint(
            "state in ('waiting', 'running', 'submitted', 'done', 'failed', 'cancelled')", name=op.f("task_state_check")
        ),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("task_item_id_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("task_run_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("task_pkey")),
        sa.UniqueConstraint("run_id", "position", name=op.f("task_run_id_position_key")),
        postgresql_with={
            "fillfactor": "70",
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_index(
        "task_in_hand_idx",
        "task",
        ["run_id", "step"],
        unique=False,
        postgresql_where=sa.text("state in ('running', 'submitted')"),
    )
    op.create_index("task_item_id_idx", "task", ["item_id"], unique=False)
    op.create_index(
        "task_waiting_idx",
        "task",
        ["run_id", "step", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "attempt",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("app_version_id", sa.BigInteger(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("input", sa.LargeBinary(), nullable=False),
        sa.Column("output", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("log", sa.Text(), server_default="", nullable=False),
        sa.Column("app_said", sa.Text(), server_default="", nullable=False),
        sa.Column("origin_task_id", sa.BigInteger(), nullable=True),
        sa.Column("origin_fence", sa.Integer(), nullable=True),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(outcome = 'done') <= (output is not null)", name=op.f("attempt_output_check")),
        sa.CheckConstraint(
            "outcome in ('done', 'failed', 'lost', 'late', 'released', 'unavailable', 'cancelled')",
            name=op.f("attempt_outcome_check"),
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("attempt_task_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "fence", name=op.f("attempt_pkey")),
    )
    op.create_index(
        "attempt_reuse_idx",
        "attempt",
        ["input", "app_version_id"],
        unique=False,
        postgresql_where=sa.text("outcome = 'done' and origin_task_id is null"),
    )
    op.create_foreign_key("app_version_id_fkey", "app", "app_version", ["version_id"], ["id"])
    op.create_foreign_key("pipeline_version_id_fkey", "pipeline", "pipeline_version", ["version_id"], ["id"])


def downgrade() -> None:
    op.drop_constraint("app_version_id_fkey", "app", type_="foreignkey")
    op.drop_constraint("pipeline_version_id_fkey", "pipeline", type_="foreignkey")
    op.drop_index(
        "attempt_reuse_idx",
        table_name="attempt",
        postgresql_where=sa.text("outcome = 'done' and origin_task_id is null"),
    )
    op.drop_table("attempt")
    op.drop_index("task_waiting_idx", table_name="task", postgresql_where=sa.text("state = 'waiting'"))
    op.drop_index("task_item_id_idx", table_name="task")
    op.drop_index("task_in_hand_idx", table_name="task", postgresql_where=sa.text("state in ('running', 'submitted')"))
    op.drop_table("task")
    op.drop_index(op.f("step_app_id_idx"), table_name="step")
    op.drop_table("step")
    op.drop_index(op.f("run_batch_id_idx"), table_name="run")
    op.drop_index("run_active_idx", table_name="run", postgresql_where=sa.text("state = 'active'"))
    op.drop_table("run")
    op.drop_index(op.f("item_file_file_id_idx"), table_name="item_file")
    op.drop_table("item_file")
    op.drop_index(op.f("batch_item_item_id_idx"), table_name="batch_item")
    op.drop_table("batch_item")
    op.drop_index(op.f("project_item_item_id_idx"), table_name="project_item")
    op.drop_table("project_item")
    op.drop_table("pipeline_version")
    op.drop_table("file")
    op.drop_table("batch")
    op.drop_table("app_version")
    op.drop_table("worker")
    op.drop_table("source")
    op.drop_table("site")
    op.drop_table("project")
    op.drop_table("pipeline")
    op.drop_index("item_status_idx", table_name="item")
    op.drop_index("item_name_prefix_idx", table_name="item", postgresql_ops={"name": "text_pattern_ops"})
    op.drop_table("item")
    op.drop_table("document")
    op.drop_table("change")
    op.drop_table("app")
