"""Every command, option, exit code and setting has its place in the reference; and the reference names no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tidemill import errors
from tidemill.cli.application import with_commands
from tidemill.cli.exits import BY_KIND, Exit
from tidemill.errors import TidemillError
from tidemill.settings import Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
CLI = (REFERENCE / "cli.md").read_text(encoding="utf-8")
SECTIONS = {
    " ".join(word for word in section.splitlines()[0].split() if re.fullmatch(r"[a-z]+(-[a-z]+)*", word)): section
    for section in CLI.partition("\n## Commands\n")[2].partition("\n## What")[0].split("\n### ")[1:]
}


def commands(command: Any, path: str = "tidemill") -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below or command.invoke_without_command:
        yield path, command
    for name, one in below.items():
        yield from commands(one, f"{path} {name}")


ALL = dict(commands(typer.main.get_command(with_commands())))


def options(command: Any) -> set[str]:
    return {
        name
        for one in command.params
        if not getattr(one, "hidden", False)
        for name in (*one.opts, *one.secondary_opts)
        if name.startswith("--") and name != "--help"
    }


def test_the_reference_has_each_command_and_no_other() -> None:
    assert set(SECTIONS) == set(ALL)


@pytest.mark.parametrize("path", sorted(ALL))
def test_a_commands_options_are_described(path: str) -> None:
    named = set(re.findall(r"`(--[a-z0-9-]+)`", "\n".join(re.findall(r"^\| ([^|]*) \|", SECTIONS[path], re.MULTILINE))))
    assert named == options(ALL[path])
    assert ALL[path].help


def test_the_global_options_are_described() -> None:
    (given,) = (command for command in [typer.main.get_command(with_commands())])
    head = CLI.partition("\n## ")[0]
    assert options(given) <= set(re.findall(r"`(--[a-z-]+)`", head))


def test_every_command_with_json_says_what_it_prints() -> None:
    told = CLI.partition("## What `--json` prints")[2]
    cells = " ".join(re.findall(r"^\| ([^|]*) \|", told, re.MULTILINE))
    for path, command in ALL.items():
        if "--json" in options(command):
            words = path.split()[1:]
            assert re.search(rf"`{' '.join(words)}`|`{words[0]} [^|]*`{words[-1]}`", cells), path


def test_exit_codes_are_those_of_the_program() -> None:
    table = CLI.partition("## Exit codes")[2].partition("## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == set(Exit)


def test_every_kind_of_error_has_an_exit_code() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TidemillError)}
    placed = tuple(kind for kind, _ in BY_KIND)
    assert {kind for kind in kinds if not issubclass(kind, placed)} == {TidemillError}


def test_every_setting_is_described_with_its_default() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `TIDEMILL_(\w+)` \| `(.*?)` \|", page, re.MULTILINE))
    wanted = {name.upper(): _default(field.default) for name, field in Settings.model_fields.items()}
    assert told == wanted


def _default(value: Any) -> str:
    if value is None:
        return "unset"
    return json.dumps(value) if isinstance(value, list | bool) else str(value)
