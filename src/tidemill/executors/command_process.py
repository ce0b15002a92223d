"""One command's processes from the worker's side: the minder between them, both outputs, the deadline."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tidemill.executors import command_minder
from tidemill.executors.command_log import Listener

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
LAST_WORDS = 2.0
"""Seconds in which both outputs must be at their end once the command is over."""
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """What to run and where. `memory` in bytes, `cpu_time` and `deadline` in seconds; None: no limit."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    result: Path
    deadline: float
    memory: int | None = None
    cpu_time: float | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended: by exit `code`, by `signal`, not started at all, or (nothing of these) with its minder killed."""

    code: int | None = None
    signal: int | None = None
    not_started: str = ""
    killed_for: str = ""
    """`memory` or `stopped`, where it was killed."""
    processor: float = 0.0
    """Seconds of processor time."""
    timed_out: bool = False


async def run(order: Order, listener: Listener) -> Ending:
    """Run a command to its end or its deadline. Cancelled, it is stopped first; killed, nothing of it survives.

    Raises OSError where this machine cannot make another process.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", command_minder.__file__,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath}, cwd="/", start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    over = asyncio.create_task(process.wait())
    hearing = [
        asyncio.create_task(_pump(process.stdout, listener.hear_out)),
        asyncio.create_task(_pump(process.stderr, listener.hear_err)),
    ]
    try:
        _say(process.stdin, _written(order) + b"\n")
        await asyncio.wait({over}, timeout=order.deadline)
        timed_out = not over.done()
        if timed_out:
            await _stop(process, over)
        await asyncio.wait(hearing, timeout=LAST_WORDS)
        return _ending(order.result, timed_out)
    except asyncio.CancelledError:
        await _stop(process, over)
        raise
    finally:
        process.stdin.close()  # whatever is left is killed by the minder now
        for one in hearing:
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({over}, timeout=LAST_WORDS)


async def _pump(stream: asyncio.StreamReader, hear: Callable[[bytes], None]) -> None:
    while chunk := await stream.read(_CHUNK):
        hear(chunk)
        await asyncio.sleep(0)  # a command that never stops talking must not keep the worker from its other work


async def _stop(process: asyncio.subprocess.Process, over: asyncio.Task[int]) -> None:
    assert process.stdin is not None
    _say(process.stdin, b"stop\n")
    await asyncio.wait({over}, timeout=GRACE + command_minder.LAST_RITES)


def _say(pipe: asyncio.StreamWriter, words: bytes) -> None:
    if not pipe.is_closing():
        pipe.write(words)


def _written(order: Order) -> bytes:
    import json  # orjson takes no file names that are not UTF-8

    told = {
        "arguments": list(order.arguments),
        "environment": dict(order.environment),
        "folder": str(order.folder),
        "memory": order.memory,
        "cpu_time": order.cpu_time,
        "grace": GRACE,
        "result": str(order.result),
    }
    return json.dumps(told).encode()


def _ending(path: Path, timed_out: bool) -> Ending:
    try:
        told: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return Ending(timed_out=timed_out)
    return Ending(
        code=told.get("exit"),
        signal=told.get("signal"),
        not_started=told.get("not_started", ""),
        killed_for=told["killed_for"],
        processor=told["processor"],
        timed_out=timed_out,
    )
