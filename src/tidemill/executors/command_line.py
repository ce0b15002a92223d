"""From a command's texts with placeholders to its list of arguments and its environment. No shell is ever asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.errors import InvalidInput
from tidemill.executors.command_options import RECORD, CommandOptions, command_faults
from tidemill.executors.templates import Placeholder, from_record, parts, quoted_list, value_text

PASSED_ON = ("PATH", "HOME", "LANG")
"""All that a command gets of the worker's environment."""


@dataclass(frozen=True, slots=True)
class Values:
    """What the placeholders of one attempt stand for. `files`: by placeholder, as fetched for it."""

    input: str
    output: str
    folder: str
    item: str
    inputs: Mapping[str, str]
    files: Mapping[Placeholder, Sequence[str]]
    parameters: Mapping[str, Any]
    document: Mapping[str, Any]

    def of(self, one: Placeholder) -> list[str] | None:
        """The texts that a placeholder stands for; None where a parameter is null. Raises InvalidInput."""
        if one in self.files:
            return list(self.files[one])
        fixed = {"input": self.input, "output": self.output, "folder": self.folder, "item": self.item, **self.inputs}
        if one.name in fixed:
            return [fixed[one.name]]
        if one.name.startswith(RECORD):
            return _texts(from_record(self.document, one.name))
        if one.name not in self.parameters:
            known = quoted_list(sorted([*fixed, "file", "files", *self.parameters]))
            raise InvalidInput(f"The command has {one}, which its step does not give; there are: {known}.")
        value = self.parameters[one.name]
        return None if value is None else _texts(value)


def arguments(options: CommandOptions, values: Values) -> list[str]:
    """The argument list.

    A placeholder that stands for several texts repeats its whole argument; one that stands for none leaves it out.
    Raises InvalidInput for a placeholder that nothing fills, and for arguments that no program can take.
    """
    for _, fault in command_faults({"command": options.command}):
        raise InvalidInput(fault)
    made = [text for argument in options.command for text in _expanded(argument, values)]
    if any("\0" in text for text in made):
        raise InvalidInput("An argument has a NUL character in it, which no program can be given.")
    return made


def environment(options: CommandOptions, values: Values, scratch: str) -> dict[str, str]:
    """The whole environment: PATH, HOME and LANG of the worker, TMPDIR, and what the site says."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    said = {name: ",".join(_expanded(text, values)) for name, text in options.environment.items()}
    made = {"PATH": os.defpath, "LANG": "C.UTF-8"} | passed | {"TMPDIR": scratch} | said
    if any("\0" in text for text in made.values()):
        raise InvalidInput("An environment variable has a NUL character in it, which no program can be given.")
    return made


def _expanded(text: str, values: Values) -> list[str]:
    made = [""]
    several = False
    for part in parts(text):
        if isinstance(part, str):
            made = [one + part for one in made]
            continue
        found = values.of(part)
        if found is None:
            return []
        if len(found) != 1:
            if several:
                raise InvalidInput(f"{text!r} has two placeholders that stand for several texts; split it in two.")
            several = True
        made = [one + value for one in made for value in found]
    return made


def _texts(value: Any) -> list[str]:
    return [value_text(one) for one in value] if isinstance(value, list | tuple) else [value_text(value)]
