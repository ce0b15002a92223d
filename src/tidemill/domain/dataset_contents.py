"""What a person gathers into a dataset, as the API writes it.

`{project: {part: [items] | word, "includes_x": bool}}`: of each project, of each part (a modality, say, or the name of
a package) these items, or with a word what the project has of it as one (`"MERGED"`); and with `includes_x` files of
the project itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.errors import InvalidFields

INCLUDES = "includes_"
MOST_FAULTS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """One part of one project: some of its items, or (`word`) what it has of that as one."""

    name: str
    items: tuple[str, ...] = ()
    word: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of one project. `includes`: the words behind `includes_`."""

    project: str
    parts: tuple[Part, ...]
    includes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something that is wanted cannot be had: an item of a part of a project; the part where `item` is empty, the
    whole project where both are."""

    project: str
    words: str
    part: str = ""
    item: str = ""

    def __str__(self) -> str:
        place = f"{self.project}.{self.part}" if self.part else self.project
        return f"{place}: {self.item} {self.words}" if self.item else f"{place}: {self.words}"


class ContentsRefused(InvalidFields):
    """Some of what a dataset should hold cannot be had."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__({"data": shortened([str(one) for one in faults])})


def read_contents(data: Any) -> list[Wanted]:
    """What is wanted, project by project in order of name; parts without items are left out.

    Raises InvalidFields that names everything which does not have that shape.
    """
    if not isinstance(data, Mapping):
        raise InvalidFields({"data": ["Must be an object: {project: {part: [names]}}."]})
    faults = [fault for project, parts in data.items() for fault in _faults(project, parts)]
    if faults:
        raise InvalidFields({"data": shortened(faults)})
    found = (_wanted(project, data[project]) for project in sorted(data))
    return [one for one in found if one.parts or one.includes]


def shortened(faults: list[str]) -> list[str]:
    """The first hundred, and how many more."""
    more = len(faults) - MOST_FAULTS
    return faults[:MOST_FAULTS] + ([f"… and {more} more."] if more > 0 else [])


def _faults(project: str, parts: Any) -> Iterator[str]:
    if "\0" in project:
        yield "A name has a character in it that no name has."
        return
    if not isinstance(parts, Mapping):
        yield f"{project}: must be an object: {{part: [names]}}."
        return
    for name, value in parts.items():
        if name.startswith(INCLUDES):
            if not isinstance(value, bool):
                yield f"{project}.{name}: must be true or false."
        elif isinstance(value, list):
            if not all(isinstance(one, str) for one in value):
                yield f"{project}.{name}: must be a list of names."
            elif twice := sorted(one for one, times in Counter(value).items() if times > 1):
                yield f"{project}.{name}: has {', '.join(twice[:5])} twice."
        elif not isinstance(value, str) or not value:
            yield f"{project}.{name}: must be a list of names, or a word such as MERGED."


def _wanted(project: str, parts: Mapping[str, Any]) -> Wanted:
    found = []
    for name in sorted(parts):
        value = parts[name]
        if isinstance(value, str):
            found.append(Part(name, word=value))
        elif isinstance(value, list) and value:
            found.append(Part(name, items=tuple(sorted(set(value)))))
    includes = (name.removeprefix(INCLUDES) for name in sorted(parts) if name.startswith(INCLUDES) and parts[name])
    return Wanted(project, tuple(found), tuple(includes))
