"""Pages of items: the list with its search, and everything that is known of one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from tidemill.catalogue import items as catalogue
from tidemill.db.database import Row
from tidemill.domain.kinds import Kind
from tidemill.domain.states import Outcome, TaskState
from tidemill.errors import InvalidInput, StorageError
from tidemill.publishing import computed_files
from tidemill.runner import look, redo
from tidemill.web import mmif_view
from tidemill.web.pages.forms import number, words
from tidemill.web.rendering import redirect, render, site_of

router = APIRouter()
PAGE = 100
COUNTED = 1000
"""Items that are found beyond this are not counted."""


@router.get("/items")
async def items(request: Request) -> HTMLResponse:
    """Items by search, a page at a time."""
    search = words(request.query_params, "search") or ""
    offset = max(0, number(request.query_params, "offset") or 0)
    wrong = ""
    async with site_of(request).database.begin() as session:
        try:
            page = await catalogue.search(session, search, limit=PAGE, offset=offset, count_to=COUNTED)
        except InvalidInput as error:
            page, wrong = catalogue.Page(0, []), error.message
    return render(
        request,
        "items.html",
        status=422 if wrong else 200,
        search=search,
        found=page.rows,
        total=page.total,
        more=page.total > max(COUNTED, offset + PAGE),
        offset=offset,
        page=PAGE,
        wrong=wrong,
    )


@router.get("/items/{name:path}")
async def item(request: Request, name: str) -> HTMLResponse:
    """One item: what was read in it, where it stands, its process, every attempt, its files and its document."""
    site = site_of(request)
    run = number(request.query_params, "run")
    async with site.database.begin() as session:
        view = await look.item(session, name)
        sha, body, lost = newest_document(view, run), b"", ""
        if sha:
            try:
                body = await look.document(session, site.documents, sha)
            except StorageError as error:
                lost = error.message
        package = None
        if view.item["kind"] == Kind.PACKAGE:
            (package, *_) = await computed_files.listing(session, package=name, limit=1)
    return render(
        request,
        "item.html",
        item=view.item,
        view=view,
        attempts=by_task(view.attempts),
        sha=sha,
        size=len(body),
        lost=lost,
        # In a thread: a large document would hold up every other page.
        tree=await asyncio.to_thread(mmif_view.tree, body) if body else None,
        text=mmif_view.pretty(body, 20_000) if body else ("", False),
        place=mmif_view.Place(),
        run=run,
        here=_address(name),
        package=package,
        below="/computed-files" if package else f"/items/{name}",
        meaning=computed_files.STATES,
    )


@router.post("/attempts/{task}-{fence}/promote")
async def promote(request: Request, task: int, fence: int) -> RedirectResponse:
    """A person decides that a late result counts."""
    back = words(await request.form(), "item")
    async with site_of(request).database.begin() as session:
        state = await redo.promote(session, task, fence)
    return redirect(_address(back) if back else "/runs", f"The late result was applied; the task is now {state}.")


def _address(name: str) -> str:
    return f"/items/{quote(name, safe='')}"


def newest_document(view: look.ItemView, run: int | None = None) -> str | None:
    """The SHA-256 of what is shown of an item: of this run, else of the newest finished one, else what there is."""
    tasks = [task for task in view.tasks if run is None or task["run_id"] == run] or view.tasks
    done = [task for task in tasks if task["state"] == TaskState.DONE]
    if done:
        return str(done[0]["document"])
    outputs = [step["output"] for step in view.process if step["output"] and run in (None, step["run_id"])]
    return str(outputs[-1]) if outputs else (str(tasks[0]["document"]) if tasks else None)


def by_task(attempts: Sequence[Row]) -> dict[int, dict[str, list[Any]]]:
    """Attempts of each task, oldest first: those that stand, and those that a re-run has superseded."""
    found: dict[int, dict[str, list[Any]]] = {}
    for attempt in attempts:
        lists = found.setdefault(attempt["task_id"], {"standing": [], "superseded": []})
        attempt["late"] = attempt["outcome"] == Outcome.LATE and attempt["output"] and not attempt["error"]
        lists["superseded" if attempt["superseded_at"] else "standing"].append(attempt)
    return found
