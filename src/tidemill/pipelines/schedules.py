"""Schedules: what is to be done by the clock, and when next. `runner/schedules.py` does it.

Cron expressions have five fields and are read as Debian's cron reads them (cronsim): at the change to summer time a job
of the hour that is left out is done right after it, and one of the hour that comes twice is done once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Row, fetch, fetch_one
from tidemill.db.models import Schedule
from tidemill.domain.quiet_hours import is_zone
from tidemill.errors import InvalidInput, NotFound
from tidemill.pipelines.names import check_name
from tidemill.pipelines.nearest import nearest


@dataclass(frozen=True, slots=True)
class ScheduleWish:
    """A schedule as a person asks for it."""

    name: str
    cron: str
    zone: str
    action: Mapping[str, Any]
    """`{"start": {"batch", "pipeline", "priority", "reuse", "only_not_done"}}` or `{"sync": source}`."""


def cron_fault(cron: str) -> str | None:
    """What is wrong with a cron expression, in words; None: nothing."""
    right = "minute, hour, day of the month, month, day of the week: for example 0 2 * * mon"
    if len(cron.split()) != 5:
        return f"{cron!r} is no cron expression: it must have five fields, {right}."
    try:
        first = next(CronSim(cron, dt.datetime(2000, 1, 1, tzinfo=dt.UTC)), None)
    except CronSimError as error:
        return f"{cron!r} is no cron expression: {str(error).lower().replace('bad ', 'wrong ')} ({right})."
    return None if first else f"{cron!r} names a time that never comes."


def next_time(cron: str, zone: str, after: dt.datetime) -> dt.datetime:
    """The first time after `after` that a cron expression means in its time zone; in UTC."""
    times = (time.astimezone(dt.UTC) for time in CronSim(cron, after.astimezone(ZoneInfo(zone))))
    return next(time for time in times if time > after)  # in the hour that comes twice it may name the first one


def check(wish: ScheduleWish) -> None:
    """Raise InvalidInput where a schedule makes no sense, whatever the site holds."""
    check_name("a schedule", wish.name)
    if fault := cron_fault(wish.cron):
        raise InvalidInput(f"Schedule {wish.name!r}: {fault}")
    if not is_zone(wish.zone):
        raise InvalidInput(f"Schedule {wish.name!r}: {wish.zone!r} is no time zone; Europe/Berlin is one.")


async def define(session: AsyncSession, wish: ScheduleWish) -> bool:
    """Make a schedule, or change the one of that name; whether anything changed. Raises InvalidInput."""
    check(wish)
    await check_zones(session, [wish.zone])
    known = await session.scalar(select(Schedule).where(Schedule.name == wish.name).with_for_update())
    values: dict[str, Any] = {"cron": wish.cron, "zone": wish.zone, "action": dict(wish.action)}
    if known is not None and all(getattr(known, key) == value for key, value in values.items()):
        return False
    if known is None:
        known = Schedule(name=wish.name, **values)
        session.add(known)
    elif (known.cron, known.zone) == (wish.cron, wish.zone):
        known.action = values["action"]
        return True
    for key, value in values.items():
        setattr(known, key, value)
    known.next_at = next_time(wish.cron, wish.zone, await _now(session))
    await session.flush()
    await _wake(session)
    return True


async def listing(session: AsyncSession) -> list[Row]:
    """All schedules in order of name, with the next time, and when and how the last one went."""
    return await fetch(session, "schedules.list", {"name": None})


async def get(session: AsyncSession, name: str) -> Row:
    """One row of `listing`. Raises NotFound, with the name that was meant perhaps."""
    found = await fetch(session, "schedules.list", {"name": name})
    if not found:
        close = nearest(name, await session.scalars(select(Schedule.name)))
        hint = f"Did you mean {close!r}?" if close else "`tidemill schedules` lists them."
        raise NotFound(f"There is no schedule named {name!r}.", hint=hint)
    return found[0]


async def pause(session: AsyncSession, name: str, paused: bool = True) -> bool:
    """Let a schedule rest, or go on: what it missed meanwhile is not made up for. Whether that changed anything."""
    row = await get(session, name)
    if row["paused"] is paused:
        return False
    following = row["next_at"] if paused else next_time(row["cron"], row["zone"], await _now(session))
    await fetch(session, "schedules.set_paused", {"name": name, "paused": paused, "next_at": following})
    await _wake(session)
    return True


async def remove(session: AsyncSession, name: str) -> None:
    """Take a schedule away. What it started stays. Raises NotFound."""
    await get(session, name)
    await fetch(session, "schedules.remove", {"name": name})


async def check_zones(session: AsyncSession, zones: Sequence[str]) -> None:
    """Raise InvalidInput for time zones that the database does not know: it is the database's clock that counts."""
    if unknown := await unknown_zones(session, zones):
        raise InvalidInput(f"The database knows no time zone named {', '.join(unknown)}.", hint="Europe/Berlin is one.")


async def unknown_zones(session: AsyncSession, zones: Sequence[str]) -> list[str]:
    """Those of the zones that the database does not know."""
    others = sorted(set(zones) - {"UTC"})
    return [row["zone"] for row in await fetch(session, "schedules.unknown_zones", {"zones": others})] if others else []


async def _now(session: AsyncSession) -> dt.datetime:
    row = await fetch_one(session, "schedules.clock")
    assert row is not None
    now: dt.datetime = row["now"]
    return now


async def _wake(session: AsyncSession) -> None:
    await fetch(session, "schedules.wake")
