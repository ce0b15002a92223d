"""`tidemill up`: database, pages and workers of a site, together."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.exits import Exit
from tidemill.cli.output import count, say, tell

if TYPE_CHECKING:
    from tidemill.main import Site


@application.command(rich_help_panel="Start")
def up(
    host: Annotated[
        str | None,
        typer.Option(help="Address that the pages listen on [default: the setting `host`].", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the pages; 0 is any free one [default: the setting `port`].",
            show_default=False,
        ),
    ] = None,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Work, too.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="So many worker processes.")] = 1,
) -> None:
    """Start the site: its database, its pages, and a worker. Prints the pages' address with the key.

    The first SIGINT or SIGTERM lets the work in hand finish; the second gives it back.
    """
    raise typer.Exit(door.run(_up(host, port, workers if worker else 0)))


async def _up(host: str | None, port: int | None, workers: int) -> Exit:
    from tidemill.main import make_web
    from tidemill.web.serve import serving

    async with door.opened(host=host, port=port) as site:
        door.log_all(json=site.settings.log_json)
        async with serving(make_web(site), site.settings.host, site.settings.port) as bound:
            tell(f"Tidemill is up: {address(site, bound)}")
            async with site.keeping_house():
                return await _until_stopped(site, workers)


def address(site: Site, port: int) -> str:
    """The address of the pages with the key, for a browser on this machine or, where they listen to all, on another."""
    host = site.settings.host.strip("[]")
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/?key={site.settings.web_key()}"


async def _until_stopped(site: Site, workers: int) -> Exit:
    from tidemill.cli.worker_process import WorkerProcess

    processes = [WorkerProcess(site.settings.site) for _ in range(workers)]
    stopped = asyncio.Event()

    def signalled(number: int) -> None:
        stopped.set()
        for process in processes:
            process.stop()
        if number == 1:
            say("Stopping" + (": the work in hand is finished first. Once more gives it back." if processes else "."))

    with door.stop_signals(signalled):
        say((f"{count(workers, 'worker')}; " if workers else "No worker here; ") + "Ctrl-C stops.")
        ends = await asyncio.gather(stopped.wait(), *(process.keep() for process in processes))
    return Exit.INTERRUPTED if Exit.INTERRUPTED in ends[1:] else Exit.OK
