"""What a watching run asks of an item, as data: each clause names its SQL predicate and explains itself for one item.

As JSON (the site file's `[[watching]]` says the same):

    {"status": ["good"], "project": ["detector-a"], "require": ["conditions.volts"], "prefix": "ma22", "files": 1,
     "where": {"kind": "physics", "run": ["a", "b"], "conditions.temperature": {"min": 0, "max": 0.1},
               "shift": {"prefix": "night"}, "operator": {"pattern": "m*"}}}

Every part may be left out; then the status must be `good`, and nothing else is asked. An empty list of statuses allows
any. What is never asked for and must hold all the same: none of the item's projects is locked. A path leads into the
metadata with dots between its keys; a number in it counts the elements of a list, from 0.

The predicates are in `db/queries/condition.sql`; a test holds them and the explanations together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tidemill.domain.clauses import (
    Clause,
    Facts,
    Has,
    HasFiles,
    InProject,
    NameBegins,
    StatusIs,
    Unlocked,
    metadata_test,
)
from tidemill.domain.condition_parsing import read_parts
from tidemill.errors import InvalidInput

__all__ = ["Condition", "Facts", "exact"]


@dataclass(frozen=True, slots=True)
class Condition:
    """All of its clauses must hold."""

    status: tuple[str, ...] = ("good",)
    project: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    where: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Tests by path: `{"conditions.temperature": {"max": 0.1}}`."""
    prefix: str = ""
    files: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Condition:
        """Raises InvalidInput with every mistake, one a line."""
        parts, faults = read_parts(data)
        if faults:
            raise InvalidInput("\n".join(message for _, message in faults))
        return cls(**parts)

    @classmethod
    def stored(cls, text: str) -> Condition:
        """From the text of a condition that was checked when it was stored; its numbers stay exact."""
        return cls(**read_parts(exact(text))[0])

    def as_json(self) -> dict[str, Any]:
        """In one form, whatever form it came in."""
        made: dict[str, Any] = {"status": list(self.status)}
        for key in ("project", "require"):
            made |= {key: list(getattr(self, key))} if getattr(self, key) else {}
        if self.where:
            made["where"] = {path: dict(tests) for path, tests in self.where.items()}
        return made | ({"prefix": self.prefix} if self.prefix else {}) | ({"files": self.files} if self.files else {})

    def clauses(self) -> Iterator[Clause]:
        """What must hold, in the order in which a person would ask."""
        if self.status:
            yield StatusIs(self.status)
        yield Unlocked()
        if self.project:
            yield InProject(self.project)
        if self.prefix:
            yield NameBegins(self.prefix)
        if self.files:
            yield HasFiles(self.files)
        for path in self.require:
            yield Has(path)
        for path, tests in sorted(self.where.items()):
            for test, value in sorted(tests.items(), reverse=True):  # min before max
                yield metadata_test(path, test, value)

    def missed(self, item: Facts) -> list[str]:
        """Every reason why an item does not match; none: it does."""
        said = (clause.missed(item) for clause in self.clauses())
        return list(dict.fromkeys(reason for reason in said if reason))

    def in_words(self) -> list[str]:
        """What it asks, a phrase for each clause."""
        return [clause.in_words() for clause in self.clauses()]


def exact(text: str) -> Any:
    """JSON with its numbers as the database has them: int or Decimal."""
    return json.loads(text, parse_float=Decimal)
