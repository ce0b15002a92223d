"""`tidemill counts`, `stuck`, `failures`, `summary`: how the site stands, what does not move and why, the week."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli import door
from tidemill.cli.application import application
from tidemill.cli.output import AsJson, cell, count, duration, emit, say, table, tell

if TYPE_CHECKING:
    from tidemill.runner.counts import Counts
    from tidemill.runner.failures import Failures, Family
    from tidemill.runner.stuck import Stuck
    from tidemill.runner.summary import Summary, Totals

PANEL = "Operating"
STATES = ("waiting", "running", "submitted", "done", "failed", "cancelled")
OneRun = Annotated[int | None, typer.Argument(help="Only this run.", metavar="RUN", show_default=False)]


@application.command(rich_help_panel=PANEL)
def counts(
    run: OneRun = None,
    active: Annotated[
        bool, typer.Option("--active", help="Only the runs that are active, not those of all time.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Count items by status, and tasks by step and state; say what is held back, and what has waited longest."""
    found = door.run(_counts(run, active))
    if json:
        return emit(dataclasses.asdict(found))
    if found.items:
        tell("Items: " + ", ".join(f"{number:,} {status}" for status, number in found.items.items()))
    table(
        ["pipeline", "step", "app", *(f"{state}#" for state in STATES), "to come#"],
        ([step.pipeline, step.step, step.app, *(_number(step.counts[state]) for state in (*STATES, "to_come"))]
         for step in found.steps),
        empty="No run has a task.",
    )  # fmt: skip
    for held in found.held:
        tell(f"Held back at {held['step']}: {count(held['tasks'], 'task')}: {held['reason'] or 'no reason was given'}")
    if found.oldest:
        tell(f"Longest waiting: {found.oldest['item']} at {found.oldest['step']} of run {found.oldest['run']}, "
             f"for {duration(found.oldest['seconds'])}")  # fmt: skip
    return None


@application.command(rich_help_panel=PANEL)
def stuck(
    run: OneRun = None,
    cause: Annotated[
        str | None, typer.Option(help="Only what does not move for this cause: held, failed, slow, …")
    ] = None,
    longer: Annotated[float, typer.Option(help="What is due counts when it has waited so many seconds.", min=0)] = 300,
    limit: Annotated[int, typer.Option(help="At most so many tasks, the longest first.", min=1, max=1000)] = 30,
    json: AsJson = False,
) -> None:
    """Say which files do not move, and why: waiting, held, failed, longer at work than expected; the longest first."""
    found = door.run(_stuck(run, cause, longer, limit))
    if json:
        return emit(dataclasses.asdict(found))
    table(
        ["tasks#", "cause", "why", "run#", "step", "for"],
        ([f"{one.tasks:,}", one.cause, one.why, one.run, one.step, duration(one.seconds)] for one in found.causes),
        empty="Nothing is stuck.",
    )
    if found.tasks:
        tell("")
        table(
            ["item", "run#", "step", "state", "for", "why"],
            ([task["item"], task["run"], task["step"], task["state"], duration(task["seconds"]), task["why"]]
             for task in found.tasks),
            empty="",
        )  # fmt: skip
    return None


@application.command(rich_help_panel=PANEL)
def failures(
    run: OneRun = None,
    step: Annotated[str | None, typer.Option(help="Only what failed at the step of this name.")] = None,
    app: Annotated[str | None, typer.Option(help="Only what failed at this app.")] = None,
    days: Annotated[
        int, typer.Option(help="Without a run: those that are active or ended within so many days.", min=0, max=36500)
    ] = 30,
    json: AsJson = False,
) -> None:
    """Show what stands failed by family: messages that are the same but for numbers, names, paths and times."""
    found = door.run(_failures(run, step, app, days))
    if json:
        return emit(dataclasses.asdict(found))
    if not found.families:
        return say("Nothing stands failed.")
    tell(f"{count(found.tasks, 'task')} stand failed, in {count(len(found.families) + found.more, 'family')}".replace(
        "familys", "families") + ".")  # fmt: skip
    for one in found.families:
        _family(one)
    if found.more:
        tell(f"… and {found.more:,} smaller families")
    return None


@application.command(rich_help_panel=PANEL)
def summary(
    week: Annotated[
        str | None, typer.Option(help="The week, as 2026-W47 [default: the present one].", show_default=False)
    ] = None,
    zone: Annotated[str, typer.Option(help="The time zone in which weeks begin, as Europe/Berlin.")] = "UTC",
    json: AsJson = False,
) -> None:
    """Sum up a week beside the week before: what came, what was done, what failed, who worked."""
    found = door.run(_summary(week, zone))
    if json:
        return emit(dataclasses.asdict(found))
    return _told(found)


