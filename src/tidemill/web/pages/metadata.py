"""The page that loads metadata: first it says what that would do; then it does it, and shows what came of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from tidemill.catalogue import metadata
from tidemill.catalogue.metadata import LoadReport, LoadWish
from tidemill.catalogue.metadata_write import ProjectReport
from tidemill.db.database import Database
from tidemill.errors import TablesRefused, TidemillError
from tidemill.web.rendering import redirect, render, site_of

log = structlog.get_logger()
router = APIRouter()

HOME = "/load-metadata"
PATIENCE = 2.0
"""Seconds that a browser waits for a load; one that takes longer goes on behind it."""
SHOWN = 500
"""Projects, and mistakes, that the page shows."""


@dataclass(slots=True)
class Loading:
    """One load, at work or over, as this process remembers it."""

    wish: LoadWish
    doing: str = "The metadata files are being looked for."
    report: LoadReport | None = None
    done: list[ProjectReport] = field(default_factory=list)
    """The projects that are dealt with; each is written at once, so they stay whatever happens to the rest."""
    ended_at: dt.datetime | None = None
    error: TidemillError | None = None
    task: asyncio.Task[None] | None = None
    told: list[dict[str, Any]] = field(default_factory=list)
    """What was wrong with the files: `file`, `row`, `column`, `message`."""

    @property
    def at_work(self) -> bool:
        return self.task is not None and not self.task.done()

    async def run(self, database: Database) -> None:
        """Load; whatever comes of it is kept here."""
        try:
            self.report = await metadata.load(
                database, self.wish, heard=self.done.append, reading=self._reading, writing=self._writing
            )
        except TidemillError as error:
            self.error = error
            self.told = [dict(fault) for fault in error.faults] if isinstance(error, TablesRefused) else []
        except Exception as error:  # nobody awaits this task: who asks for the page is told
            log.error("a load of metadata failed", exc_info=error)
            self.error = TidemillError("Something went wrong here. The site's log has the details.")
        finally:
            self.ended_at = dt.datetime.now(dt.UTC)

    def _reading(self, files: int, of: int) -> None:
        self.doing = f"{files:,} of {of:,} files are read."

    def _writing(self, project: str | None, items: int, of: int) -> None:
        self.doing = f"{project if project is not None else 'What is in no project'}: {items:,} of {of:,} are done."


@router.get(HOME)
async def shown(request: Request) -> HTMLResponse:
    """What a load would do or did, and the button for the next step."""
    return render(request, "load_metadata.html", load=_last(request), shown=SHOWN)


@router.post(HOME)
async def load(
    request: Request,
    dry_run: Annotated[bool, Form()] = False,
    existing: Annotated[bool, Form()] = False,
    locked: Annotated[bool, Form()] = False,
) -> RedirectResponse:
    """Load the metadata of all sources, or look what that would do; what takes long goes on after this answer."""
    if (last := _last(request)) is not None and last.at_work:
        return redirect(HOME, "Metadata are being loaded already.")
    now = Loading(LoadWish(existing=existing, locked=locked, dry_run=dry_run))
    request.app.state.loading = now
    now.task = asyncio.create_task(now.run(site_of(request).database))
    await asyncio.wait({now.task}, timeout=PATIENCE)
    return redirect(HOME)


def _last(request: Request) -> Loading | None:
    found: Loading | None = getattr(request.app.state, "loading", None)
    return found
