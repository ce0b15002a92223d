"""Steering a run from its page. What touches many tasks is shown with its numbers before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.domain.states import TaskState
from tidemill.errors import InvalidInput, NotFound
from tidemill.runner import go_back, look, redo, runs
from tidemill.runner.redo import Filter
from tidemill.web.pages.forms import local, number, ticked, words
from tidemill.web.rendering import redirect, render, site_of
from tidemill.web.wording import counted

router = APIRouter()
Touches = list[tuple[int, str]]


@router.post("/runs/{run}/pause")
async def pause(request: Request, run: int) -> RedirectResponse:
    """Hold back what waits."""
    async with site_of(request).database.begin() as session:
        await runs.pause(session, run)
    return redirect(f"/runs/{run}", "Paused. What is in hand finishes; nothing more is started.")


@router.post("/runs/{run}/resume")
async def resume(request: Request, run: int) -> RedirectResponse:
    """Let it go on."""
    async with site_of(request).database.begin() as session:
        await runs.pause(session, run, False)
    return redirect(f"/runs/{run}", "Resumed.")


@router.get("/runs/{run}/{verb}")
async def confirm(request: Request, run: int, verb: str) -> HTMLResponse:
    """What an action would touch, and the button that does it."""
    if verb not in _HEADINGS:
        raise NotFound(f"A run has no page {verb!r}.")
    chosen = _chosen(request.query_params)
    async with site_of(request).database.begin() as session:
        overview = await look.overview(session, run)
        if verb == "rerun" and chosen["step"] is None:
            chosen["step"] = 0
        touches = await _touches(session, overview, verb, chosen)
    heading, button = _HEADINGS[verb]
    return render(
        request,
        "run_confirm.html",
        run=overview,
        verb=verb,
        chosen=chosen,
        heading=heading,
        button=button,
        touches=touches,
        possible=verb == "priority" or bool(touches and touches[0][0]),
        scope=_scope(overview, verb, chosen),
    )


@router.post("/runs/{run}/retry")
async def retry(request: Request, run: int) -> RedirectResponse:
    """Failed tasks that match start again at the step where they failed."""
    chosen = _chosen(await request.form())
    async with site_of(request).database.begin() as session:
        count = await redo.retry(session, run, await _which(session, run, chosen, "retry"), first=chosen["first"])
    return redirect(chosen["back"] or f"/runs/{run}", f"{counted(count, 'task')} will be tried again.")


@router.post("/runs/{run}/rerun")
async def rerun(request: Request, run: int) -> RedirectResponse:
    """Matching tasks go back to a step."""
    chosen = _chosen(await request.form())
    step = chosen["step"]
    if step is None:
        raise InvalidInput("Choose the step to re-run from.")
    async with site_of(request).database.begin() as session:
        which = await _which(session, run, chosen, "rerun")
        count = await redo.rerun(session, run, step, which, reuse=chosen["reuse"])
    return redirect(chosen["back"] or f"/runs/{run}", f"{counted(count, 'task')} will run again from step {step + 1}.")


@router.post("/runs/{run}/cancel")
async def cancel(request: Request, run: int) -> RedirectResponse:
    """The run, or the tasks of it that match, come to an end."""
    chosen = _chosen(await request.form())
    async with site_of(request).database.begin() as session:
        tasks = (
            await redo.matching(session, run, await _which(session, run, chosen, "cancel")) if _part(chosen) else None
        )
        count = await runs.cancel(session, run, tasks)
    return redirect(chosen["back"] or f"/runs/{run}", f"{counted(count, 'task')} cancelled.")


@router.post("/runs/{run}/go-back")
async def back(request: Request, run: int) -> RedirectResponse:
    """The results from before a re-run stand again."""
    chosen = _chosen(await request.form())
    async with site_of(request).database.begin() as session:
        which = await _which(session, run, chosen, "go-back")
        count = await go_back.go_back(session, run, which, to=chosen["to"])
    stands = f"{counted(count, 'task')} {'stands' if count == 1 else 'stand'}"
    return redirect(chosen["back"] or f"/runs/{run}", f"{stands} as before the re-run. Go back again to undo it.")


@router.post("/runs/{run}/priority")
async def prioritise(request: Request, run: int) -> RedirectResponse:
    """Higher goes first."""
    priority = number(await request.form(), "priority")
    if priority is None or abs(priority) > 1000:
        raise InvalidInput("A priority is a whole number from -1000 to 1000.")
    async with site_of(request).database.begin() as session:
        await runs.prioritise(session, run, priority)
    return redirect(f"/runs/{run}", f"Priority {priority}.")


_HEADINGS = {
    "retry": ("Retry what failed", "Retry"),
    "rerun": ("Re-run from a step", "Re-run"),
    "cancel": ("Cancel", "Cancel them"),
    "go-back": ("Go back to before the re-run", "Go back"),
    "priority": ("Priority", "Set"),
}


def _chosen(values: Mapping[str, Any]) -> dict[str, Any]:
    """Which tasks an action is about, as a query string or a form says it."""
    state = words(values, "state")
    return {
        "state": state if state in set(TaskState) else None,
        "step": number(values, "step"),
        "search": words(values, "search"),
        "item": words(values, "item"),
        "app": words(values, "app"),
        "family": words(values, "family"),
        "first": number(values, "first"),
        "to": words(values, "to"),
        "back": local(words(values, "back")),
        "reuse": ticked(values, "reuse"),
    }


def _part(chosen: Mapping[str, Any]) -> bool:
    return any(chosen[name] is not None for name in ("state", "step", "search", "item", "app", "family"))


async def _which(session: AsyncSession, run: int, chosen: Mapping[str, Any], verb: str) -> Filter:
    """The filter of an action. In a re-run the step is where to start, not which tasks; a retry is of what failed."""
    states = [chosen["state"]] if chosen["state"] else None
    if verb == "retry":
        states = [TaskState.CANCELLED if chosen["state"] == TaskState.CANCELLED else TaskState.FAILED]
    return Filter(
        tasks=await _searched(session, run, chosen["search"]) if chosen["search"] else None,
        states=states,
        step=None if verb == "rerun" else chosen["step"],
        items=[chosen["item"]] if chosen["item"] else None,
        app=chosen["app"],
        family=chosen["family"] if verb == "retry" else None,
    )


async def _searched(session: AsyncSession, run: int, search: str) -> list[int]:
    tasks: list[int] = []
    start: int | None = 0
    while start is not None:
        window = await look.window(session, run, start, look.MOST_ROWS, search=search)
        tasks += [task["id"] for task in window.tasks]
        start = window.next
    return tasks


async def _touches(session: AsyncSession, run: look.RunOverview, verb: str, chosen: Mapping[str, Any]) -> Touches:
    """The numbers of what an action would touch now; the first is what it moves."""
    if verb == "priority":
        return []
    which = await _which(session, run.id, chosen, verb)
    if verb == "retry":
        return await _retry_touches(session, run, which, chosen["first"])
    if verb == "go-back":
        return await _go_back_touches(session, run, which, chosen["to"])
    if verb == "cancel":
        return await _cancel_touches(session, run, which)
    preview = await redo.preview_rerun(session, run.id, chosen["step"], which)
    return [
        _touch(preview.tasks, "task goes", "tasks go", f"back to {run.steps[chosen['step']].name}"),
        _touch(preview.steps, "finished step is", "finished steps are", "superseded (kept, and marked so)"),
        _touch(preview.busy, "task is", "tasks are", "being worked on and left alone"),
        _touch(preview.not_reached, "task has", "tasks have", "not come to that step yet"),
        *(
            [_touch(preview.elsewhere, "task had", "tasks had", "that step done by another system")]
            if preview.elsewhere
            else []
        ),
    ]


async def _retry_touches(session: AsyncSession, run: look.RunOverview, which: Filter, first: int | None) -> Touches:
    try:
        count = len(await redo.matching(session, run.id, which))
    except NotFound:  # of that family nothing stands failed any more
        count = 0
    state = (which.states or [TaskState.FAILED])[0]
    tried = min(count, first) if first else count
    rest = [_touch(count - tried, "other like it stays", "others like it stay", f"{state} for now")] if first else []
    return [_touch(tried, f"{state} task starts", f"{state} tasks start", "again at the step where it stopped"), *rest]


async def _go_back_touches(session: AsyncSession, run: look.RunOverview, which: Filter, to: str | None) -> Touches:
    preview = await go_back.preview(session, run.id, which, to=to)
    states = ", ".join(f"{count:,} {state}" for state, count in preview.states.items())
    left = [
        _touch(preview.busy, "task is", "tasks are", "being worked on and left alone"),
        _touch(preview.nothing, "task has", "tasks have", "nothing that was put aside then"),
        _touch(preview.unfit, "task no longer fits", "tasks no longer fit", "what stands before: go back step by step"),
    ]
    return [
        _touch(preview.tasks, "task stands", "tasks stand", f"as before the re-run{f' ({states})' if states else ''}"),
        _touch(preview.back, "old result stands", "old results stand", "again"),
        _touch(preview.aside, "new result is", "new results are", "put aside (kept, and marked superseded)"),
        *(one for one in left if one[0]),
    ]


async def _cancel_touches(session: AsyncSession, run: look.RunOverview, which: Filter) -> Touches:
    open_states = [state for state in TaskState if not state.final and (not which.states or state in which.states)]
    numbers = {}
    for state in open_states:
        matching = Filter(which.tasks, [state], which.step, which.items)
        numbers[state] = len(await redo.matching(session, run.id, matching))
    working = sum(count for state, count in numbers.items() if state.in_hand)
    return [
        _touch(sum(numbers.values()), "unfinished task is", "unfinished tasks are", "cancelled"),
        _touch(working, "of them is", "of them are", "being worked on now; its app is told to stop if it can be"),
        _touch(run.totals["done"], "task is", "tasks are", "done and will stay so, with all documents"),
    ]


def _touch(count: int, one: str, many: str, what: str) -> tuple[int, str]:
    return count, f"{one if count == 1 else many} {what}"


def _scope(run: look.RunOverview, verb: str, chosen: Mapping[str, Any]) -> str:
    """In words, which tasks are meant."""
    parts = []
    if chosen["item"]:
        parts.append(chosen["item"])
    if chosen["search"]:
        parts.append(f"name contains “{chosen['search']}”")
    if chosen["state"] and verb != "retry":
        parts.append(chosen["state"])
    if chosen["family"] and verb == "retry":
        parts.append(f"family {chosen['family']}")
    if chosen["app"]:
        parts.append(f"at the app {chosen['app']}")
    if chosen["to"] and verb == "go-back":
        parts.append(f"what was put aside at {chosen['to'].replace('T', ' ')} UTC")
    if chosen["step"] is not None and verb in ("retry", "cancel", "go-back") and 0 <= chosen["step"] < len(run.steps):
        parts.append(f"at {run.steps[chosen['step']].name}")
    if not parts:
        return "" if verb == "priority" else "This is about the whole run: no filter is set."
    return f"Only: {', '.join(parts)}."
