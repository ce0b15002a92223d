"""Azure's blob service for tests: Azurite, where it is installed (`npm install --prefix .cache/azurite azurite`)."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

LOCAL = Path(__file__).parents[1] / ".cache" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key that every Azurite has, as its documentation says."""


def program() -> str | None:
    return shutil.which("azurite-blob") or (str(LOCAL) if LOCAL.exists() else None)


@contextmanager
def azurite(container: str) -> Iterator[str]:
    """The endpoint of a service in memory with one container."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(program()), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--blobPort", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        _listening(port)
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
    headers = {"x-ms-date": f"{dt.datetime.now(dt.UTC):%a, %d %b %Y %H:%M:%S GMT}", "x-ms-version": "2021-08-06"}
    signed = "PUT" + "\n" * 12 + "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    signed += f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    headers["authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    answer = httpx2.put(f"{endpoint}/{container}?restype=container", headers=headers)
    assert answer.status_code == 201, answer.text
