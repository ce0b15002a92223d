"""The portal's demo: a bucket becomes a catalogue with packages, and a visitor takes some of them away over HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.cli import door
from tidemill.cli.demo_stages import pages, say_farewell, script, stage, until_interrupted
from tidemill.cli.exits import Exit
from tidemill.cli.output import count, say, tell
from tidemill.errors import TidemillError

if TYPE_CHECKING:
    from tidemill.main import Site


async def show_portal(folder: Path, port: int, stay: bool) -> Exit:
    """The whole demo; OK if what the visitor took away is what the site says that it is."""
    from tidemill.cli.demo_visitor import Visitor

    say("Tidemill's portal: a lab's bucket becomes a catalogue with packages, and somebody takes some away.\n")
    async with AsyncExitStack() as house:
        with stage("What makes the data: NumPy and h5py (about 110 MB, once)"):
            await script(sys.executable, folder / "setup_env.py")
        with stage("A bucket: single cells, slices of tissue, surface proteins, bulk RNA; one project is locked"):
            await script(folder / ".venv" / "bin" / "python", folder / "make_bucket.py", folder / "data" / "bucket")
        with stage("PostgreSQL, in the site's folder"):
            site = await house.enter_async_context(door.opened())
        await _publish(site, folder)
        address = await house.enter_async_context(pages(site, port))
        where = address.partition("/?")[0]
        tell(f"\nThe portal, as everybody sees it:  {where}/portal")
        tell(f"… and as its operators do:         {address}\n")
        await house.enter_async_context(_at_work(site))
        wrong = await Visitor(where, site.settings.site / "downloads").visit()
        for one in wrong:
            say(f"Not as it should be: {one}")
        if stay:
            tell(f"\nLook at it:  {where}/portal")
            say("Ctrl-C ends the demo.")
            await until_interrupted()
        else:
            say_farewell(site)
    return Exit.SOME_FAILED if wrong else Exit.OK


async def _publish(site: Site, folder: Path) -> None:
    """What an operator types, in this order; the second time nothing is left to do."""
    await _command(site, "apply", folder / "site.toml", "--yes", shown=_heads)
    await _command(site, "sync-original-files")
    await _command(site, "load-metadata")
    await _command(site, "generate-computed-files", "--max-workers", "2")


async def _command(site: Site, *words: object, shown: Callable[[list[str]], list[str]] | None = None) -> None:
    """Say a command and run it, in a process of its own, as a person would. Raises TidemillError where it fails.

    `shown`: which lines of its answer are worth telling here; None: it writes to this terminal itself.
    """
    said = [_brief(word) for word in words if word != "--yes"]
    tell(f"\n$ tidemill --site {_brief(site.settings.site)} {' '.join(said)}")
    sys.stdout.flush()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidemill.cli", "--site", str(site.settings.site.absolute()), *map(str, words),
        stdin=asyncio.subprocess.DEVNULL, stdout=None if shown is None else asyncio.subprocess.PIPE,
        stderr=None if shown is None else asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        answer, remarks = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if shown:
        for line in (*shown(answer.decode().splitlines()), *remarks.decode().splitlines()):
            tell(line)
    if process.returncode:
        raise TidemillError(f"tidemill {words[0]} ended with {process.returncode}.")


def _brief(word: object) -> str:
    """A path as one types it here."""
    if not isinstance(word, Path):
        return str(word)
    here = Path.cwd()
    whole = word.absolute()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


def _heads(lines: list[str]) -> list[str]:
    """Of a difference, what is new or changed on the whole, and how many lines beneath each are not shown."""
    heads: list[str] = []
    beneath: list[int] = []
    for line in lines:
        if heads and line.startswith("      "):
            beneath[-1] += 1
        else:
            heads.append(line)
            beneath.append(0)
    return [f"{head}  … {count(more, 'line')}" if more else head for head, more in zip(heads, beneath, strict=True)]


@asynccontextmanager
async def _at_work(site: Site) -> AsyncIterator[None]:
    """A worker and a housekeeper, as `tidemill up` has them: they build the datasets that people ask for."""
    worker = site.worker()
    job = asyncio.create_task(worker.run())
    try:
        async with site.keeping_house():
            yield
    finally:
        worker.stop()
        await job
