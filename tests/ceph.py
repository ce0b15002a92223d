"""Two S3 services for tests: Ceph's gateway, which is a real one, and moto's, which starts in no time.

`s3` and `quick_s3` give a fresh bucket of either, with the credentials in the environment. All pytest processes of a
session share one Ceph: a keeper holds it for as long as any of them lives, whichever started it and however they end.

To keep one between sessions, for the sake of its fifteen seconds: `python tests/ceph.py FOLDER --stay &`, and
TIDEMILL_TEST_CEPH=FOLDER before pytest.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import boto3
import pytest
from botocore.config import Config

from tidemill.db.embedded_folder import free_port

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "radosgw-admin", "monmaptool", "ceph-authtool")
PATIENCE = 120.0
LINGER = 1.0
ACCESS, SECRET, REGION = "tidemill-test", "a-secret-that-matters", "us-east-1"
CONF = """
[global]
fsid={fsid}
mon host=v2:127.0.0.1:{mon}
public addr=127.0.0.1
cluster addr=127.0.0.1
ms bind ipv4=true
auth cluster required=cephx
auth service required=cephx
auth client required=cephx
auth allow insecure global id reclaim=true
osd pool default size=1
osd pool default min size=1
osd pool default pg num=1
osd pool default pgp num=1
osd pool default pg autoscale mode=off
osd crush chooseleaf type=0
mon allow pool size one=true
mon warn on pool no redundancy=false
mon max pg per osd=1000
keyring={folder}/keyring
run dir={folder}/run
admin socket={folder}/run/$cluster-$name.asok
log file={folder}/$name.log
pid file={folder}/run/$name.pid
[osd]
osd objectstore=memstore
memstore device bytes=4294967296
osd data={folder}/osd
keyring={folder}/osd/keyring
[mon]
mon data={folder}/mon
mon initial members=a
[client.rgw.a]
rgw frontends=beast endpoint=127.0.0.1:{rgw}
rgw data={folder}/rgw
rgw enable usage log=false
rgw enable gc threads=false
"""


@dataclass(frozen=True, slots=True)
class Server:
    """An S3 service and whom it knows."""

    endpoint: str
    access: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """The credentials as every S3 tool reads them."""
        return {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": REGION}

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access,
            aws_secret_access_key=self.secret,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}),
        )


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of a test's own."""

    server: Server
    name: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def options(self) -> dict[str, str]:
        """How its service is reached, as a source holds it."""
        return {"endpoint": self.server.endpoint, "region": REGION}

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def read(self, key: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return found

    def remove(self, *keys: str) -> None:
        for key in keys:
            self.client.delete_object(Bucket=self.name, Key=key)

    def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]


def lacking() -> list[str]:
    """The programs of Ceph that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 service; it checks secrets, signatures and dates. Skipped where Ceph is not installed."""
    if missing := lacking():
        pytest.skip(
            f"no {missing[0]} here: a real S3 needs `apt-get install --no-install-recommends "
            "radosgw ceph-mon ceph-osd ceph-common`"
        )
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = Path(os.environ.get("TIDEMILL_TEST_CEPH") or shared / "ceph")
    with used(folder) as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    """An S3 service for quick tests. Its protocol is complete; that it takes any secret is its limit."""
    from tests.s3_server import CREDENTIALS, s3_server

    with s3_server() as endpoint:
        yield Server(endpoint, CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])


