"""A scratch database for one benchmark: made on the given server, or on an embedded one with durable commits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from tidemill.db import schema
from tidemill.db.database import Database
from tidemill.db.embedded import EmbeddedServer


@asynccontextmanager
async def scratch_database(url: str | None) -> AsyncIterator[tuple[str, Database]]:
    """The address and the door of a fresh database with the newest schema; dropped at the end."""
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        server = EmbeddedServer(Path(folder) / "database") if url is None else None
        admin = await server.start() if server else str(url)
        name = f"tidemill_bench_{os.getpid()}"
        try:
            with psycopg.connect(admin, autocommit=True) as connection:
                connection.execute(f"create database {name}".encode())
            own = admin.rsplit("/", 1)[0] + "/" + name
            schema.migrate(own)

            async def address() -> str:
                return own

            database = Database(address)
            try:
                yield own, database
            finally:
                await database.close()
                with psycopg.connect(admin, autocommit=True) as connection:
                    connection.execute(f"drop database {name} with (force)".encode())
        finally:
            if server:
                await server.stop()


def durability(url: str) -> dict[str, str]:
    """The server's version and whether its commits are durable."""
    with psycopg.connect(url) as connection:
        return {
            name: str(connection.execute("select current_setting(%s)", [name]).fetchone()[0])  # type: ignore[index]
            for name in ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        }
