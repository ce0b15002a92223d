"""Whether a schema is the newest: a look that costs a millisecond, where Alembic would delay every command."""

from __future__ import annotations

from importlib.resources import files

import psycopg

from tidemill.db.database import translated


def newest_revision() -> str:
    """The newest migration: their files begin with their number."""
    names = (file.name for file in files("tidemill.db.migrations.versions").iterdir())
    return max(name.partition("_")[0] for name in names if name[0].isdigit())


def is_current(url: str) -> bool:
    """Whether every migration has been applied to the database at `url` (libpq form). Blocking."""
    with translated(), psycopg.connect(url) as connection:
        try:
            row = connection.execute("select version_num from alembic_version").fetchone()
        except psycopg.errors.UndefinedTable:
            return False
    return row is not None and row[0] == newest_revision()
