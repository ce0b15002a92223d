"""`tidemill worker`: work until told to stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli import door
from tidemill.cli import remote_worker as far
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.output import count, say, table
from tidemill.cli.working import lifeline_to, usual_slots, work_until_stopped
from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.main import Site
    from tidemill.pipelines.steps import Registered
    from tidemill.sdk.step import DeclaredStep

Slots = Annotated[
    int | None, typer.Option(min=1, help="Attempts in hand at most [default: the setting `slots`].", show_default=False)
]
Steps = Annotated[
    list[Path] | None, typer.Option("--steps", help="A Python file of steps; may be given several times.")
]


@application.command(rich_help_panel="Work")
def worker(
    steps: Steps = None,
    slots: Slots = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only load the files of steps and list what they hold.")
    ] = False,
    url: far.Url = None,
    token_file: far.TokenFile = None,
    spool: far.SpoolFolder = None,
    spool_size: far.SpoolSize = None,
    lease: far.Lease = None,
    ca: far.Ca = None,
    insecure_http: far.InsecureHttp = False,
    lifeline: Annotated[
        int | None, typer.Option(hidden=True, help="Descriptor of a pipe; when it closes, leave at once.")
    ] = None,
) -> None:
    """Take tasks of a site's runs and do them, until a signal comes.

    With --steps it also does the Python steps of these files, and makes them known to the site: an app for each that is
    new, and its version. The first SIGINT or SIGTERM lets the work in hand finish; the second gives it back.
    """
    from tidemill.sdk.loading import load_steps

    loaded = load_steps(steps or ())
    if check:
        tell_steps(loaded)
        return
    if url is not None:
        site = far.Far(url, token_file, spool, spool_size, lease, ca, insecure_http)
        raise typer.Exit(door.run(far.work_from_afar(site, loaded, slots, lifeline)))
    if token_file or spool or spool_size or lease or ca or insecure_http:
        raise InvalidInput("Token, spool, lease and certificates are for a worker with --url.")
    raise typer.Exit(door.run(_work(loaded, slots, lifeline)))


async def _work(steps: Mapping[str, DeclaredStep], slots: int | None, lifeline: int | None) -> Exit:
    async with door.opened() as site:
        door.log_all(json=site.settings.log_json)
        if steps:
            await _make_known(site, steps)
        room = slots or usual_slots(site.settings, steps)
        running = site.worker(functions=steps, slots=room)
        if lifeline is None:
            say(f"Working with {count(room, 'slot')}; Ctrl-C stops.")
        with lifeline_to(running, lifeline):
            async with site.keeping_house():
                return await work_until_stopped(running)


def tell_steps(steps: Mapping[str, DeclaredStep]) -> None:
    """List what the files of steps hold."""
    table(
        ["step", "version", "runs in", "at once#", "deadline#", "tries#", "side inputs", "file"],
        (
            [
                name,
                step.version,
                "the event loop" if step.is_async and step.run_in == "thread" else f"a {step.run_in}",
                step.concurrency,
                step.deadline,
                step.tries,
                ", ".join(step.inputs),
                step.file.name,
            ]
            for name, step in steps.items()
        ),
        empty="There are no steps: name their files with --steps.",
    )


async def _make_known(site: Site, steps: Mapping[str, DeclaredStep]) -> None:
    """Register the steps, and say where they are used."""
    from tidemill.pipelines.steps import register_steps

    async with site.database.begin() as session:
        known = await register_steps(session, steps)
    for one in known:
        say(registered_line(one))


def registered_line(one: Registered) -> str:
    """What a person is told of a step that a worker brings."""
    name = one.step if one.app == one.step else f"{one.step} (app {one.app})"
    news = "" if one.before in (None, one.version) else f", until now {one.before or 'without a version'}"
    used = f"used by {', '.join(one.pipelines)}"
    if not one.pipelines:
        used = f"no pipeline uses {one.app} yet: add it in the site file"
    return f"Step {name}, version {one.version}{news}: {used}."
