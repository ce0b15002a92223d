"""Plans of packages for tests of building, and looks at what was built."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.ceph import Bucket
from tidemill.domain.package_plan import MANIFEST, Entry, FileEntry, PackagePlan, StorePlace, TextEntry, make_plan
from tidemill.executors.contract import Progress
from tidemill.publishing.build import Built, build

NAME = "P1_ALL.zip"


def plan(sources: Mapping[str, StorePlace], store: StorePlace, entries: list[Entry], name: str = NAME) -> PackagePlan:
    return make_plan(
        name, "all", project="P1", items=["S1"], attributes={}, entries=entries, sources=sources, store=store
    )


def file_entry(folder: Path, key: str, into: str | None = None, source: str = "data") -> FileEntry:
    """A file of a folder as a sync sees it."""
    stat = (folder / key).stat()
    return FileEntry(into or key, source, key, stat.st_size, f"{stat.st_mtime_ns:x}-{stat.st_size:x}")


def object_entry(bucket: Bucket, key: str, into: str | None = None, source: str = "data") -> FileEntry:
    """An object of a bucket likewise."""
    found = bucket.client.head_object(Bucket=bucket.name, Key=key)
    return FileEntry(into or key, source, key, found["ContentLength"], found["ETag"].strip('"'))


def folder_plan(here: Path, there: Path, *texts: TextEntry) -> PackagePlan:
    """Everything in a folder into another."""
    keys = sorted(path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file())
    entries: list[Entry] = [*texts, *(file_entry(here, key) for key in keys)]
    return plan({"data": StorePlace(here.as_uri())}, StorePlace(there.as_uri()), entries)


async def built(wanted: PackagePlan, reports: list[Progress] | None = None) -> Built:
    return await build(wanted.document, [].append if reports is None else reports.append)


def check(body: bytes, made: Built, contents: Mapping[str, bytes], scratch: Path) -> None:
    """That a package is what was built of these members: as zipfile, unzip and sha256sum see it."""
    assert len(body) == made.size
    assert hashlib.sha256(body).hexdigest() == made.sha256
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == [*sorted(contents, key=str.encode), MANIFEST]
        assert {name: archive.read(name) for name in names[:-1]} == dict(contents)
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        manifest = archive.read(MANIFEST).decode()
    listed = {name: sha256 for sha256, name in (line.split("  ", 1) for line in manifest.splitlines())}
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    assert [(one.name, one.size, one.sha256) for one in made.manifest] == [
        (name, len(contents[name]), listed[name]) for name in names[:-1]
    ]
    unpacked(body, scratch)


def unpacked(body: bytes, scratch: Path) -> None:
    """Unpack it as people do, and hold it against its manifest."""
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "package.zip").write_bytes(body)
    _do(scratch, "unzip", "-tq", "package.zip")
    _do(scratch, "unzip", "-qo", "package.zip")
    _do(scratch, "sha256sum", "--check", "--strict", "--quiet", MANIFEST)


def _do(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def output(made: Built) -> Any:
    return orjson.loads(made.document())
