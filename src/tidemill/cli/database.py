"""`tidemill db`: a look into the database, its schema, and whether all is well with it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.output import AsJson, count, emit, say, tell
from tidemill.errors import NotFound

if TYPE_CHECKING:
    from tidemill.main import Site

database = typer.Typer(help="Look into the database, bring it up to date, check it.", no_args_is_help=True)
application.add_typer(database, name="db", rich_help_panel="Site")


@database.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def shell(context: typer.Context) -> None:
    """Open psql on the site's database; further arguments go to psql (`tidemill db shell -c 'select 1'`)."""
    raise typer.Exit(door.run(_shell(context.args)))


@database.command()
def migrate() -> None:
    """Bring the schema up to date. Every command does so by itself; this one says what was done."""
    door.run(_migrate())


@database.command()
def check(
    documents: Annotated[
        bool, typer.Option("--documents", help="Also read every document and compare it with its checksum.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Check the schema against the program, and the records against each other."""
    found = door.run(_check(documents))
    if json:
        emit({"problems": found})
    else:
        for line in found:
            tell(line)
        say(count(len(found), "problem") + " found." if found else "All is well.")
    raise typer.Exit(Exit.SOME_FAILED if found else Exit.OK)


@database.command()
def url(
    password: Annotated[bool, typer.Option("--password", help="With the password, for a program.")] = False,
) -> None:
    """Print the address of the site's database, without its password."""
    tell(door.run(_url(password)))


async def _shell(arguments: list[str]) -> int:
    async with door.opened(migrate=False) as site:
        program = _psql()
        where, secret = _split(site.url)
        environment = os.environ | ({"PGPASSWORD": secret} if secret else {})
        command = [program, *arguments, where]
        # psql has the terminal: every Ctrl-C there is its own affair, and the database stays up until it ends
        with door.stop_signals(lambda _: None, patience=None):
            return await asyncio.to_thread(lambda: subprocess.run(command, env=environment, check=False).returncode)


async def _migrate() -> None:
    from tidemill.db import schema

    async with door.opened(migrate=False) as site:
        applied = await asyncio.to_thread(schema.migrate, site.url)
    for revision in applied:
        tell(revision)
    say(f"{count(len(applied), 'migration')} applied." if applied else "The schema is up to date.")


async def _check(documents: bool) -> list[str]:
    from tidemill.db import schema

    async with door.opened(migrate=False) as site:
        found = await asyncio.to_thread(schema.check, site.url)
        if found:
            return found
        return await _integrity(site, documents)


async def _integrity(site: Site, documents: bool) -> list[str]:
    from tidemill.db.integrity import broken_documents, broken_records

    found = await broken_records(site.database)
    if documents:
        found += [problem async for problem in broken_documents(site.database, site.documents.read)]
    return found


async def _url(password: bool) -> str:
    async with door.opened(migrate=False) as site:
        return site.url if password else _split(site.url)[0]


def _psql() -> str:
    from tidemill.db.embedded_binaries import packaged_binaries
    from tidemill.errors import EmbeddedServerError

    try:
        packaged = packaged_binaries() / "psql"
    except EmbeddedServerError:
        packaged = None
    program = str(packaged) if packaged and packaged.is_file() else shutil.which("psql")
    if program is None:
        raise NotFound("There is no psql on this machine.", hint="Install PostgreSQL's client programs.")
    return program


def _split(url: str) -> tuple[str, str]:
    """An address in URL or key=value form without its password, and the password."""
    from psycopg.conninfo import conninfo_to_dict

    parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    secret = parts.pop("password", "")
    user, host, port = (parts.pop(key, "") for key in ("user", "host", "port"))
    name = parts.pop("dbname", "")
    place = (quote(user, safe="") + "@" if user else "") + quote(host, safe=":") + (f":{port}" if port else "")
    rest = "&".join(f"{key}={quote(value, safe='')}" for key, value in parts.items())
    return f"postgresql://{place}/{quote(name, safe='')}" + (f"?{rest}" if rest else ""), secret
