"""A real SFTP server in a process of its own: OpenSSH's where it is installed, else the one that asyncssh has.

with SftpServer(folder, "openssh") as server:
    server.url("/data"), server.login, server.kill()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncssh

from tidemill.db.embedded_folder import free_port

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")


class SftpServer:
    """Serves the whole file system of this machine to who has the key. `kind`: `openssh` or `asyncssh`."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        folder.mkdir(parents=True)
        for name in ("host", "user", "stranger"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(folder / name)
            key.write_public_key(folder / f"{name}.pub")
            (folder / name).chmod(0o600)
        self.port = free_port(None)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def login(self) -> dict[str, Any]:
        """What an app says to log in."""
        return {"key_file": str(self.folder / "user"), "host_key": (self.folder / "host.pub").read_text().strip()}

    def url(self, path: Path | str) -> str:
        user = os.environ.get("USER") or "root"
        return f"sftp://{user}@127.0.0.1:{self.port}{path}"

    def start(self) -> None:
        """Start it; returns when it answers."""
        command = self._openssh() if self.kind == "openssh" else self._asyncssh()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(self.folder / "log").open("ab"),
            start_new_session=True,
        )  # fmt: skip
        ends = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < ends, "the SFTP server does not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """As `kill -9` does it, with all connections."""
        if self._process is not None:
            import psutil

            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(self._process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> SftpServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    def _openssh(self) -> list[str]:
        assert SSHD is not None
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        config = self.folder / "config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/user.pub\nStrictModes no\nPermitRootLogin yes\nUseDNS no\n"
            "PasswordAuthentication no\nSubsystem sftp internal-sftp\n"
        )
        return [SSHD, "-D", "-e", "-f", str(config)]

    def _asyncssh(self) -> list[str]:
        return [sys.executable, str(Path(__file__)), str(self.folder), str(self.port)]


async def _serve(folder: str, port: str) -> None:
    await asyncssh.listen(
        "127.0.0.1",
        int(port),
        server_host_keys=[f"{folder}/host"],
        authorized_client_keys=f"{folder}/user.pub",
        sftp_factory=True,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
