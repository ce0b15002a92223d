"""One attempt in a process of its own: `python -m tidemill.sdk.child FD`, started by the `python` engine.

Over the socket FD go frames of an 8-byte length (big-endian) and so much JSON. First comes the job; then the child
sends `{"progress"}` and `{"fetch": url}` (answered with `{"path"}` or `{"error"}`), and at last `{"ending"}`. What it
prints is the log. It dies with its parent, and with it all that the step started (on Linux see `minding.py`).
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from tidemill.errors import InvalidInput
from tidemill.sdk.calling import Ending, call, raised
from tidemill.sdk.capture import LOG_FORMAT
from tidemill.sdk.item import Item
from tidemill.sdk.loading import load_source
from tidemill.sdk.minding import minded
from tidemill.sdk.task import Task


class Line:
    """The child's end of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        with self._sending:
            self._socket.sendall(len(body).to_bytes(8, "big") + body)

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the parent is gone."""
        head = self._read(8)
        body = None if head is None else self._read(int.from_bytes(head, "big"))
        message: dict[str, Any] | None = None if body is None else json.loads(body)
        return message

    def _read(self, size: int) -> bytes | None:
        pieces, left = [], size
        while left:
            piece = self._socket.recv(min(left, 1 << 20))
            if not piece:
                return None
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def listen(self) -> None:
        """Pass answers on until the parent is gone; then nobody wants the result: end, with all that was started."""
        try:
            while (message := self.receive()) is not None:
                self._answers.put(message)
        finally:
            if os.getpgrp() == os.getpid():  # there is no minder that would do so
                os.killpg(0, signal.SIGKILL)
            os._exit(1)

    def fetch(self, url: str) -> Path:
        """Ask the parent for a file that lies elsewhere."""
        with self._asking:
            self.send({"fetch": url})
            answer = self._answers.get()
        if "error" in answer:
            raise OSError(answer["error"])
        return Path(answer["path"])

    def fetching(self, url: str) -> Awaitable[Path]:
        import asyncio

        return asyncio.to_thread(self.fetch, url)

    def progress(self, fraction: float) -> None:
        self.send({"progress": fraction})

    def write(self, text: str) -> None:
        sys.stdout.write(text)


def main() -> None:
    """Do the job that comes over the socket."""
    if sys.platform == "linux":
        minded(int(sys.argv[1]))
    line = Line(int(sys.argv[1]))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    job = line.receive()
    if job is None:
        return
    threading.Thread(target=line.listen, daemon=True).start()
    ending = _ending(line, job)
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)  # what libraries in C have printed
    line.send({"ending": dataclasses.asdict(ending)})
    os._exit(0)  # what the step left running, threads and all, is not waited for


def _ending(line: Line, job: dict[str, Any]) -> Ending:
    try:
        steps = load_source(Path(job["file"]), job["source"].encode("latin-1"))
    except InvalidInput as error:
        return Ending("raised", error.message.partition("\n")[0], error.message)
    step = steps[job["step"]]
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    task = Task(
        job["key"],
        job["parameters"],
        Path(job["folder"]),
        {name: Path(path) for name, path in job["inputs"].items()},
        line,
    )
    try:
        ending = call(step, Item(job["item"], json.loads(job["document"]), line), task)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent hears of it
        ending = raised(error)
    ending.version = step.version
    return ending


if __name__ == "__main__":
    main()
