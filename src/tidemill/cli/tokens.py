"""`tidemill tokens`: keys for people, programs and workers: who has one, giving them out, ending them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, count, emit, say, table, tell
from tidemill.domain.roles import Role
from tidemill.errors import InvalidInput

tokens = typer.Typer(help="Keys to the site for people, programs and workers: list them, give them out, end them.")
application.add_typer(tokens, name="tokens", rich_help_panel="Site")
Name = Annotated[str, typer.Argument(help="The token's name: whose it is, or what for.")]
Expires = Annotated[
    str | None,
    typer.Option(help="How long it is good (90d, 12h); without it, until it is revoked.", show_default=False),
]


@tokens.callback(invoke_without_command=True)
def listing(context: typer.Context, json: AsJson = False) -> None:
    """List the tokens with role, limits, and when each was used last; or do what the command after it says."""
    if context.invoked_subcommand is not None:
        return
    rows, persons = door.run(_listed())
    if json:
        emit(rows)
        return
    table(
        ["name", "role", "state", "apps", "workers#", "made", "used", "expires"],
        ([r["name"], r["role"], r["state"], ", ".join(r["limits"].get("apps", [])), r["workers"] or None,
          r["created_at"], r["used_at"], r["expires_at"]] for r in rows),
        empty="There are no tokens. Give one out: tidemill tokens create NAME --role worker",
    )  # fmt: skip
    if persons:
        say(f"{count(persons, 'token')} of people who download beside these: tidemill tokens people")


@tokens.command()
def people(
    email: Annotated[str | None, typer.Option(help="Only those of this address.", show_default=False)] = None,
    before: Annotated[
        int | None, typer.Option(help="Only those with a smaller number: the next page.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    json: AsJson = False,
) -> None:
    """List the tokens of people who download, the newest first: address, terms, and how much they downloaded."""
    rows = door.run(_persons(email, before, limit))
    if json:
        emit(rows)
        return
    table(
        ["number#", "address", "state", "terms", "accepted", "made", "used", "downloads#"],
        ([r["id"], r["email"], r["state"], r["terms"], r["accepted_at"], r["created_at"], r["used_at"],
          r["downloads"]] for r in rows),
        empty="Nobody asked for a token yet.",
    )  # fmt: skip
    if len(rows) == limit:
        say(f"More: tidemill tokens people --before {rows[-1]['id']}")


@tokens.command("revoke-person")
def revoke_person(
    who: Annotated[str, typer.Argument(help="The number of a token, or an address: all of its tokens.")],
    json: AsJson = False,
) -> None:
    """End the tokens of somebody who downloads, with the links to this site that they have."""
    rows = door.run(_revoke_person(who))
    emit(rows) if json else tell(f"{count(len(rows), 'token')} of {rows[0]['email']} revoked.")


@tokens.command()
def create(
    name: Name,
    role: Annotated[Role, typer.Option(help="What it is for: worker, operator or reader.")],
    apps: Annotated[
        str | None,
        typer.Option(help="The only apps that a worker may work for (a,b); without it, all.", show_default=False),
    ] = None,
    expires: Expires = None,
    json: AsJson = False,
) -> None:
    """Make a token and print it: this once, it cannot be shown again."""
    named = [word.strip() for word in (apps or "").split(",") if word.strip()]
    _show(*door.run(_create(name, role, named, _seconds(expires))), json)


@tokens.command()
def renew(name: Name, expires: Expires = None, json: AsJson = False) -> None:
    """Give a token a new secret and print it. The old one ends; what its workers hold is taken under the new one."""
    _show(*door.run(_renew(name, _seconds(expires))), json)


@tokens.command()
def revoke(name: Name, json: AsJson = False) -> None:
    """End a token: a second or two later it is refused everywhere."""
    row = door.run(_revoke(name))
    emit(row) if json else tell(f"Token {row['name']} is revoked.")


def _show(secret: str, row: dict[str, Any], json: bool) -> None:
    if json:
        emit(row | {"token": secret})
        return
    tell(secret)
    until = f"until {row['expires_at']:%Y-%m-%d %H:%M} UTC" if row["expires_at"] else "until it is revoked"
    say(f"This is {row['name']}, a token for a {row['role']}, good {until}. Keep it: it is not shown again.")


def _seconds(expires: str | None) -> float | None:
    from tidemill.pipelines.quantities import seconds

    if expires is None:
        return None
    try:
        return float(seconds(expires))
    except ValueError as error:
        raise InvalidInput(f"--expires {error}; or days, such as 90d.") from error


async def _listed() -> tuple[list[dict[str, Any]], int]:
    from tidemill.accounts import people as persons
    from tidemill.accounts import tokens as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.listing(session), await persons.count(session)


async def _persons(email: str | None, before: int | None, limit: int) -> list[dict[str, Any]]:
    from tidemill.accounts import people as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.listing(session, email=email, before=before, limit=limit)


async def _revoke_person(who: str) -> list[dict[str, Any]]:
    from tidemill.accounts import people as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.revoke(session, who)


async def _create(name: str, role: Role, apps: list[str], expires: float | None) -> tuple[str, dict[str, Any]]:
    from tidemill.accounts import tokens as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.create(session, name, role, apps=apps, expires=expires)


async def _renew(name: str, expires: float | None) -> tuple[str, dict[str, Any]]:
    from tidemill.accounts import tokens as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.renew(session, name, expires=expires)


async def _revoke(name: str) -> dict[str, Any]:
    from tidemill.accounts import tokens as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.revoke(session, name)
