"""`tidemill apps`: the programs that do the steps: which there are, how they are, registering and pausing them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, emit, say, table, tell

apps = typer.Typer(help="The programs that do the steps: list them, register them, pause them.")
application.add_typer(apps, name="apps", rich_help_panel="Site")
Name = Annotated[str, typer.Argument(help="The app's name.")]


@apps.callback(invoke_without_command=True)
def listing(context: typer.Context, json: AsJson = False) -> None:
    """List the apps with version, health, and what they have in hand; or do what the command after it says."""
    if context.invoked_subcommand is not None:
        return
    rows = door.run(_listed())
    if json:
        emit([{key: value for key, value in row.items() if key != "metadata"} for row in rows])
        return
    table(
        ["app", "version", "health", "in hand#", "at once#", "pipelines", "url"],
        ([r["name"], r["version"], health(r), r["in_hand"], r["concurrency"], ", ".join(r["pipelines"]), r["url"]]
         for r in rows),
        empty="There are no apps. Register one: tidemill apps add NAME URL",
    )  # fmt: skip


@apps.command()
def show(name: Name, json: AsJson = False) -> None:
    """Show one app: how it is reached, its limits, and what it says of itself."""
    row = door.run(_shown(name))
    if json:
        emit(row)
        return
    metadata = row.pop("metadata")
    parameters = metadata.get("parameters") or []
    for key in ("name", "version", "identifier", "kind", "protocol", "url", "seen_at"):
        tell(f"{key.replace('_', ' '):<12} {row[key] if row[key] is not None else ''}")
    for key, value in row["options"].items():
        tell(f"{key.replace('_', ' '):<12} {_value(value)}")
    tell(f"{'health':<12} {health(row)}")
    tell(f"{'limits':<12} {row['concurrency'] or 'any number'} at once, deadline {row['deadline']:g} s, "
         f"answers up to {row['max_answer']:,} bytes, at most {row['tries']} tries")  # fmt: skip
    tell(f"{'pipelines':<12} {', '.join(row['pipelines'])}")
    if metadata.get("description"):
        tell(f"{'description':<12} {metadata['description']}")
    if parameters:
        table(
            ["parameter", "type", "default", "choices", "description"],
            ([p.get("name"), _type(p), _value(p.get("default")), _value(p.get("choices")), p.get("description")]
             for p in parameters),
            empty="",
        )  # fmt: skip


@apps.command()
def add(
    name: Name,
    url: Annotated[str, typer.Argument(help="Where it answers: http://…, or python:NAME for a function in a worker.")],
    protocol: Annotated[str, typer.Option(help="clams, or json for plain JSON in and out.")] = "clams",
    concurrency: Annotated[int | None, typer.Option(help="At most so many attempts at once.")] = None,
    deadline: Annotated[float, typer.Option(help="Seconds that one attempt may take.")] = 3600,
    tries: Annotated[int, typer.Option(help="Tries at a step before its item has failed.")] = 3,
    backoff: Annotated[float, typer.Option(help="Seconds before the second try; doubled for each further one.")] = 5,
    json: AsJson = False,
) -> None:
    """Register an app by its URL: reads what it says of itself. Registering a name again changes that app."""
    from tidemill.pipelines.apps import AppSettings

    kind = "python" if url.startswith("python:") else "http"
    given = AppSettings(name, url, kind, protocol, concurrency, deadline=deadline, tries=tries, backoff=backoff)
    row, changed = door.run(_add(given))
    if json:
        emit(row | {"changed": changed})
    else:
        version = f" {row['version']}" if row["version"] else ""
        tell(f"App {name}{version} is registered." if changed else f"App {name}{version} is as it was.")


@apps.command()
def refresh(
    name: Annotated[str | None, typer.Argument(help="The app's name; none: every app.", show_default=False)] = None,
    json: AsJson = False,
) -> None:
    """Read again what an app, or every app, says of itself. One that does not answer is reported; the rest go on."""
    rows = door.run(_refresh(name))
    if json:
        emit(rows)
    else:
        for row in rows:
            news = f"new: {row['version'] or 'without a version'}" if row["changed"] else "as before"
            tell(f"{row['app']}: {row['error'] or news}")
    if any(row["error"] for row in rows):
        from tidemill.cli.exits import Exit

        raise typer.Exit(Exit.APP)


@apps.command()
def pause(name: Name) -> None:
    """Start nothing more at this app, in any run. Work in hand finishes."""
    from tidemill.cli.steering import set_paused

    tell(door.run(set_paused(None, name, True)))


@apps.command()
def resume(name: Name) -> None:
    """Let an app's tasks go on, and try it at once even if it was found to be down."""
    from tidemill.cli.steering import set_paused

    tell(door.run(set_paused(None, name, False)))


def health(row: dict[str, Any]) -> str:
    """Whether an app is up, in words."""
    from tidemill.domain import quiet_hours

    if row["paused"]:
        return "‖ paused"
    if row["circuit_open_until"] is not None:
        return f"✕ down: {row['circuit_reason'] or 'no answer'}"
    if quiet := quiet_hours.until(row["quiet"], row["now"]):
        return f"‖ quiet until {quiet_hours.told(quiet, row['now'])}"
    return "● up"


def _type(parameter: dict[str, Any]) -> str:
    return f"{parameter.get('type', '')}{' (several)' if parameter.get('multivalued') else ''}"


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


async def _listed() -> list[dict[str, Any]]:
    from tidemill.pipelines import apps as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.listing(session)


async def _shown(name: str) -> dict[str, Any]:
    from tidemill.pipelines import apps as service

    async with door.opened() as site, site.database.begin() as session:
        await service.get(session, name)
        return next(row for row in await service.listing(session) if row["name"] == name)


async def _add(given: Any) -> tuple[dict[str, Any], bool]:
    from tidemill.pipelines import apps as service

    async with door.opened() as site:
        facts = await service.look(site.addresses, given)
        async with site.database.begin() as session:
            changed = await service.register(session, given, facts)
            row = next(row for row in await service.listing(session) if row["name"] == given.name)
    return row, changed


async def _refresh(name: str | None) -> list[dict[str, Any]]:
    from tidemill.errors import AddressForbidden, AppRefused
    from tidemill.pipelines import apps as service

    found = []
    async with door.opened() as site:
        async with site.database.begin() as session:
            names = [name] if name else [row["name"] for row in await service.listing(session)]
            known = [await service.settings_of(session, one) for one in names]
        if not known:
            say("There are no apps.")
        for settings in known:
            answer: dict[str, Any] = {"app": settings.name, "changed": False, "version": None, "error": None}
            try:
                facts = await service.look(site.addresses, settings)
            except (AppRefused, AddressForbidden) as error:
                answer["error"] = error.message
            else:
                answer["version"] = facts.version
                if facts.known:
                    async with site.database.begin() as session:
                        answer["changed"] = await service.refresh(session, settings.name, facts)
            found.append(answer)
    return found
