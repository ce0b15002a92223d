"""`tidemill demo`: an example from nothing to its results, saying what it does and how long. Here: the archive."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.demo_experiment import EVERY, show_experiment
from tidemill.cli.demo_portal import show_portal
from tidemill.cli.demo_stages import pages, say_farewell, script, stage, until_interrupted
from tidemill.cli.exits import Exit
from tidemill.cli.output import say, table, tell
from tidemill.errors import TidemillError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tidemill.main import Site

SOURCE, PROJECT, BATCH, PIPELINE = "recordings", "evening-programmes", "all-recordings", "slates"
START_SECONDS = 60.0
"""How long the apps may take to answer."""


class Example(StrEnum):
    """The examples that can be shown."""

    ARCHIVE = "archive"
    EXPERIMENT = "experiment"
    PORTAL = "portal"


@application.command(rich_help_panel="Start")
def demo(
    example: Annotated[Example, typer.Argument(help="Which example.")] = Example.ARCHIVE,
    examples: Annotated[
        Path | None, typer.Option(help="The example's folder [default: the repository's].", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the pages [default: any free one].", show_default=False)
    ] = None,
    stay: Annotated[
        bool | None,
        typer.Option("--stay/--no-stay", help="Stay up at the end [default: on a terminal].", show_default=False),
    ] = None,
    every: Annotated[float, typer.Option(hidden=True, help="Seconds between two data files.")] = EVERY,
) -> None:
    """Show an example from nothing to its results, live.

    archive: recordings go through four CLAMS apps. experiment: data files of a detector are processed as they come.
    portal: a lab's bucket becomes a catalogue with packages, and a visitor downloads some.
    """
    folder = examples or Path(__file__).resolve().parents[3] / "examples" / example
    if not (folder / "site.toml").exists():
        hint = f"It comes with the repository: tidemill demo {example} --examples PATH/examples/{example}"
        raise TidemillError(f"There is no {example} example in {folder}.", hint=hint)
    stays = sys.stdout.isatty() if stay is None else stay
    if example is Example.ARCHIVE:
        raise typer.Exit(door.run(_demo(folder, port or 0, stays)))
    if example is Example.PORTAL:
        raise typer.Exit(door.run(show_portal(folder, port or 0, stays)))
    raise typer.Exit(door.run(show_experiment(folder, port or 0, stays, every)))


async def _demo(folder: Path, port: int, stay: bool) -> Exit:
    python = folder / ".venv" / "bin" / "python"
    say("Tidemill's archive: recordings go through four CLAMS apps, and their slates are read.\n")
    with stage("The apps' environment (about 600 MB, once)"):
        await script(sys.executable, folder / "setup_env.py")
    with stage("Recordings with bars, tone, slate, programme and credits; three with faults"):
        await script(python, folder / "make_recordings.py", folder / "recordings")
    truth = json.loads((folder / "recordings" / "truth.json").read_text(encoding="utf-8"))
    async with AsyncExitStack() as house:
        with stage("PostgreSQL, in the site's folder"):
            site = await house.enter_async_context(door.opened())
        with stage("Four apps, each a web service"):
            urls = await house.enter_async_context(_apps(python, folder, site.settings.site))
        with stage("The site file: apps, their metadata, the pipeline; the files; a batch"):
            await _prepare(site, folder, urls)
        with stage("The pages"):
            address = await house.enter_async_context(pages(site, port))
        tell(f"\nWatch it live:  {address}\n")
        await house.enter_async_context(_worker(site))
        run = await _run(site)
        exit_code = await _tell_results(site, run, truth)
        if stay:
            tell(f"\nLook at it:  {address}")
            say("Ctrl-C ends the demo.")
            await until_interrupted()
        else:
            say_farewell(site)
    return exit_code


@asynccontextmanager
async def _apps(python: Path, folder: Path, site: Path) -> AsyncIterator[dict[str, str]]:
    """The four apps at free ports; their URLs by name. They end with this process, however it ends."""
    ports = site / "apps.json"
    ports.unlink(missing_ok=True)
    with (site / "apps.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            str(python), str(folder / "serve_apps.py"), "--ports-file", str(ports), "--with-parent",
            stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
        try:
            ends = time.monotonic() + START_SECONDS
            while not ports.exists():
                if process.returncode is not None or time.monotonic() > ends:
                    tail = "\n".join((site / "apps.log").read_text(errors="replace").strip().splitlines()[-5:])
                    raise TidemillError(f"The example's apps did not start:\n{tail}")
                await asyncio.sleep(0.05)
            yield {name.replace("_", "-"): url for name, url in json.loads(ports.read_text(encoding="utf-8")).items()}
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def _prepare(site: Site, folder: Path, urls: dict[str, str]) -> None:
    """Apply the site file with the apps' real addresses, read the folder, make the batch: as the commands do."""
    from tidemill.catalogue.sync import sync
    from tidemill.errors import NotFound
    from tidemill.pipelines import apply, batches
    from tidemill.pipelines.site_file import parse_site_file

    path = folder / "site.toml"
    text = path.read_text(encoding="utf-8")
    written = parse_site_file(text, path)
    for entry in written.content.apps:
        text = text.replace(f'"{entry.url}"', f'"{urls[entry.name]}"')
    site_file = parse_site_file(text, path)
    facts = await apply.look_at_apps(site.addresses, site_file)
    async with site.database.begin() as session:
        await apply.carry_out(session, await apply.plan(session, site_file, facts))
    await sync(site.database, SOURCE)
    async with site.database.begin() as session:
        try:
            await batches.get(session, BATCH)
        except NotFound:
            await batches.make(session, BATCH, batches.FromProject(PROJECT), pipeline=PIPELINE)


