"""Records with revisions, watching runs, schedules, side inputs, tokens, consumers of the feed; triggers.

Revision: 0002, after 0001
"""

from __future__ import annotations

from importlib.resources import files

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OUTCOMES = "outcome in ('done', 'failed', 'lost', 'late', 'released', 'unavailable', 'cancelled')"
WITH_SKIPPED = "outcome in ('done', 'failed', 'skipped', 'lost', 'late', 'released', 'unavailable', 'cancelled')"
TRIGGERS = [
    ("item_edited", "item"), ("item_inserted", "item"), ("item_updated", "item"), ("item_deleted", "item"),
    ("member_inserted", "project_item"), ("member_deleted", "project_item"), ("project_changed", "project"),
    ("link_inserted", "item_file"), ("link_deleted", "item_file"),
    ("task_inserted", "task"), ("task_updated", "task"), ("task_deleted", "task"),
]  # fmt: skip
REUSABLE = "outcome = 'done' and origin_task_id is null"


def upgrade() -> None:
    op.create_table(
        "consumer",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("consumer_pkey")),
    )
    op.create_table(
        "floor",
        sa.Column("id", sa.SmallInteger(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("seq", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("floor_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("floor_pkey")),
    )
    op.create_table(
        "import",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.Text(), server_default="", nullable=False),
        sa.Column("records", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("import_pkey")),
    )
    op.create_table(
        "live_log",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("log", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "fence", name=op.f("live_log_pkey")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "schedule",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("action", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_result", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("schedule_pkey")),
        sa.UniqueConstraint("name", name=op.f("schedule_name_key")),
    )
    op.create_index(op.f("schedule_next_at_idx"), "schedule", ["next_at"], unique=False)
    op.create_table(
        "tally",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=200), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tasks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("tally_pkey")),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_cost_delay": "0"},
    )
    op.create_index("tally_run_id_idx", "tally", ["run_id"], unique=False)
    op.create_table(
        "token",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role in ('reader', 'operator', 'worker')", name=op.f("token_role_check")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("token_sha256_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("token_pkey")),
        sa.UniqueConstraint("name", name=op.f("token_name_key")),
        sa.UniqueConstraint("sha256", name=op.f("token_sha256_key")),
    )
    op.create_table(
        "past_step",
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("past_step_item_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("item_id", "position", name=op.f("past_step_pkey")),
    )
    op.create_index("past_step_name_idx", "past_step", ["name", "item_id"], unique=False)
    op.create_table(
        "imported",
        sa.Column("import", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=True),
        sa.Column("rev", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="", nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["import"], ["import.name"], name=op.f("imported_import_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("imported_item_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("import", "document", name=op.f("imported_pkey")),
    )
    op.create_index(op.f("imported_item_id_idx"), "imported", ["item_id"], unique=False)
    op.create_index(
        "imported_noted_idx", "imported", ["import", "document"], unique=False, postgresql_where=sa.text("note <> ''")
    )
    op.create_table(
        "trial",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("tried", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("trial_run_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("trial_pkey")),
    )
    op.create_index(op.f("trial_run_id_idx"), "trial", ["run_id"], unique=False)
    op.create_table(
        "watch",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("condition", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("seen", sa.Text(), nullable=True),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("watch_run_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name=op.f("watch_pkey")),
        sa.UniqueConstraint("name", name=op.f("watch_name_key")),
    )
    op.add_column(
        "app",
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column(
        "app",
        sa.Column("quiet", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    )
    op.add_column("attempt", sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("attempt", sa.Column("inputs", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_index(
        "attempt_app_version_id_idx",
        "attempt",
        ["app_version_id"],
        unique=False,
        postgresql_where=sa.text("superseded_at is null"),
    )
    op.create_index("attempt_finished_at_idx", "attempt", ["finished_at"], unique=False, postgresql_using="brin")
    op.create_index(
        "attempt_inputs_idx",
        "attempt",
        ["inputs"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"inputs": "jsonb_path_ops"},
        postgresql_where=sa.text("inputs is not null"),
    )
    op.create_index(
        "attempt_skipped_idx",
        "attempt",
        ["step", "task_id"],
        unique=False,
        postgresql_where=sa.text("outcome = 'skipped' and superseded_at is null"),
    )
    op.add_column("change", sa.Column("project_id", sa.BigInteger(), nullable=True))
    op.add_column("change", sa.Column("name", sa.Text(), nullable=True))
    op.create_index("change_at_idx", "change", ["at"], unique=False, postgresql_using="brin")
    op.create_index(
        "change_record_idx",
        "change",
        ["xid", "id"],
        unique=False,
        postgresql_where=sa.text("kind in ('item', 'project')"),
    )
    op.create_index(
        "change_item_idx",
        "change",
        ["item_id", "xid", "id"],
        unique=False,
        postgresql_where=sa.text("item_id is not null"),
    )
    op.add_column("item", sa.Column("status_reason", sa.Text(), server_default="", nullable=False))
    op.create_index(
        "item_metadata_idx",
        "item",
        ["metadata"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    )
    op.add_column(
        "run",
        sa.Column("quiet", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    )
    op.add_column("run", sa.Column("watch", sa.Text(), nullable=True))
    op.add_column("task", sa.Column("entered_step", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("task", sa.Column("held", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("task", sa.Column("revision", sa.BigInteger(), nullable=True))
    op.drop_index(op.f("task_item_id_idx"), table_name="task")
    op.drop_index(op.f("task_waiting_idx"), table_name="task", postgresql_where="(state = 'waiting'::text)")
    op.create_index(
        "task_waiting_idx",
        "task",
        ["run_id", "step", "held", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "task_ended_idx",
        "task",
        ["run_id", "step", "state", "id"],
        unique=False,
        postgresql_where=sa.text("state in ('done', 'failed', 'cancelled')"),
    )
    op.create_unique_constraint(op.f("task_item_id_run_id_key"), "task", ["item_id", "run_id"])
    op.add_column("worker", sa.Column("token_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("worker_token_id_fkey"), "worker", "token", ["token_id"], ["id"], ondelete="SET NULL")
    op.create_check_constraint("held", "task", "not held or state in ('waiting', 'running', 'submitted')")
    op.drop_constraint("outcome", "attempt", type_="check")
    op.create_check_constraint("outcome", "attempt", WITH_SKIPPED)
    op.drop_index("attempt_reuse_idx", table_name="attempt")
    op.create_index(
        "attempt_reuse_idx",
        "attempt",
        ["input", "app_version_id"],
        postgresql_where=sa.text(f"{REUSABLE} and inputs is null"),
    )
    op.get_bind().exec_driver_sql((files("tidemill.db") / "triggers.sql").read_text(encoding="utf-8"))
    op.create_index("item_grams_idx", "item", [sa.text("name_grams(name)")], unique=False, postgresql_using="gin")
    op.execute(
        "insert into tally (run_id, step, state, tasks) select run_id, step, state, count(*) from task group by 1, 2, 3"
    )


def downgrade() -> None:
    for name, table in TRIGGERS:
        op.execute(f"drop trigger {name} on {table}")
    for function in ("item_edited", "item_changed", "member_changed", "link_changed", "project_changed", "task_moved"):
        op.execute(f"drop function {function}()")
    op.drop_constraint("outcome", "attempt", type_="check")
    op.execute("delete from attempt where outcome = 'skipped'")
    op.create_check_constraint("outcome", "attempt", OUTCOMES)
    op.drop_index("attempt_reuse_idx", table_name="attempt")
    op.create_index("attempt_reuse_idx", "attempt", ["input", "app_version_id"], postgresql_where=sa.text(REUSABLE))
    op.drop_index("attempt_app_version_id_idx", table_name="attempt")
    op.drop_index("attempt_finished_at_idx", table_name="attempt")
    op.drop_index("task_ended_idx", table_name="task")
    op.drop_constraint("held", "task", type_="check")
    op.drop_column("change", "project_id")
    op.drop_column("change", "name")
    op.drop_index(
        "attempt_skipped_idx",
        table_name="attempt",
        postgresql_where=sa.text("outcome = 'skipped' and superseded_at is null"),
    )
    op.execute("drop function last_step(bigint)")
    op.drop_index("item_grams_idx", table_name="item")
    op.execute("drop function name_grams(text)")
    op.drop_table("floor")
    op.drop_constraint(op.f("worker_token_id_fkey"), "worker", type_="foreignkey")
    op.drop_column("worker", "token_id")
    op.drop_constraint(op.f("task_item_id_run_id_key"), "task", type_="unique")
    op.drop_index("task_waiting_idx", table_name="task", postgresql_where=sa.text("state = 'waiting'"))
    op.create_index(
        op.f("task_waiting_idx"),
        "task",
        ["run_id", "step", "due_at", "id"],
        unique=False,
        postgresql_where="(state = 'waiting'::text)",
    )
    op.create_index(op.f("task_item_id_idx"), "task", ["item_id"], unique=False)
    op.drop_column("task", "revision")
    op.drop_column("task", "held")
    op.drop_column("task", "entered_step")
    op.drop_column("run", "watch")
    op.drop_column("run", "quiet")
    op.drop_index(
        "item_metadata_idx", table_name="item", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}
    )
    op.drop_column("item", "status_reason")
    op.drop_index("change_record_idx", table_name="change", postgresql_where=sa.text("kind in ('item', 'project')"))
    op.drop_index("change_at_idx", table_name="change")
    op.drop_index("change_item_idx", table_name="change", postgresql_where=sa.text("item_id is not null"))
    op.drop_index(
        "attempt_inputs_idx",
        table_name="attempt",
        postgresql_using="gin",
        postgresql_ops={"inputs": "jsonb_path_ops"},
        postgresql_where=sa.text("inputs is not null"),
    )
    op.drop_column("attempt", "inputs")
    op.drop_column("attempt", "files")
    op.drop_column("app", "quiet")
    op.drop_column("app", "options")
    op.drop_table("watch")
    op.drop_index(op.f("trial_run_id_idx"), table_name="trial")
    op.drop_table("trial")
    op.drop_table("imported")
    op.drop_index("past_step_name_idx", table_name="past_step")
    op.drop_table("past_step")
    op.drop_table("token")
    op.drop_index("tally_run_id_idx", table_name="tally")
    op.drop_table("tally")
    op.drop_index(op.f("schedule_next_at_idx"), table_name="schedule")
    op.drop_table("schedule")
    op.drop_table("live_log")
    op.drop_table("import")
    op.drop_table("consumer")
