"""An attempt in a process of its own: whatever becomes of that process, the worker lives on and says what it was.

The other end is `sdk/child.py`, with `sdk/minding.py` between.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

from tidemill.executors.python_log import LogBook
from tidemill.sdk import minding
from tidemill.sdk.calling import Ending
from tidemill.sdk.item import Fetcher
from tidemill.sdk.step import DeclaredStep

_DRAIN = 2.0
"""Seconds that what a dead process left in its pipe is waited for; something that it started may hold the pipe open."""


async def in_child(step: DeclaredStep, job: dict[str, Any], fetcher: Fetcher, log: LogBook) -> Ending:
    """Do the job in a child; when this is cancelled, or past its deadline, the child and all it started are killed."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "tidemill.sdk.child", str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        assert process.stdout is not None
        listening = asyncio.create_task(_listen(process.stdout, log.write))
        try:
            reader, writer = await asyncio.open_connection(sock=ours)
            about = {"file": str(step.loaded_from), "source": step.source.decode("latin-1"), "step": step.name}
            ending = await _talk(reader, writer, about | job, fetcher, log)
            if ending is None:
                return _died(step, await process.wait())
            await process.wait()
            return ending
        finally:
            await _end(process)
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN):
                    await listening
            await process.wait()


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, job: dict[str, Any], fetcher: Fetcher, log: LogBook
) -> Ending | None:
    """Hand the job over and hear the child out; None if it ends without saying how it went."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        await _send(writer, job)
        while True:
            size = int.from_bytes(await reader.readexactly(8), "big")
            message = orjson.loads(await reader.readexactly(size))
            if "ending" in message:
                return Ending(**message["ending"])
            if "fetch" in message:
                await _send(writer, await _fetched(fetcher, message["fetch"]))
            else:
                log.progress(message["progress"])
    return None


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    body = orjson.dumps(message)
    writer.write(len(body).to_bytes(8, "big") + body)
    await writer.drain()


async def _fetched(fetcher: Fetcher, url: str) -> dict[str, str]:
    try:
        return {"path": str(await fetcher.fetching(url))}
    except OSError as error:
        return {"error": str(error)}


async def _listen(stream: asyncio.StreamReader, write: Callable[[str], None]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while piece := await stream.read(1 << 16):
        write(decoder.decode(piece))
    write(decoder.decode(b"", final=True))


async def _end(process: asyncio.subprocess.Process) -> None:
    """The minder kills all that the step started; where there is none, or it hangs, what is in its group is killed."""
    if sys.platform == "linux":
        with suppress(ProcessLookupError, TimeoutError):
            process.send_signal(minding.END)
            async with asyncio.timeout(minding.LAST_RITES + 1):
                await process.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _died(step: DeclaredStep, code: int) -> Ending:
    if code >= 0:
        return Ending("raised", f"The process of {step.name} ended with exit code {code} before the step was finished.")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    perhaps = " (was the machine out of memory?)" if -code == signal.SIGKILL else ""
    return Ending("raised", f"The process of {step.name} was killed by {name}{perhaps} before the step was finished.")
