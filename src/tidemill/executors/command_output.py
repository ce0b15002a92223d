"""What a command's end amounts to: its exit code, what it wrote, and the document that the step puts out."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from tidemill.domain import record_document
from tidemill.domain.mmif_answer import check_answer, is_mmif
from tidemill.errors import InvalidInput
from tidemill.executors.command_options import CommandOptions
from tidemill.executors.command_process import Ending, Order
from tidemill.executors.contract import AppCall, Done, Failed, KeptFile, Outcome, Skipped, Unavailable, Work
from tidemill.executors.templates import quoted_list


def verdict(
    work: Work, options: CommandOptions, order: Order, ending: Ending, last_line: str, log: str
) -> Outcome | None:
    """The outcome where the command did not end well, None where it did."""
    if ending.not_started:
        return Unavailable(f"The command {order.arguments[0]!r} cannot be started: {ending.not_started}.")
    if ending.timed_out:
        return Failed(
            f"The command did not finish within its deadline of {span(work.app.deadline)}.", log, timed_out=True
        )
    if ending.code is None:
        return Failed(f"The command {_killed(order, ending)}.", log)
    if ending.code == 0:
        return None
    said = f": {last_line[:1000]}" if last_line else ", and said nothing."
    if ending.code in options.exit_skip:
        return Skipped(last_line[:1000] or f"The command exited with {ending.code}.", log)
    if ending.code in options.exit_bad:
        reason = last_line[:1000] or f"The command exited with {ending.code}."
        return Failed(reason, log, retry=False, status="bad")
    retry = options.exit_retry is None or ending.code in options.exit_retry
    return Failed(f"The command exited with {ending.code}{said}", log, retry=retry)


def _killed(order: Order, ending: Ending) -> str:
    if ending.killed_for == "memory" and order.memory:
        return f"was killed: it used more than its {amount(order.memory)} of memory"
    if ending.signal is None:
        return "was killed together with the process that minds it"
    name = str(ending.signal)
    with suppress(ValueError):
        name = signal.Signals(ending.signal).name
    if order.cpu_time and (name == "SIGXCPU" or (name == "SIGKILL" and ending.processor >= order.cpu_time)):
        return f"was killed: it used more than its {span(order.cpu_time)} of processor time"
    guess = ", perhaps because the machine had no memory left" if name == "SIGKILL" else ""
    return f"was killed by {name}{guess}"


def read_output(app: AppCall, path: Path, stdout: bytes) -> tuple[bytes, dict[str, Any], bool]:
    """The output as it was written and as a table, and whether it came from standard output.

    A JSON object in the file, else on standard output, else nothing: `{}`. Raises InvalidInput where the file holds
    something else or is too long. Blocking.
    """
    if path.is_file() and path.stat().st_size:
        if path.stat().st_size > app.max_answer:
            raise InvalidInput(f"The command wrote an output of more than {amount(app.max_answer)}.")
        body = path.read_bytes()
        try:
            output = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"The command's output is no JSON: {error}.") from None
        if not isinstance(output, dict):
            raise InvalidInput(f"The command's output is no JSON object, but {_kind(output)}.")
        return body, output, False
    with suppress(orjson.JSONDecodeError):
        output = orjson.loads(stdout)
        if isinstance(output, dict):
            return stdout, output, True
    return b"{}", {}, False


def done(
    work: Work, document: Mapping[str, Any], body: bytes, output: dict[str, Any], files: Sequence[KeptFile], log: str
) -> Done | Failed:
    """The step's result: one entry more in a record document; for MMIF and other documents what the command wrote."""
    if record_document.is_one(document):
        entry = {"name": work.step, "app": work.app.name, "version": work.app.version, "output": output}
        listed = [{"name": f.name, "size": f.size, "sha256": f.sha256, "url": f.url} for f in files]
        return Done(record_document.with_step(document, entry | {"files": listed}), log, files=tuple(files))
    if is_mmif(document):
        answer = check_answer(dict(document), body)
        said = "\n".join(filter(None, [answer.log, log]))
        if answer.problem is not None:
            return Failed(
                answer.problem,
                said,
                retry=answer.retry or not answer.is_mmif,
                document=body if answer.is_mmif else None,
            )
        return Done(body, said, answer.app_version, files=tuple(files))
    return Done(body, log, files=tuple(files))


def kept_paths(folder: Path, patterns: Sequence[str]) -> list[tuple[Path, str]]:
    """The files in a folder that fit the patterns, with the names that they are kept under. Links are left out.

    Raises InvalidInput where there are patterns and nothing fits: what the step made would be lost unseen. Blocking.
    """
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file() and not path.is_symlink()}
    inside = sorted(path for path in found if path.resolve().is_relative_to(folder.resolve()))
    if patterns and not inside:
        here = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        raise InvalidInput(
            f"The command left no file that fits {quoted_list(patterns)} in {{folder}}; there: {quoted_list(here)}."
        )
    return [(path, path.relative_to(folder).as_posix()) for path in inside]


def amount(size: int) -> str:
    """Bytes as people write them: `2 GB`."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} bytes"


def span(seconds: float) -> str:
    """Seconds as people write them: `1 h`, `90 s`."""
    for unit, factor in (("h", 3600), ("min", 60)):
        if seconds >= factor and seconds % factor == 0:
            return f"{seconds / factor:g} {unit}"
    return f"{seconds:g} s"


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
