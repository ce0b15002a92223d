"""The real `tidemill` program as a person or a script runs it, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.apps import ScriptedApp
from tests.forge import Forge

TIDEMILL = Path(sys.executable).with_name("tidemill")
PATIENCE = 180.0
FORGE = Forge()


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Program:
    """Runs commands against one site. `database_url` None: the embedded server of the site."""

    site: Path
    database_url: str | None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TIDEMILL_")}
        given = {"TIDEMILL_SITE": str(self.site), "NO_COLOR": "1", "COLUMNS": "120", **self.settings}
        return clean | given | ({"TIDEMILL_DATABASE_URL": self.database_url} if self.database_url else {})

    def __call__(self, *words: object, text: str = "", code: int | None = 0) -> Ended:
        """Run a command to its end; fails unless it ends with `code` (None: any)."""
        with (
            tempfile.TemporaryFile("w+") as given,
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
        ):
            given.write(text)
            given.seek(0)
            stdio = (given.fileno(), out.fileno(), err.fileno())
            ended = FORGE.run([str(word) for word in words], self.environment, stdio, PATIENCE)
            out.seek(0)
            err.seek(0)
            done = Ended(ended, out.read(), err.read())
        assert "Traceback" not in done.err, done.err
        assert code is None or done.code == code, f"{done.code} instead of {code}: {done.out}{done.err}"
        return done

    def start(self, *words: object) -> Started:
        """Start a command that stays."""
        return Started(
            subprocess.Popen(
                [TIDEMILL, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=self.environment, start_new_session=True,
            )
        )  # fmt: skip

    def on_terminal(self, *words: object) -> Terminal:
        """Start a command on a terminal of its own."""
        return Terminal([str(TIDEMILL), *map(str, words)], self.environment)


class Started:
    """A command that is running; what it says is collected."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said = ""
        self._saying = threading.Lock()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,)) for stream in (process.stdout, process.stderr) if stream
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            with self._saying:
                self.said += line.decode()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until it has said something; fails if it ends before."""
        ends = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.said)):
            assert time.monotonic() < ends, f"never said {pattern!r}: {self.said}"
            if self.process.poll() is not None and not any(reader.is_alive() for reader in self._readers):
                found = re.search(pattern, self.said)
                assert found, f"ended without {pattern!r}: {self.said}"
                return found
            time.sleep(0.02)
        return found

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


class Terminal:
    """A command on a pseudo-terminal, as a person sees it."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._pid, self._side = pty.fork()
        if self._pid == 0:
            os.execve(command[0], command, environment | {"TERM": "xterm", "LINES": "40"})
        self.screen = ""

    def until(self, pattern: str) -> None:
        ends = time.monotonic() + PATIENCE
        while not re.search(pattern, self.screen):
            assert time.monotonic() < ends, f"never showed {pattern!r}: {self.screen}"
            assert self._more(), f"ended without {pattern!r}: {self.screen}"

    def press(self, keys: str) -> None:
        os.write(self._side, keys.encode())

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def end(self) -> int:
        while self._more():
            pass
        ends = time.monotonic() + PATIENCE
        while (found := os.waitpid(self._pid, os.WNOHANG))[0] == 0:
            assert time.monotonic() < ends, f"does not end: {self.screen}"
            time.sleep(0.02)
        _, status = found
        os.close(self._side)
        return os.waitstatus_to_exitcode(status)

    def _more(self) -> bool:
        if not select.select([self._side], [], [], PATIENCE)[0]:
            return False
        try:
            read = os.read(self._side, 65536)
        except OSError:
            return False
        self.screen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read.decode(errors="replace"))
        return bool(read)


def site_file(folder: Path, app: ScriptedApp, *, recordings: int = 3, steps: int = 2) -> Path:
    """A folder of recordings (`rec-0.mp4`, …) and a site file beside it: one CLAMS app, standing `steps` times."""
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    for number in range(recordings):
        (media / f"rec-{number}.mp4").write_bytes(b"x" * (number + 1))
    chain = ", ".join(['{ app = "bars" }'] * steps)
    path = folder / "site.toml"
    path.write_text(
        f"""
        [[sources]]
        name = "tapes"
        url = "media"
        [[sources.layout]]
        pattern = "{{item}}.mp4"
        project = "evening"
        [[apps]]
        name = "bars"
        url = "{app.url}"
        tries = 1
        [[pipelines]]
        name = "slates"
        steps = [{chain}]
        """
    )
    return path
