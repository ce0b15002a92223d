"""`tidemill` commands as processes that need not import it first: forked from one that has.

`Forge()` is the client. A command has a process of its own, with its environment, folder and files; what differs from
the real program is the second that imports take. Commands that stay, and those on a terminal, are the real program.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, NoReturn

LARGEST = 1 << 20


class Forge:
    """Starts the forge at the first command, and ends it with this process."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def run(self, words: list[str], environment: dict[str, str], stdio: tuple[int, int, int], timeout: float) -> int:
        """Run a command to its end; its exit code, negative for a signal. `stdio`: its three files."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                wish = json.dumps({"words": words, "environment": environment, "folder": str(Path.cwd())}).encode()
                with self._lock:
                    socket.send_fds(self._begun(), [wish], [theirs.fileno(), *stdio])
            ours.settimeout(timeout)
            answer = ours.recv(64)
        if not answer:
            raise RuntimeError("the forge died")
        return int(answer)

    def _begun(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
            with theirs:
                subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        return self._socket


def _serve(wishes: socket.socket) -> None:
    """Fork a process for every wish that comes, and tell each one's client how it ended, until the clients are gone."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    clients: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(wishes, selectors.EVENT_READ)
        selector.register(reading, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wishes:
                    message, files, _, _ = socket.recv_fds(wishes, LARGEST, 4)
                    if not message:
                        return
                    pid = os.fork()
                    if pid == 0:
                        _become(json.loads(message), files)
                    clients[pid] = socket.socket(fileno=files[0])
                    for file in files[1:]:
                        os.close(file)
                else:
                    os.read(reading, 4096)
                    _reap(clients)


def _reap(clients: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with clients.pop(ended[0]) as client, suppress(OSError):
                client.send(str(os.waitstatus_to_exitcode(ended[1])).encode())


def _become(wish: dict[str, Any], files: list[int]) -> NoReturn:
    """This process is the command from here on."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files[1:]):
            os.dup2(file, number)
        for file in files:
            os.close(file)
        os.environ.clear()
        os.environ.update(wish["environment"])
        os.chdir(wish["folder"])
        sys.argv = ["tidemill", *wish["words"]]
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        from tidemill.cli import main

        code = main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _ready() -> None:
    """Import what commands need that end, so that none of them has to."""
    import boto3.session

    with suppress(ImportError):  # not made for every platform
        import uvloop  # noqa: F401

    import tidemill
    from tidemill.cli.application import program

    program()
    for module in walk_packages(tidemill.__path__, "tidemill."):
        if not module.name.startswith(SERVED) and not module.name.endswith("__main__"):
            import_module(module.name)
    boto3.session.Session(region_name="us-east-1")
    gc.collect()
    gc.freeze()


SERVED = ("tidemill.api", "tidemill.web", "tidemill.db.migrations")
"""What only commands need that stay, and what is no module to import."""

if __name__ == "__main__":
    _ready()
    _serve(socket.socket(fileno=int(sys.argv[1])))