@asynccontextmanager
async def _worker(site: Site) -> AsyncIterator[None]:
    """A worker, as long as the demo is up: what is retried on the pages is done, too."""
    worker = site.worker()
    job = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await job


async def _run(site: Site) -> int:
    """Start the run and show it until it is over; its number."""
    from tidemill.cli.watching import follow
    from tidemill.runner import runs

    async with site.database.begin() as session:
        run = await runs.start(session, site.documents, runs.Start(BATCH, PIPELINE))
    await follow(site.database, run, json=False, stopped=asyncio.Event())
    return run


async def _tell_results(site: Site, run: int, truth: Sequence[dict[str, Any]]) -> Exit:
    """Print what came of each recording; OK if all that should fail failed, and every other slate was read right."""
    from tidemill.runner import look

    async with site.database.begin() as session:
        tasks = (await look.window(session, run)).tasks
        slates = {
            task["item"]: await _slate(site, session, run, task["item"]) for task in tasks if task["state"] == "done"
        }
    rows = [[task["item"], task["state"], slates.get(task["item"]) or task["reason"]] for task in tasks]
    tell("")
    table(["recording", "state", "what its slate says, or why it failed"], rows, empty="Nothing ran.")
    wrong = [one["guid"] for one in truth if not _as_it_should(one, slates.get(one["guid"]))]
    if wrong:
        say(f"Not as it should be: {', '.join(wrong)}")
    return Exit.SOME_FAILED if wrong or len(tasks) != len(truth) else Exit.OK


async def _slate(site: Site, session: AsyncSession, run: int, item: str) -> str:
    from tidemill.domain.mmif import texts
    from tidemill.runner import look

    view = await look.item(session, item)
    (digest,) = [task["document"] for task in view.tasks if task["run_id"] == run]
    found = texts(await look.document(session, site.documents, digest))
    return " · ".join(found[0].splitlines()) if found else ""


def _as_it_should(recording: dict[str, Any], slate: str | None) -> bool:
    """Whether what was read (None: the recording failed) fits what the maker of the recordings wrote down."""
    if recording["fault"] in FATAL:
        return slate is None
    return slate is not None and all(words in slate for words in recording["slate_text"])


FATAL = ("cut-short", "not-video")
