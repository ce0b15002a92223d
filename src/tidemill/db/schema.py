"""The schema of a database: bring it up to date, and check that it is what the models say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.resources import files
from typing import TypeVar

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from tidemill.db.database import translated
from tidemill.db.models import Base
from tidemill.errors import DatabaseBusy, DatabaseUnavailable

T = TypeVar("T")

OLDEST_SERVER = 140000
LOCK_TRIES = 16
"""Times that a migration asks for its locks, each for half a second, before it says that others are at work."""
_LOCK = 0x7469_6465  # 'tide': one process migrates at a time


def migrate(url: str) -> list[str]:
    """Bring the schema at `url` (libpq form) up to date; the revisions that were applied, oldest first. Blocking.

    Raises DatabaseBusy where others write without a pause.
    """
    try:
        return _connected(url, _migrate)
    except DatabaseBusy as error:
        raise DatabaseBusy(
            "The database cannot be brought up to date while others work in it without a pause. Nothing was changed.",
            hint="Stop the site's workers and other commands, or try again in a minute.",
        ) from error


def check(url: str) -> list[str]:
    """What differs between the database and the models, in words; an empty list when they agree. Blocking."""
    return _connected(url, _differences)


def revision(url: str, message: str) -> None:
    """Write a new migration from the difference between the models and the database at `url`. For developers."""

    def write(connection: Connection) -> None:
        command.revision(_config(connection), message, autogenerate=True)

    _connected(url, write)


def _connected(url: str, job: Callable[[Connection], T]) -> T:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    try:
        with translated(), engine.begin() as connection:
            _demand_server(connection)
            return job(connection)
    finally:
        engine.dispose()


def _demand_server(connection: Connection) -> None:
    version = int(connection.scalar(text("select current_setting('server_version_num')::int")) or 0)
    if version < OLDEST_SERVER:
        raise DatabaseUnavailable(f"This PostgreSQL is version {version // 10000}; Tidemill needs 14 or newer.")
    encoding = connection.scalar(text("select current_setting('server_encoding')"))
    if encoding != "UTF8":
        raise DatabaseUnavailable(
            f"This database has the encoding {encoding}; Tidemill needs UTF8.",
            hint="Make it with: createdb --encoding=UTF8 --template=template0 NAME",
        )


def _migrate(connection: Connection) -> list[str]:
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    config = _config(connection)
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    pending = [script.revision for script in scripts.iterate_revisions("head", current or "base")]
    if pending:
        command.upgrade(config, "head")
    return pending[::-1]


def _differences(connection: Connection) -> list[str]:
    config = _config(connection)
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    found: list[str] = []
    head = ScriptDirectory.from_config(config).get_current_head()
    current = context.get_current_revision()
    if current != head:
        found.append(f"the schema is at revision {current or 'none'}, the newest is {head}: run `tidemill db migrate`")
    found += [str(difference) for difference in compare_metadata(context, Base.metadata)]
    return found


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("tidemill.db") / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["lock_tries"] = LOCK_TRIES
    return config


if __name__ == "__main__":
    revision(sys.argv[2], sys.argv[1])