@pytest.fixture
def s3(ceph: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh bucket of the real service; the environment has its credentials."""
    return fresh_bucket(ceph, monkeypatch)


@pytest.fixture
def quick_s3(moto: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh bucket of moto's; the environment has credentials."""
    return fresh_bucket(moto, monkeypatch)


def fresh_bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(server, f"t-{uuid.uuid4().hex[:16]}", server.client())
    bucket.client.create_bucket(Bucket=bucket.name)
    return bucket


@contextlib.contextmanager
def used(folder: Path) -> Iterator[Server]:
    """Within: the service of this folder, started if it is not there, stays."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users.lock").open("w") as using:
        with (folder / "start.lock").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(using, fcntl.LOCK_SH)
            try:
                server = _started(folder)
            except BadStart:  # as when one of its ports was taken meanwhile
                server = _started(folder)
        yield server


class BadStart(RuntimeError):
    """Ceph did not come up."""


def _started(folder: Path) -> Server:
    if not _kept(folder):
        for left in ("server.json", "failed"):
            (folder / left).unlink(missing_ok=True)
        with (folder / "keeper.log").open("w") as log:
            subprocess.Popen([sys.executable, __file__, str(folder)], stdout=log, stderr=log, start_new_session=True)
    return _awaited(folder)


def _kept(folder: Path) -> bool:
    """Whether a keeper holds this folder."""
    with (folder / "keeper.lock").open("w") as held:
        return not _taken(held)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _awaited(folder: Path) -> Server:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        with contextlib.suppress(FileNotFoundError):
            return Server(**json.loads((folder / "server.json").read_text()))
        if (folder / "failed").exists():
            raise BadStart(f"Ceph did not come up: {(folder / 'keeper.log').read_text()[-2000:]}")
        time.sleep(0.05)
    raise RuntimeError(f"Ceph did not come up: {(folder / 'keeper.log').read_text()[-2000:]}")


class Keeper:
    """Starts one monitor, one store in memory and one gateway, and stops them when nobody uses them any more."""

    def __init__(self, folder: Path) -> None:
        self._shared = folder
        self._folder = Path(tempfile.mkdtemp(prefix="tidemill-ceph-", dir=_memory()))
        self._started: list[subprocess.Popen[bytes]] = []

    def keep(self, *, forever: bool) -> None:
        try:
            self._keep(forever)
        except Exception:
            (self._shared / "failed").touch()  # when the lock is free: who reads it starts another
            raise

    def _keep(self, forever: bool) -> None:
        with (self._shared / "keeper.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            try:
                server = self._start()
                made = self._shared / "server.json.new"
                made.write_text(json.dumps({name: getattr(server, name) for name in ("endpoint", "access", "secret")}))
                made.rename(self._shared / "server.json")
                while forever or not self._abandoned():
                    time.sleep(LINGER)
            finally:
                (self._shared / "server.json").unlink(missing_ok=True)
                for process in reversed(self._started):
                    process.kill()
                    process.wait()
                shutil.rmtree(self._folder, ignore_errors=True)

    def _abandoned(self) -> bool:
        """Whether nobody uses it; then nobody finds it any more either."""
        with (self._shared / "start.lock").open("w") as starting, (self._shared / "users.lock").open("w") as using:
            if not _taken(starting) or not _taken(using):
                return False
            (self._shared / "server.json").unlink(missing_ok=True)
            return True

    def _start(self) -> Server:
        folder, fsid = self._folder, str(uuid.uuid4())
        mon, rgw = free_port(None), free_port(None)
        for name in ("mon", "osd", "rgw", "run"):
            (folder / name).mkdir()
        (folder / "ceph.conf").write_text(CONF.format(folder=folder, fsid=fsid, mon=mon, rgw=rgw))
        keyring, monmap = folder / "keyring", folder / "monmap"
        self._do("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{mon}]", "--fsid", fsid, monmap)
        self._do("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name, caps in (
            ("client.admin", ("mon", "allow *", "osd", "allow *", "mgr", "allow *")),
            ("client.rgw.a", ("mon", "allow rw", "osd", "allow rwx")),
        ):
            words = [word for n in range(0, len(caps), 2) for word in ("--cap", *caps[n : n + 2])]
            self._do("ceph-authtool", keyring, "--gen-key", "-n", name, *words)
        self._do("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._stay("ceph-mon", "-i", "a")
        unique = str(uuid.uuid4())
        osd = self._do("ceph", "osd", "new", unique).strip()
        caps = ("mon", "allow profile osd", "osd", "allow *")
        (folder / "osd" / "keyring").write_text(self._do("ceph", "auth", "get-or-create", f"osd.{osd}", *caps))
        self._do("ceph-osd", "-i", osd, "--mkfs", "--osd-uuid", unique)
        self._stay("ceph-osd", "-i", osd)
        self._do("ceph", "osd", "crush", "add", f"osd.{osd}", "1.0", "root=default", "host=localhost")
        self._stay("radosgw", "-n", "client.rgw.a")
        _listening(rgw)
        names = ("--uid=t", "--display-name=t", f"--access-key={ACCESS}", f"--secret-key={SECRET}")
        self._do("radosgw-admin", "user", "create", "--max-buckets=0", *names)
        return Server(f"http://127.0.0.1:{rgw}", ACCESS, SECRET)

    def _do(self, program: str, *words: object) -> str:
        conf = ["-c", str(self._folder / "ceph.conf")] if program.startswith(("ceph", "radosgw")) else []
        if program == "ceph-authtool":
            conf = []
        command = [program, *conf, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-1000:]}")
        return done.stdout

    def _stay(self, program: str, *words: object) -> None:
        """Start what goes when its keeper goes."""
        bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        command = [*bound, program, "-f", "-c", str(self._folder / "ceph.conf"), *map(str, words)]
        self._started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def _memory() -> str | None:
    """Where the monitor's database goes: into memory where that is possible, since it syncs a lot."""
    memory = Path("/dev/shm")
    return str(memory) if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30 else None


def _listening(port: int) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        time.sleep(0.05)
    raise RuntimeError("the gateway does not listen")


def _stop(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    (place / "failed").unlink(missing_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        Keeper(place).keep(forever="--stay" in sys.argv)
