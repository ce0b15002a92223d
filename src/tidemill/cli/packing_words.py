"""What the commands that make packages say to a person."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tidemill.cli.output import count, err, say, table, tell
from tidemill.executors.amounts import amount

if TYPE_CHECKING:
    from tidemill.cli.packing import Attended
    from tidemill.publishing.checking import Checked
    from tidemill.publishing.left_over import LeftOver
    from tidemill.publishing.package_runs import Begun
    from tidemill.publishing.planning import LeftOut
    from tidemill.publishing.removing import Removed

SHOWN = 20
WHOSE = 5
"""Projects that are named one by one."""


def say_beginning(begun: Begun) -> None:
    """What has begun, and what was left alone or out."""
    _tell_faults(begun)
    _tell_unseen(begun)
    if begun.run:
        say(f"Run {begun.run}: {count(len(begun.packages), 'package')} of {amount(begun.size)} to {begun.store.url}.")
    if begun.busy:
        runs = ", ".join(str(run) for run in sorted({busy.run for busy in begun.busy}))
        say(f"{count(len(begun.busy), 'package')} in hand already, in run {runs}.")
    if begun.unchanged:
        say(f"{count(begun.unchanged, 'package')} there and unchanged.")
    if not (begun.run or begun.busy or begun.unchanged or begun.faults):
        say(_why_nothing(begun))
    elif not (begun.run or begun.busy or begun.faults):
        say("Nothing to do.")


def say_end(attended: Attended | None, removed: list[Removed], clean_up: bool) -> None:
    """What came of it."""
    from tidemill.cli.packing import in_short

    if attended is not None:
        tell(f"Packages: {in_short(attended)}.")
        failures = attended.failures()
        for failure in failures[:SHOWN]:
            tell(f"  ✕ {failure['name']}: {failure['reason']}")
        if len(failures) > SHOWN:
            tell(f"  … and {len(failures) - SHOWN:,} more")
        if attended.unfinished:
            runs = ", ".join(map(str, attended.unfinished))
            say(f"Run {runs} goes on where a worker is; the same command joins it again.")
    if clean_up:
        size = amount(sum(one.size for one in removed))
        say(
            f"Removed {count(len(removed), 'package')} from the site's folder, {size}."
            if removed
            else "Nothing to clean up."
        )


@contextmanager
def at_it(what: str, *, json: bool) -> Iterator[None]:
    """Show a person on a terminal that it goes on, where it may take a while: `Planning the packages`."""
    if json or not sys.stderr.isatty():
        yield
        return
    with err().status(f"{what} …"):
        yield


def may_ask(yes: bool, *, json: bool) -> bool:
    """Whether to go on to what takes something away: it was said already, or there is a person who saw what goes."""
    return yes or (sys.stdin.isatty() and not json)


def _tell_faults(begun: Begun) -> None:
    """What has to be mended, once for all packages that it keeps from being made."""
    alike: dict[str, list[LeftOut]] = {}
    for fault in begun.faults:
        alike.setdefault(fault.why, []).append(fault)
    for faults in alike.values():
        tell(f"✕ {faults[0].sentence()}")
        if more := len(faults) - 1:
            others = dict.fromkeys(fault.project or "the site" for fault in faults[1:])
            shown = ", ".join(list(others)[:WHOSE]) + (" …" if len(others) > WHOSE else "")
            tell(f"  … and the same of {more:,} more: of {shown}")
    if any("the metadata do not have" in why for why in alike):
        say("`tidemill load-data` loads the metadata first.")


def _tell_unseen(begun: Begun) -> None:
    """What could not be looked at."""
    for one in begun.unseen:
        tell(f"✕ {count(one.count, 'package')} could not be looked at, and counted as there: {one.why}")


def tell_checked(checked: Checked) -> None:
    """Which computed files are not in their stores as they should be."""
    for one in checked.unseen:
        tell(f"✕ {count(one.count, 'computed file')} could not be looked at: {one.why}")
    if checked.amiss:
        table(
            ["id#", "name", "size#", "key", "what is wrong"],
            ([one.id, one.name, amount(one.size), one.key, one.why] for one in checked.amiss),
            empty="",
        )
        say("`tidemill generate-computed-files` makes them again.")
    else:
        say(f"{count(checked.seen, 'computed file')} looked at: all are in their stores.")


def _why_nothing(begun: Begun) -> str:
    """Why there is nothing to pack."""
    from tidemill.publishing.planning import LOCKED

    locked = dict.fromkeys(one.project for one in begun.left_out if one.why == LOCKED and one.project)
    if locked and all(one.why == LOCKED for one in begun.left_out):
        shown = ", ".join(list(locked)[:WHOSE]) + (" …" if len(locked) > WHOSE else "")
        one = len(locked) == 1
        return (
            f"There is nothing to pack: {shown} {'is' if one else 'are'} locked, "
            f"and {'its' if one else 'their'} packages are left as they are."
        )
    return "There is nothing to pack: no package that the site declares has any files."


def say_rehearsal(begun: Begun) -> None:
    """What would be made, and why."""
    _tell_faults(begun)
    _tell_unseen(begun)
    if begun.due:
        tell(f"{count(len(begun.due), 'package')} of {amount(begun.size)} would be made, to {begun.store.url}:")
        table(
            ["name", "size#", "why"],
            ([one.name, amount(one.size), one.why] for one in begun.due[:SHOWN]),
            empty="",
        )
        _say_more(begun.due)
    if begun.busy:
        runs = ", ".join(str(run) for run in sorted({busy.run for busy in begun.busy}))
        say(f"{count(len(begun.busy), 'package')} in hand already, in run {runs}.")
    if begun.unchanged:
        say(f"{count(begun.unchanged, 'package')} there and unchanged.")
    if not begun.due:
        say("Nothing would be made.")
    say_left_over(begun)


def say_left_over(begun: Begun) -> None:
    """That there are packages which nothing calls for any more."""
    if begun.left_over:
        one = len(begun.left_over) == 1
        say(
            f"{count(len(begun.left_over), 'package')} left over: nothing calls for {'it' if one else 'them'} any more."
        )
        say("`tidemill purge-computed-files` says which and why, and takes them out of the offer.")


def tell_left_over(left: Sequence[LeftOver]) -> None:
    """Which packages nothing calls for any more, and why."""
    table(
        ["name", "size#", "downloads#", "in run#", "why"],
        ([one.name, amount(one.size) if one.size else "", one.downloads, one.run, one.why] for one in left[:SHOWN]),
        empty="",
    )
    _say_more(left)


def left_over_told(one: LeftOver) -> dict[str, Any]:
    """The same for programs."""
    return {key: getattr(one, key) for key in ("name", "package", "project", "why", "size", "downloads", "run")}


def _say_more(listed: Sequence[Any]) -> None:
    if len(listed) > SHOWN:
        tell(f"… and {len(listed) - SHOWN:,} more (--json lists all)")
