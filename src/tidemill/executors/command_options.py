"""What a site says of a command: its arguments, surroundings, limits, and what its exit codes mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.errors import InvalidInput
from tidemill.executors.templates import Placeholder, placeholders

GIVEN = ("input", "output", "file", "files", "item", "folder")
"""Placeholders that every command has; beside them the parameters of its step, its side inputs, and the record."""
RECORD = "metadata."

_TAKES_TEXT = re.compile(r"(?:ba|da|z|k|c|tc|fi)?sh|python[\d.]*|perl|ruby|node|awk", re.IGNORECASE)
_TEXT_FOLLOWS = re.compile(r"-[a-z]*[ce]", re.IGNORECASE)
"""The options of shells and interpreters behind which a program's text stands: `-c`, `-e`, `-lc`."""

Fault = tuple[tuple[str | int, ...], str]
"""Where in the app's table, and what is wrong there."""


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """As it stands in `app.options`, where what is not said is left out."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    """Where it is started; empty: in the attempt's own folder."""
    memory: int | None = None
    """Bytes that its processes may use together."""
    cpu_time: float | None = None
    """Seconds of processor time of each of its processes."""
    files: tuple[str, ...] = ()
    """Patterns: which files in the attempt's folder are kept."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Side inputs: name and path or URL, in which `{item}` and `{metadata.…}` may stand."""
    exit_retry: tuple[int, ...] | None = None
    """The only codes after which another try makes sense; None: all."""
    exit_skip: tuple[int, ...] = ()
    exit_bad: tuple[int, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CommandOptions:
        """From `app.options`. Raises InvalidInput where they hold what is none of these."""
        lists = ("command", "files", "exit_retry", "exit_skip", "exit_bad")
        given: dict[str, Any] = {key: tuple(value) if key in lists else value for key, value in options.items()}
        try:
            return cls(**given)
        except TypeError as error:
            raise InvalidInput(f"The command's options make no sense: {error}.") from None

    def wanted(self) -> list[Placeholder]:
        """All placeholders of the arguments and the environment. Raises InvalidInput for one that is none."""
        texts = [*self.command, *self.environment.values()]
        return [one for text in texts for one in placeholders(text)]

    def parameters(self) -> list[str]:
        """The placeholders that only a step's parameters can fill, each once."""
        names = (one.name for one in self.wanted())
        return list(dict.fromkeys(name for name in names if self._is_parameter(name)))

    def _is_parameter(self, name: str) -> bool:
        return name not in GIVEN and name not in self.inputs and not name.startswith(RECORD)


def command_faults(options: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with a command whatever the step that uses it."""
    if not options.get("command"):
        yield ("command",), 'lacks command; for example command = ["python", "cli.py", "{input}", "{output}"].'
        return
    said = CommandOptions.of(options)
    for position, argument in enumerate(said.command):
        yield from _text_faults(("command", position), argument)
    if not said.command[0]:
        yield ("command", 0), "command begins with nothing; its first text names the program."
    elif "{" in said.command[0].replace("{{", ""):
        yield ("command", 0), f"the program itself cannot be a placeholder, as {said.command[0]!r} is."
    yield from _program_faults(said.command)
    for name, value in said.environment.items():
        if not name or "=" in name or "\0" in name:
            yield ("environment", name), f"{name!r} is no name of an environment variable."
        yield from _text_faults(("environment", name), value)
    for name, where in said.inputs.items():
        yield from _text_faults(("inputs", name), where)
        if name in GIVEN or not name.isidentifier():
            yield ("inputs", name), f"a side input cannot be named {name!r}; take another word."
    for code in (*(said.exit_retry or ()), *said.exit_skip, *said.exit_bad):
        if not 1 <= code <= 255:
            yield ("exit_retry",), f"{code} is no exit code of a failure; they go from 1 to 255."


def _program_faults(command: tuple[str, ...]) -> Iterator[Fault]:
    """A placeholder in the text of a program is the one way in which a file's name could be read as commands."""
    if not _TAKES_TEXT.fullmatch(command[0].rpartition("/")[2]):
        return
    for position, argument in enumerate(command[2:], start=2):
        if _TEXT_FOLLOWS.fullmatch(command[position - 1]) and "{" in argument.replace("{{", ""):
            yield (
                ("command", position),
                f"{argument!r} has a placeholder in a program's text, where what it stands for would be read as "
                'commands; give it as an argument of its own: ["sh", "-c", \'wc -c "$1"\', "sh", "{file}"].',
            )


def _text_faults(place: tuple[str | int, ...], text: str) -> Iterator[Fault]:
    if "\0" in text:
        yield place, "has a NUL character, which no argument can hold."
    try:
        found = placeholders(text)
    except InvalidInput as error:
        yield place, error.message
        return
    for one in found:
        if one.argument is not None and one.name != "file":
            yield place, f"{one} has a pattern behind its colon, which only {{file:PATTERN}} has."


def command_metadata(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say of a command app, as apps say it of themselves: so a changed command is a new version."""
    parameters = [
        {"name": one, "type": "any", "description": f"{{{one}}} in the command"}
        for one in CommandOptions.of(options).parameters()
    ]
    return {"name": name, "command": dict(options), "parameters": parameters}
