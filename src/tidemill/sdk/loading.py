"""Loads files of steps, and says in the words of their author what is wrong with one."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from tidemill.errors import InvalidInput
from tidemill.sdk.calling import trace
from tidemill.sdk.capture import watch_streams
from tidemill.sdk.step import DeclaredStep, source_version

_OURS = str(Path(__file__).parents[1])


def load_steps(paths: Iterable[Path]) -> dict[str, DeclaredStep]:
    """The steps of some files by name. Each file's folder can be imported from, as when it is run with `python`.

    Raises InvalidInput: a file that is not there, does not run, holds no step; two steps of one name.
    """
    watch_streams()
    found: dict[str, DeclaredStep] = {}
    for path in paths:
        try:
            source = path.read_bytes()
        except OSError as error:
            raise InvalidInput(f"The steps in {path} cannot be read: {error.strerror}.") from error
        for name, step in load_source(path, source).items():
            if name in found and found[name] is not step:
                raise InvalidInput(f"There are two steps named {name}: in {found[name].file} and in {step.file}.")
            found[name] = step
    return found


def load_source(path: Path, source: bytes) -> dict[str, DeclaredStep]:
    """The steps of one file whose bytes are at hand. Raises InvalidInput."""
    path = path.absolute()
    module = _run(path, source)
    found: dict[str, DeclaredStep] = {}
    for step in vars(module).values():
        if not isinstance(step, DeclaredStep):
            continue
        if found.setdefault(step.name, step) is not step:
            raise InvalidInput(f"{path.name} has two steps named {step.name}.", hint='Give one @step(name="…").')
        own = step.file == path
        step.loaded_from, step.source = path, source
        step.version = step.given_version or source_version(source if own else _bytes(step.file, source))
    if not found:
        raise InvalidInput(
            f"{path.name} has no step.", hint="Write @step above a function at the top level of the file."
        )
    return found


def _run(path: Path, source: bytes) -> ModuleType:
    """The file as a module, which can be imported under its own name where that is free."""
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"tidemill_steps_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    lines = source.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[str(path)] = (len(source), None, lines, str(path))  # a traceback shows what was loaded
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - running it is what was asked for
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise InvalidInput(f"{path.name} could not be loaded:\n{_told(error)}") from error
    return module


def _told(error: BaseException) -> str:
    """Where it went wrong, from the file's own lines on, and what."""
    said = error.message if isinstance(error, InvalidInput) else ""
    lines = trace(error, lambda file: file.startswith((_OURS, "<frozen importlib"))).rstrip().splitlines()
    lines = lines[1:] if lines[:1] == ["Traceback (most recent call last):"] else lines
    if said:  # a mistake at @step: its place and our words, not our frames
        place = next((n for n, line in enumerate(lines) if _OURS in line), len(lines))
        lines = [*lines[:place], said]
    return "\n".join(lines)


def _bytes(file: Path, instead: bytes) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return instead
