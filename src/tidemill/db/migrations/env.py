"""Alembic's environment. The connection is handed in by `tidemill.db.schema`; there is no alembic.ini."""

from __future__ import annotations

from alembic import context

from tidemill.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    user_module_prefix="",
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
