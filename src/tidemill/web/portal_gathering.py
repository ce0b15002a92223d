"""Putting many items into a basket at once: what comes in, what is there already, and what cannot be had, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.db.database import Row
from tidemill.domain.dataset_contents import Fault
from tidemill.web import portal_basket
from tidemill.web.portal_basket import Contents, Declared

NAMED = 12
"""Names that a sentence tells, of those that cannot be had."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that somebody wants. `projects`: where it can be taken from, the likeliest first; `why`: what forbids
    it."""

    name: str
    projects: Sequence[str]
    files: Sequence[Row]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of them: the basket's contents then, and names."""

    contents: dict[str, Any]
    came: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    cannot: dict[str, str] = field(default_factory=dict)
    """Why not, by name."""

    def told(self, one: str, many: str) -> str:
        """In a sentence or some. `one`, `many`: the site's words for an item."""

        def counted(names: Sequence[str]) -> str:
            return f"{len(names):,} {one if len(names) == 1 else many}"

        said = [f"{counted(self.came)} came into your basket." if self.came else "Nothing came in."]
        if self.there:
            said.append(f"{counted(self.there)} {'was' if len(self.there) == 1 else 'were'} in it already.")
        for why in dict.fromkeys(self.cannot.values()):
            names = [name for name, reason in self.cannot.items() if reason == why]
            more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
            said.append(f"{counted(names)} cannot be had ({why}): {', '.join(names[:NAMED])}{more}.")
        if self.came:
            number = portal_basket.count(self.contents)
            said.append(f"It has {number:,} {'thing' if number == 1 else 'things'} in it now.")
        return " ".join(said)


def likeliest_format(candidates: Sequence[Candidate], parts: Iterable[str], known: Declared) -> str:
    """The format that most of these can be had in; of several the first."""
    wanted = list(parts)

    def had(form: str) -> int:
        return sum(any(portal_basket.fits(one.files, part, form, known) for part in wanted) for one in candidates)

    return max(known.formats, key=had, default="")


def gathered(
    contents: Contents, candidates: Iterable[Candidate], parts: Sequence[str], form: str, known: Declared
) -> Outcome:
    """The contents with these parts of all candidates that can be had in this format."""
    made = Outcome(dict(contents))
    more: dict[tuple[str, str], list[str]] = {}
    held = _held(contents)
    for one in candidates:
        if one.why or not one.projects:
            made.cannot[one.name] = one.why or "in nothing that is shown"
            continue
        fitting = [part for part in parts if portal_basket.fits(one.files, part, form, known)]
        fresh = [part for part in fitting if not any(_has(held, project, part, one.name) for project in one.projects)]
        for part in fresh:
            more.setdefault((one.projects[0], part), []).append(one.name)
        if fresh:
            made.came.append(one.name)
        elif fitting:
            made.there.append(one.name)
        else:
            made.cannot[one.name] = f"nothing is there as {form.replace('_', ' ')}" if form else "nothing is packed"
    result: Mapping[str, Any] = contents
    for (project, part), names in more.items():
        result = portal_basket.with_items(result, project, part, names)
    return Outcome(dict(result), made.came, made.there, made.cannot)


def refused(candidates: Sequence[Candidate], faults: Iterable[Fault]) -> list[Candidate]:
    """The candidates once more, those forbidden that the faults of a dataset tell of: of an item, or of all that is
    wanted of its project."""
    whys: dict[tuple[str, str], str] = {}
    for fault in faults:
        whys.setdefault((fault.project, fault.item), fault.words.strip(" ."))

    def why(one: Candidate) -> str:
        project = one.projects[0] if one.projects else ""
        return one.why or whys.get((project, one.name)) or whys.get((project, ""), "")

    return [replace(one, why=why(one)) for one in candidates]


def _held(contents: Contents) -> Mapping[tuple[str, str], frozenset[str] | None]:
    """By project and part the names that are in a basket; None where the part is taken as one."""
    return {
        (project, part): frozenset(value) if isinstance(value, list) else None
        for project, parts in contents.items()
        for part, value in parts.items()
        if isinstance(value, list | str)
    }


def _has(held: Mapping[tuple[str, str], frozenset[str] | None], project: str, part: str, name: str) -> bool:
    if (project, part) not in held:
        return False
    names = held[project, part]
    return names is None or name in names