def _family(one: Family) -> None:
    tell("")
    tell(f"{one.id}  {one.tasks:,} × {one.message}")
    where = ", ".join(f"{step} ({number:,})" for step, number in one.steps.items())
    made = ", ".join(f"{version} ({number:,})" for version, number in one.versions.items())
    tell(f"    at {where}; {made}; {_when(one.first_at)} to {_when(one.last_at)}")
    if one.example:
        reason = one.example["reason"] or ""
        tell(f"    for example {one.example['item']}: {reason.splitlines()[0] if reason else 'no reason was given'}")
        for line in one.example["log"].splitlines()[-3:]:
            tell(f"    │ {line}")
    for trial in one.trials:
        tell(f"    run {trial['run']}: {trial_in_words(trial)}")
    for run in list(one.runs)[:3]:
        say(f"    Try some: tidemill retry {run} --family {one.id} --first 5")


def trial_in_words(trial: dict[str, int]) -> str:
    """`5 tried: 4 done, 1 failed`."""
    ended = [f"{trial[how]:,} {how}" for how in ("done", "failed", "cancelled") if trial[how]]
    ended += [f"{trial['open']:,} not over yet"] if trial["open"] else []
    return f"{trial['tried']:,} tried: {', '.join(ended)}"


def _told(week: Summary) -> None:
    span = "the whole week" if week.over else "up to now"
    tell(f"Week {week.week} ({week.zone}), {week.begins:%Y-%m-%d %H:%M} to {week.ends:%Y-%m-%d %H:%M} UTC, {span}; "
         f"in brackets the week before.")  # fmt: skip
    tell(
        "Items: "
        + ", ".join(f"{_beside(week.totals, week.before, key)} {key}" for key in ("added", "edited", "deleted"))
    )
    tell("Now: " + (", ".join(f"{number:,} {status}" for status, number in week.items.items()) or "no items"))
    keys = ("done", "failed", "retried", "skipped")
    tell("Steps: " + ", ".join(f"{_beside(week.totals, week.before, key)} {key}" for key in keys))
    tell("Put out: " + ", ".join(f"{_beside(week.totals, week.before, key)} {key}" for key in ("files", "bytes")))
    tell("")
    table(
        ["step", "done#", "failed#", "retried#", "skipped#", "median", "95 %", "versions"],
        ([one.step, one.done, _number(one.failed), _number(one.retried), _number(one.skipped), duration(one.median),
          duration(one.p95), ", ".join(one.versions)] for one in week.steps),
        empty="Nothing was done.",
    )  # fmt: skip
    for family in week.families:
        tell(f"New failure {family.id}: {family.attempts:,} × {family.message} (first {family.item}, run {family.run})")
    for task in week.waiting:
        tell(f"Waiting: {task['item']} at {task['step']} for {duration(task['seconds'])}: {task['why']}")
    if week.work.down is not None:
        longest = week.work.longest_gap_at
        since = f", the longest {duration(week.work.longest_gap)} from {longest:%Y-%m-%d %H:%M} UTC" if longest else ""
        hosts = ", ".join(f"{host} ({number})" for host, number in week.work.hosts.items()) or "none"
        tell(f"Workers: {week.work.workers} on {hosts}; without any for {duration(week.work.down)}{since}")
    for note in week.notes:
        say(note)


def _beside(now: Totals, before: Totals, key: str) -> str:
    this, that = getattr(now, key), getattr(before, key)
    return f"{'unknown' if this is None else f'{this:,}'} ({'unknown' if that is None else f'{that:,}'})"


def _number(number: int) -> str:
    return f"{number:,}" if number else "·"


def _when(at: dt.datetime | None) -> str:
    return cell(at) or "an unknown time"


async def _counts(run: int | None, active: bool) -> Counts:
    from tidemill.runner import counts as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.counts(session, run, active=active)


async def _stuck(run: int | None, cause: str | None, longer: float, limit: int) -> Stuck:
    from tidemill.runner import stuck as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.stuck(session, run=run, cause=cause, longer=longer, limit=limit)


async def _failures(run: int | None, step: str | None, app: str | None, days: int) -> Failures:
    from tidemill.runner import failures as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.families(session, run, step=step, app=app, days=days)


async def _summary(week: str | None, zone: str) -> Summary:
    from tidemill.runner import summary as service

    async with door.opened() as site, site.database.begin() as session:
        return await service.summary(session, week, zone)
