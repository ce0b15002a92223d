"""What the demos share: saying what is being done, scripts, the pages, waiting for Ctrl-C."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.cli import door
from tidemill.cli.output import duration, err, say
from tidemill.errors import TidemillError

if TYPE_CHECKING:
    from tidemill.main import Site


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    began = time.monotonic()
    with err().status(what):
        yield
    say(f"  ✓ {what}  ({duration(time.monotonic() - began)})")


async def script(*command: object) -> None:
    """Run one of the example's scripts to its end. Raises TidemillError with the end of what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(str(part) for part in command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        tail = "\n".join(said.decode(errors="replace").strip().splitlines()[-8:])
        raise TidemillError(f"{Path(str(command[1])).name} ended with {process.returncode}:\n{tail}")


@asynccontextmanager
async def pages(site: Site, port: int) -> AsyncIterator[str]:
    """Serve the pages; their address with the key."""
    from tidemill.main import make_web
    from tidemill.web.serve import serving

    async with serving(make_web(site), "127.0.0.1", port) as bound:
        yield f"http://127.0.0.1:{bound}/?key={site.settings.web_key()}"


def say_farewell(site: Site) -> None:
    """Say how to look again at what a demo leaves, whose pages end with it."""
    say(f"\nThe pages end here. They are back with: tidemill --site {site.settings.site} up")


async def until_interrupted() -> None:
    """Stay until Ctrl-C."""
    stopped = asyncio.Event()
    with door.stop_signals(lambda _: stopped.set()):
        await stopped.wait()
