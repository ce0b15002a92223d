"""What large portals need: bits of declared fields, pages of people by an index, changed files in the feed.

Revision: 0004, after 0003. Sites that were made while this was a part of 0003 have its indexes already.
"""

from __future__ import annotations

from importlib.resources import files

import sqlalchemy as sa
from alembic import context, op
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


LOCKED = (
    "item", "task", "worker", "file", "item_file", "project_item", "project", "token", "dataset", "site", "field_table"
)  # fmt: skip
"""Every table that is changed here, or whose triggers are: all at once, so that no lock is raised on the way.
And workers, which 0005 changes in the same transaction."""


LOCK = """
do $$
declare
    copies text;
begin
    for n in 1..%(tries)s loop
        begin
            if n %% 2 = 1 then
                lock table %(tables)s in access exclusive mode;
            else
                lock table %(reversed)s in access exclusive mode;
            end if;
            for copies in select format('%%I.%%I', schemaname, tablename) from pg_tables
                          where schemaname = 'tidemill_fields' loop
                execute format('lock table %%s in access exclusive mode', copies);
            end loop;
            return;
        exception when lock_not_available then
            if n = %(tries)s then
                raise;
            end if;
        end;
        perform pg_sleep(0.1 * n);
    end loop;
end $$"""


def upgrade() -> None:
    _lock()
    for name, table, columns, where in INDEXES:
        op.create_index(name, table, columns, postgresql_where=sa.text(where) if where else None, if_not_exists=True)
    op.drop_index("dataset_token_id_idx", "dataset", if_exists=True)
    _tables("json")
    _no_copies()
    op.add_column("field_table", sa.Column("bits", postgresql.JSONB(), nullable=True))
    op.get_bind().exec_driver_sql((files("tidemill.db") / "triggers.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    _lock()
    op.execute("drop trigger file_changed on file")
    op.execute("drop function file_changed()")
    _no_copies()
    op.drop_column("field_table", "bits")
    _tables("jsonb")
    op.create_index("dataset_token_id_idx", "dataset", ["token_id"])
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table)


def _lock() -> None:
    """Have the tables, and all copies of declared fields, alone until the end.

    Who waits for a lock gives way before PostgreSQL looks for a deadlock, which it does after a second, so it is never
    a writer that is broken off; and then lets go of all, so that writers go on. They take locks in any order: those who
    have items and want the site let the one order through, those who have the site and want items the other.
    """
    parts = {"tables": ", ".join(LOCKED), "reversed": ", ".join(reversed(LOCKED))}
    op.execute("set local lock_timeout = '500ms'")
    op.execute(LOCK % (parts | {"tries": context.config.attributes["lock_tries"]}))


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
