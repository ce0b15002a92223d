"""A scratch database for one benchmark: made on the given server, or on an embedded one with durable commits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import make_conninfo

from tidemill.db import schema
from tidemill.db.database import Database
from tidemill.db.embedded import EmbeddedServer


@asynccontextmanager
async def server(url: str | None, keep: Path | None = None) -> AsyncIterator[str]:
    """The address of the given server, or of an embedded one that lives as long as this context; its data, too, unless
    `keep` names a folder for it."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        embedded = EmbeddedServer((keep or Path(folder)) / "database")
        try:
            yield await embedded.start()
        finally:
            await embedded.stop()


@asynccontextmanager
async def scratch_database(url: str | None, *, migrate: bool = True) -> AsyncIterator[tuple[str, Database]]:
    """The address and the door of a fresh database with the newest schema; dropped at the end."""
    async with server(url) as admin:
        name = f"tidemill_bench_{os.getpid()}"
        own = with_database(admin, name)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"drop database if exists {name} with (force)".encode())
            connection.execute(f"create database {name} encoding 'UTF8' template template0".encode())
        try:
            if migrate:
                schema.migrate(own)

            async def address() -> str:
                return own

            database = Database(address)
            try:
                yield own, database
            finally:
                await database.close()
        finally:
            with psycopg.connect(admin, autocommit=True) as connection:
                connection.execute(f"drop database {name} with (force)".encode())


def with_database(url: str, name: str) -> str:
    """The same server's address with another database."""
    if "://" not in url:
        return make_conninfo(url, dbname=name)
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "/" + name, parts.query, ""))


def durability(url: str) -> dict[str, str]:
    """The server's version and whether its commits are durable."""
    with psycopg.connect(url) as connection:
        return {
            name: str(connection.execute("select current_setting(%s)", [name]).fetchone()[0])  # type: ignore[index]
            for name in ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        }


def must_be_durable(settings: dict[str, str]) -> None:
    """Refuse to measure what nobody would keep data on."""
    off = [name for name in ("fsync", "synchronous_commit", "full_page_writes") if settings[name] == "off"]
    if off:
        raise SystemExit(f"This server has {' and '.join(off)} off: its figures would mean nothing. Switch it on.")
