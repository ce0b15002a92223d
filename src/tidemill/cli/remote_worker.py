"""`tidemill worker --url`: the part of the command for workers that have no database, only a URL and a token."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli import door
from tidemill.cli.exits import Exit
from tidemill.cli.output import say
from tidemill.cli.working import lifeline_to, usual_slots, work_until_stopped
from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.runner.spool import Spool
    from tidemill.runner.worker import Worker
    from tidemill.sdk.step import DeclaredStep

Url = Annotated[
    str | None,
    typer.Option(help="Work over HTTP for the site at this address, without its database.", show_default=False),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="File with the token of such a worker [default: $TIDEMILL_TOKEN].", show_default=False),
]
SpoolFolder = Annotated[
    Path | None,
    typer.Option(
        "--spool",
        help="Folder for results until the site has them [default: one below ~/.local/state/tidemill].",
        show_default=False,
    ),
]
SpoolSize = Annotated[
    str | None,
    typer.Option(help="Claim nothing more while the spool holds this much (10GB).", show_default=False),
]
Lease = Annotated[
    str | None,
    typer.Option(help="How long the site waits for this worker while it hears nothing (15m).", show_default=False),
]
Ca = Annotated[
    Path | None, typer.Option(help="Certificates to trust instead of the system's (PEM).", show_default=False)
]
InsecureHttp = Annotated[
    bool, typer.Option("--insecure-http", help="Send the token over plain HTTP: on a network that is trusted.")
]


@dataclass(frozen=True, slots=True)
class Far:
    """How a site is reached over HTTP, as the command line says."""

    url: str
    token_file: Path | None
    spool: Path | None
    spool_size: str | None
    lease: str | None
    ca: Path | None
    insecure_http: bool


async def work_from_afar(far: Far, steps: Mapping[str, DeclaredStep], slots: int | None, lifeline: int | None) -> Exit:
    """Work for the site until a signal comes, or until it refuses the token."""
    settings = door.settings()
    door.log_all(json=settings.log_json)
    running, folder = far_worker(far, steps, slots or usual_slots(settings, steps))
    if lifeline is None:
        say(f"Working for {far.url}; results wait in {folder} until the site has them. Ctrl-C stops.")
    try:
        with lifeline_to(running, lifeline):
            return await work_until_stopped(running)
    finally:
        if any((folder / "results").glob("*.spool")):
            say(f"Results wait in {folder}: start a worker with this spool to hand them in.")


def far_worker(far: Far, steps: Mapping[str, DeclaredStep], slots: int) -> tuple[Worker, Path]:
    """The worker, and its spool's folder. Raises InvalidInput, Conflict."""
    from tidemill.main import remote_worker
    from tidemill.pipelines.quantities import size
    from tidemill.runner.remote_client import SiteClient

    lease = _seconds(far.lease)
    try:
        limit = None if far.spool_size is None else int(size(far.spool_size))
    except ValueError as error:
        raise InvalidInput(f"--spool-size {error}.") from error
    client = SiteClient(far.url, token(far.token_file), ca=far.ca, insecure_http=far.insecure_http)
    spool = opened_spool(far.spool, client.url, limit)
    return remote_worker(door.settings(), client, spool, steps, slots=slots, lease=lease), spool.folder


def token(file: Path | None) -> str:
    """The token, from a file or the environment: the command line is there for others to see. Raises InvalidInput."""
    from tidemill.accounts.tokens import well_formed

    if file is None:
        said, where = (door.settings().token or "").strip(), "TIDEMILL_TOKEN"
    else:
        try:
            said, where = file.read_text(encoding="utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"The token cannot be read from {file}: {error}.") from error
    if not said:
        raise InvalidInput("There is no token.", hint="Give --token-file FILE, or set TIDEMILL_TOKEN.")
    if not well_formed(said):
        raise InvalidInput(f"What {where} holds is no token: it begins with tm_, and may have been cut short.")
    return said


def opened_spool(folder: Path | None, url: str, limit: int | None) -> Spool:
    """The spool that was named; or of those below the user's folder for this site, the first that no worker uses."""
    from tidemill.errors import Conflict
    from tidemill.runner.spool import Spool

    if folder is not None:
        spool = Spool(folder.absolute(), limit)
        spool.open()
        return spool
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = re.sub(r"[^\w.-]+", "-", url.partition("://")[2])
    for number in range(1, 1000):
        spool = Spool(state / "tidemill" / name / str(number), limit)
        try:
            spool.open()
        except Conflict:
            continue
        return spool
    raise Conflict(f"A thousand workers use the spools below {state / 'tidemill' / name}.")


def _seconds(lease: str | None) -> float | None:
    from tidemill.pipelines.quantities import seconds

    try:
        return None if lease is None else float(seconds(lease))
    except ValueError as error:
        raise InvalidInput(f"--lease {error}.") from error
