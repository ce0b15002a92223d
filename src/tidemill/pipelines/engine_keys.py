"""The keys of `[[apps]]` that only commands and transfers have, and how they become `app.options`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tidemill.errors import InvalidInput
from tidemill.executors.command_options import GIVEN, CommandOptions, command_faults, command_metadata
from tidemill.executors.transfer_options import transfer_faults, transfer_metadata
from tidemill.pipelines.locations import has_home
from tidemill.pipelines.nearest import nearest
from tidemill.pipelines.quantities import seconds, size

Fault = tuple[tuple[str | int, ...], str]
"""Where in the app's table, and what is wrong there."""

COMMAND = frozenset(
    ("command", "environment", "folder", "memory", "cpu_time", "files", "inputs", "exit_retry", "exit_skip", "exit_bad")
)
_ENDS = ("endpoint", "region", "allow_http", "key_file", "known_hosts", "host_key")
TRANSFER = frozenset(("from", "to", "key", "files", "mode", "overwrite", "md5", "sha256", *_ENDS))
KEYS: Mapping[str, frozenset[str]] = {"command": COMMAND, "transfer": TRANSFER}
"""By kind; the other kinds have none of their own."""


class EngineKeys(BaseModel):
    """What `app.options` holds, as people write it. What is not given is left out there."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    command: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    folder: str = ""
    memory: Annotated[int, BeforeValidator(size), Field(gt=0)] | None = None
    cpu_time: Annotated[float, BeforeValidator(seconds), Field(gt=0)] | None = None
    files: list[str] = Field(default_factory=list)
    inputs: dict[str, str] = Field(default_factory=dict)
    exit_retry: list[int] | None = None
    exit_skip: list[int] = Field(default_factory=list)
    exit_bad: list[int] = Field(default_factory=list)
    from_: str = Field(default="", alias="from")
    to: str = ""
    key: str = "{key}"
    mode: str = "copy"
    overwrite: bool = False
    md5: str = ""
    sha256: str = ""
    endpoint: str = ""
    region: str = ""
    allow_http: bool = False
    key_file: str = ""
    known_hosts: str = ""
    host_key: str = ""

    def engine_options(self, kind: str) -> dict[str, Any]:
        """The keys of this kind that are given, as they are written."""
        given = self.model_dump(include=_FIELDS, exclude_defaults=True, by_alias=True)
        return {key: value for key, value in given.items() if key in KEYS.get(kind, ())}

    def misplaced(self, kind: str) -> Iterator[Fault]:
        """Keys that are given though apps of this kind do not have them."""
        for key in self.model_dump(include=_FIELDS & self.model_fields_set, by_alias=True):
            if key not in KEYS.get(kind, ()):
                whose = " and ".join(f"{other} apps" for other, keys in KEYS.items() if key in keys)
                yield (key,), f'{key} is a key of {whose}, and this one has kind = "{kind}".'


_FIELDS = set(EngineKeys.model_fields)


def located(
    kind: str, options: Mapping[str, Any], folder: Path, sources: Mapping[str, str]
) -> tuple[dict[str, Any], list[Fault]]:
    """Options with whole paths, taken from the site file's `folder`, and sources' URLs instead of their names."""
    made, faults = dict(options), list[Fault]()
    if kind == "command":
        if "folder" in made:
            made["folder"] = _path(made["folder"], folder)
        if "inputs" in made:
            made["inputs"] = {
                name: where if "://" in where else _path(where, folder) for name, where in made["inputs"].items()
            }
    if kind == "transfer":
        for end in ("from", "to"):
            if end in made:
                url = _end(made[end], folder, sources)
                if url is None:
                    faults.append(((end,), _no_source(end, made[end], sources)))
                made[end] = url or made[end]
    return made, faults + list(_homeless(kind, options, sources))


def _homeless(kind: str, options: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Fault]:
    """Paths that begin with the name of somebody who is not known here."""
    keys = ("folder",) if kind == "command" else ("from", "to") if kind == "transfer" else ()
    said: list[tuple[tuple[str | int, ...], str]] = [((key,), options[key]) for key in keys if key in options]
    if kind == "command":
        said += [(("inputs", name), where) for name, where in options.get("inputs", {}).items()]
    for place, text in said:
        if text not in sources and "://" not in text and not has_home(text):
            yield place, f"{place[-1]} is {text!r}, and there is no such person here."


def _path(text: str, folder: Path) -> str:
    return os.path.normpath(folder / (Path(text).expanduser() if has_home(text) else text))


def _end(text: str, folder: Path, sources: Mapping[str, str]) -> str | None:
    """The URL of one end of a transfer; None for what is neither a source nor a path."""
    if text in sources:
        return sources[text]
    if "://" in text:
        return text.rstrip("/")
    return Path(_path(text, folder)).as_uri() if "/" in text or text.startswith(("~", ".")) else None


def _no_source(end: str, text: str, sources: Mapping[str, str]) -> str:
    close = nearest(text, sources)
    known = ", ".join(sorted(sources)) or "none"
    right = f"did you mean {close!r}?" if close else f"sources of this file: {known}. A folder beside it is ./{text}"
    return f"{end} is {text!r}, which is no source of this file; {right}"


def option_faults(kind: str, options: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with an app's options whatever step uses it."""
    if kind == "command":
        return list(command_faults(options))
    if kind == "transfer":
        return list(transfer_faults(options))
    return [((), f"an app of kind {kind!r} has no options.")] if options else []


def unknown_placeholders(options: Mapping[str, Any], given: Sequence[str]) -> Iterator[Fault]:
    """Placeholders of a command that nothing fills. `given`: the parameters of all steps that use it."""
    try:
        wanted = CommandOptions.of(options).parameters()
    except InvalidInput:  # told already
        return
    known = [*GIVEN, *options.get("inputs", {}), *given]
    for name in wanted:
        close = nearest(name, known)
        if name in given or (not given and close is None):
            continue
        place: tuple[str | int, ...] = ("command",)
        for position, text in enumerate(options["command"]):
            if f"{{{name}" in text:
                place = ("command", position)
                break
        right = f"did you mean {{{close}}}?" if close else f"there are: {', '.join(f'{{{one}}}' for one in known)}."
        yield place, f"the command has {{{name}}}, which no step gives as a parameter; {right}"


def options_metadata(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say of an app whose whole description is its options; empty for other kinds."""
    made = {"command": command_metadata, "transfer": transfer_metadata}.get(kind)
    return made(name, options) if made else {}
