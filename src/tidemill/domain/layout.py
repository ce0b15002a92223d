"""Layout rules: patterns over the keys of a source that say which items and project a file belongs to.

A pattern is written as the key is, with placeholders, and must match the whole key:

- `{item}`, `{project}`, and any other name: one or more characters but no `/`; other names become attributes of the
  file;
- `{name:regex}`: what that regular expression matches, `{item:cpb-aacip-[^./]+}` for instance;
- `*`: any number of characters but no `/`; `**`: any number of characters;
- everything else stands for itself. A name that stands twice must match the same text twice.

The first rule that matches decides. A key that none matches belongs to nothing, and is reported. A file need not belong
to an item: it may be a project's (`{project}/bulk/*`), or the whole collection's, told by its attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tidemill.errors import InvalidInput

_WORD = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class LayoutRule:
    """One rule. `project` and `attributes` hold for all files that match; `ignore`: they are left out."""

    pattern: str
    project: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    ignore: bool = False
    split: str = ""
    """Where `{item}` names several items: what stands between their names."""
    lock: bool = False
    """A file that matches locks its project for as long as it is there."""

    def as_json(self) -> dict[str, Any]:
        """As the site file has it: only what is not at its default."""
        made: dict[str, Any] = {"pattern": self.pattern}
        if self.project is not None:
            made["project"] = self.project
        if self.attributes:
            made["attributes"] = dict(self.attributes)
        if self.split:
            made["split"] = self.split
        return made | {key: True for key in ("ignore", "lock") if getattr(self, key)}


class Place(NamedTuple):
    """Where a file belongs, and the attributes read off its key."""

    items: tuple[str, ...]
    project: str | None
    attributes: dict[str, Any]
    lock: bool = False


class Layout:
    """The rules of one source, ready to be asked. Raises InvalidInput for a rule that says nothing sensible."""

    def __init__(self, rules: Sequence[LayoutRule]) -> None:
        self.rules = list(rules)
        self._compiled = [_Compiled.of(rule) for rule in rules]

    @classmethod
    def from_json(cls, layout: Mapping[str, Any]) -> Layout:
        """From `source.layout`: `{"rules": [{"pattern", "project", "attributes", "ignore", "split", "lock"}]}`."""
        return cls([LayoutRule(**rule) for rule in layout.get("rules", [])])

    def place(self, key: str) -> Place | None:
        """Where the file of this key belongs; None where a rule leaves it out. Raises LookupError: no rule matches."""
        for compiled in self._compiled:
            if compiled.literal in key and (match := compiled.match(key)):
                return compiled.place(match.groupdict())
        raise LookupError(key)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule that is asked a million times."""

    rule: LayoutRule
    match: Callable[[str], re.Match[str] | None]
    literal: str
    """What every key that matches has in it. Asked first, since it costs a tenth of the pattern."""

    @classmethod
    def of(cls, rule: LayoutRule) -> _Compiled:
        pattern = compile_pattern(rule)
        return cls(rule, pattern.fullmatch, max(_literals(rule.pattern), key=len))

    def place(self, found: dict[str, str | Any]) -> Place | None:
        """Where a key belongs in which these placeholders have these values."""
        rule = self.rule
        if rule.ignore:
            return None
        item, project = found.pop("item", None), found.pop("project", None)
        if None in found.values():  # groups within a placeholder's expression that took no part
            found = {name: text for name, text in found.items() if text is not None}
        return Place(
            _items(item, rule.split),
            project if rule.project is None else rule.project,
            {**rule.attributes, **found} if rule.attributes else found,
            rule.lock,
        )


def _items(name: str | None, split: str) -> tuple[str, ...]:
    if name is None:
        return ()
    return tuple(dict.fromkeys(one for one in name.split(split) if one)) if split else (name,)


def compile_pattern(rule: LayoutRule) -> re.Pattern[str]:
    """The regular expression of a rule's pattern. Raises InvalidInput that says what is wrong with it."""
    if not rule.pattern:
        raise InvalidInput("An empty pattern matches nothing.", hint="For example: pattern = '{item}.mp4'")
    try:
        made = re.compile("".join(_parts(rule.pattern)), re.DOTALL)
    except re.error as error:
        raise InvalidInput(f"Pattern {rule.pattern!r} is not valid: {error}.") from None
    names = made.groupindex
    belongs = "item" in names or "project" in names or rule.project is not None
    if not rule.ignore and not belongs and not rule.attributes:
        raise InvalidInput(
            f"Pattern {rule.pattern!r} does not say what a file belongs to.",
            hint="Put {item} or {project} where their names stand, give it attributes, or set ignore = true.",
        )
    if rule.lock and "project" not in names and rule.project is None:
        raise InvalidInput(f"Pattern {rule.pattern!r} locks, but names no project.", hint="For example {project}.lock")
    if rule.split and "item" not in names:
        raise InvalidInput(f"Pattern {rule.pattern!r} has split = {rule.split!r}, but no {{item}} to split.")
    if rule.project is not None and "project" in made.groupindex:
        raise InvalidInput(f"Pattern {rule.pattern!r} has {{project}}, and the rule names the project as well.")
    return made


def _parts(pattern: str) -> list[str]:
    seen: set[str] = set()
    parts: list[str] = []
    for literal, piece in _pieces(pattern):
        if literal:
            parts.append(re.escape(piece))
        elif piece[0] == "{":
            parts.append(_placeholder(pattern, piece[1:-1], seen))
        else:
            parts.append(".*" if piece == "**" else "[^/]*")
    return parts


def _literals(pattern: str) -> list[str]:
    """The texts that stand between placeholders and wildcards; an empty one at least."""
    return ["", *(piece for literal, piece in _pieces(pattern) if literal)]


def _pieces(pattern: str) -> Iterator[tuple[bool, str]]:
    """What a pattern consists of, in order: whether it stands for itself, and the text."""
    at = start = 0
    while at < len(pattern):
        if pattern[at] == "{":
            end = _closing(pattern, at) + 1
        elif pattern[at] == "*":
            end = at + (2 if pattern.startswith("**", at) else 1)
        else:
            at += 1
            continue
        yield from [(True, pattern[start:at])] if at > start else []
        yield False, pattern[at:end]
        at = start = end
    if at > start:
        yield True, pattern[start:]


def _closing(pattern: str, start: int) -> int:
    """Where the brace that opens at `start` closes; braces of a regular expression within count."""
    depth = 0
    for at in range(start, len(pattern)):
        depth += (pattern[at] == "{") - (pattern[at] == "}")
        if depth == 0:
            return at
    raise InvalidInput(f"Pattern {pattern!r} opens a {{ at character {start + 1} and never closes it.")


def _placeholder(pattern: str, inside: str, seen: set[str]) -> str:
    name, _, regex = inside.partition(":")
    if not _WORD.fullmatch(name):
        raise InvalidInput(
            f"Pattern {pattern!r} has {{{inside}}}, but {name!r} is not a name.",
            hint="A name is lower-case letters, digits and _, for example {item} or {tape_side}.",
        )
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    return f"(?P<{name}>{regex or '[^/]+'})"
