"""Azure's blob service for tests: Azurite, installed once where npm is; `python tests/azurite.py` does only that."""

from __future__ import annotations

import base64
import datetime as dt
import fcntl
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache" / "azurite"
VERSION = "3.35.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key that every Azurite has, as its documentation says."""


def program() -> str | None:
    """The command that starts it; None where it is not and cannot be installed."""
    if found := shutil.which("azurite-blob"):
        return found
    if shutil.which("npm") is None or shutil.which("node") is None:
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    place = CACHE / VERSION
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "done").exists():
            plain = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"]
            install = ["npm", "install", "--prefix", str(place), *plain, f"azurite@{VERSION}"]
            if subprocess.run(install, capture_output=True, timeout=300, check=False).returncode:
                return None
            (place / "done").touch()
    return str(place / "node_modules" / ".bin" / "azurite-blob")


@contextmanager
def azurite(started_by: str, *containers: str) -> Iterator[str]:
    """The endpoint of a service in memory with these containers."""
    from tidemill.db.embedded_folder import free_port  # here, since this file also runs before anything is installed

    port = free_port(None)
    command = [started_by, "--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--blobPort", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        _listening(port)
        for container in containers:
            _create(endpoint, container)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def _listening(port: int) -> None:
    ends = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            assert time.monotonic() < ends, "Azurite does not listen"
            time.sleep(0.05)


def _create(endpoint: str, container: str) -> None:
    """Create Container, signed with the shared key (Azure Storage REST, version 2021-08-06)."""
    import httpx2  # here, since this file also runs before anything is installed

    headers = {"x-ms-date": f"{dt.datetime.now(dt.UTC):%a, %d %b %Y %H:%M:%S GMT}", "x-ms-version": "2021-08-06"}
    signed = "PUT" + "\n" * 12 + "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    signed += f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    headers["authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    answer = httpx2.put(f"{endpoint}/{container}?restype=container", headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text


if __name__ == "__main__":
    program()
