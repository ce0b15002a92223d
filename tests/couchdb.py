"""A real server that speaks CouchDB's protocol (PouchDB Server, in memory), as a process of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

HERE = Path(__file__).parent / "couchdb_server"
CACHE = Path(__file__).parents[1] / ".cache" / "couchdb"


@dataclass(frozen=True, slots=True)
class Couch:
    """One database on a running server. `url` has the login in it, if the server wants one."""

    server: str
    name: str
    login: str

    @property
    def bare(self) -> str:
        return f"{self.server}/{self.name}"

    @property
    def url(self) -> str:
        return self.bare.replace("://", f"://{self.login}@") if self.login else self.bare

    def ask(self, method: str, path: str = "", body: Any = None) -> Any:
        auth = tuple(self.login.split(":")) if self.login else None
        answer = httpx2.request(method, self.bare + path, json=body, auth=auth, timeout=30)  # type: ignore[arg-type]
        assert answer.status_code < 300, answer.text
        return answer.json()

    def put(self, *documents: dict[str, Any]) -> None:
        """Write documents; the revision of one that is there already is looked up."""
        for document in documents:
            found = self.ask("POST", "/_all_docs", {"keys": [document["_id"]]})["rows"][0]
            if "value" in found and not found["value"].get("deleted"):
                document["_rev"] = found["value"]["rev"]
        told = self.ask("POST", "/_bulk_docs", {"docs": list(documents)})
        assert all("ok" in row for row in told), told

    def fill(self, documents: list[dict[str, Any]]) -> None:
        """Write many new documents at once."""
        self.ask("POST", "/_bulk_docs", {"docs": documents})

    def delete(self, name: str) -> None:
        self.put({"_id": name, "_deleted": True})


def installed() -> Path:
    """The folder with the server's modules, installed once; skips the test where that cannot be."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no npm here: a server that speaks CouchDB's protocol cannot be installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = (HERE / "package.json").read_text()
        done = CACHE / "installed.json"
        if not done.exists() or done.read_text() != wanted:
            (CACHE / "package.json").write_text(wanted)
            install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
            told = subprocess.run(install, cwd=CACHE, capture_output=True, text=True, timeout=300, check=False)
            if told.returncode:
                pytest.skip(f"npm cannot install a server that speaks CouchDB's protocol: {told.stderr[-300:]}")
            done.write_text(wanted)
    return CACHE


@contextmanager
def couchdb(*, login: str = "", opaque: bool = False) -> Iterator[Couch]:
    """A server with one empty database, `records`."""
    modules = installed() / "node_modules"
    given = {"NODE_PATH": str(modules), "LOGIN": login, "OPAQUE": "1" if opaque else ""}
    process = subprocess.Popen(["node", HERE / "server.js"], stdout=subprocess.PIPE, text=True, env=os.environ | given)
    try:
        assert process.stdout is not None
        couch = Couch(f"http://127.0.0.1:{int(process.stdout.readline())}", "records", login)
        couch.ask("PUT")
        yield couch
    finally:
        process.kill()
        process.wait()
