"""Finished results on a worker's own disk until its site has acknowledged them: what a crash or a long cut cannot take.

    <folder>/lock                one process at a time
    <folder>/worker.json         who works here, for the one that comes after a crash
    <folder>/results/<n>.spool   a set of results: a line each, with its CRC-32
    <folder>/blobs/<sha256>      large documents and files that results refer to
    <folder>/aside/              what could not be read or was refused, kept for a person
    <folder>/work/               folders of attempts in hand

A set is written beside, synced, and renamed, so that it is there wholly or not at all. Methods block.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import structlog

from tidemill.errors import Conflict, InvalidInput
from tidemill.executors.workbench import checksum
from tidemill.fsync import fsync
from tidemill.runner.remote_protocol import for_delivery
from tidemill.runner.results import Result

log = structlog.get_logger()

Key = tuple[int, int, int]
"""A worker, and the task and fence of an attempt that it was given."""

SPOOLED = "spool"
"""The location of a document that lies here until it is delivered."""

FORMAT = 1
RESERVE = 64 * 1024 * 1024
"""Bytes that a spool leaves free on its disk before it counts as full."""


@dataclass(slots=True)
class _Set:
    """A file of results, and those of them that are not acknowledged yet."""

    path: Path
    size: int
    left: set[Key] = field(default_factory=set)


class Spool:
    """A folder of one worker. `limit`: bytes above which it counts as full; None: as much as the disk holds."""

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = folder
        self._limit = limit
        self._results, self._blobs, self._aside = (folder / name for name in ("results", "blobs", "aside"))
        self._sets: dict[Key, _Set] = {}
        self._needs: dict[Key, list[str]] = {}
        self._wanted: Counter[str] = Counter()
        self._fresh: Counter[str] = Counter()  # kept for results that are not written yet
        self._blobs_at_rest = threading.Lock()
        self._next = 0
        self._lock: int | None = None

    @property
    def work(self) -> Path:
        """Where attempts have their folders."""
        return self.folder / "work"

    def open(self) -> None:
        """Take the folder for this process. Raises Conflict if another has it, InvalidInput if it cannot be written."""
        try:
            for folder in (self._results, self._blobs, self._aside):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise InvalidInput(f"The spool {self.folder} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise Conflict(
                f"Another worker uses the spool {self.folder}.", hint="Each needs a folder of its own: --spool FOLDER"
            ) from None
        self._lock = descriptor
        shutil.rmtree(self.work, ignore_errors=True)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, worker: int, results: Sequence[Result]) -> None:
        """Make results safe, as one set. Raises OSError, and then none of them is there."""
        lines = [orjson.dumps({"format": FORMAT, "worker": worker})]
        lines += [orjson.dumps({"row": r.row, "documents": r.documents}) for r in results]
        text = b"".join(b"%08x %b\n" % (zlib.crc32(line), line) for line in lines)
        path = self._results / f"{self._next:012d}.spool"
        self._next += 1
        _write(path, text)
        made = _Set(path, len(text))
        for result in results:
            self._remember(made, (worker, result.row["task"], result.row["fence"]), result)
            with self._blobs_at_rest:
                for blob in needs(result):
                    _one_less(self._fresh, blob)

    def acknowledge(self, keys: Iterable[Key]) -> None:
        """These were handed in: let go of them and of what only they referred to.

        Raises OSError, and then may be called again.
        """
        for key in keys:
            held = self._sets.get(key)
            if held is None:
                continue
            held.left.discard(key)
            if not held.left:
                held.path.unlink(missing_ok=True)
            del self._sets[key]
            with self._blobs_at_rest:
                for blob in self._needs.pop(key, ()):
                    _one_less(self._wanted, blob)
                    if blob not in self._wanted and blob not in self._fresh:
                        (self._blobs / blob).unlink(missing_ok=True)

    def set_aside(self, worker: int, result: Result, why: str) -> Path:
        """Keep a result that nobody takes, with what it refers to, for a person to look at."""
        name = f"{worker}-{result.row['task']}-{result.row['fence']}"
        path = self._aside / f"{name}.json"
        text = orjson.dumps({"why": why, "row": result.row, "documents": result.documents}, option=orjson.OPT_INDENT_2)
        _write(path, text)
        for blob in needs(result):
            with suppress(OSError):
                os.link(self._blobs / blob, self._aside / f"{name}-{blob[:16]}")
        return path

    def leftovers(self) -> list[tuple[int, list[Result]]]:
        """What an earlier process did not get rid of: the results of each worker. What cannot be read is set aside."""
        found: dict[int, list[Result]] = {}
        for path in sorted(self._results.glob("*.spool")):
            self._next = max(self._next, int(path.stem) + 1) if path.stem.isdecimal() else self._next
            worker, results = self._read(path)
            made = _Set(path, path.stat().st_size)
            for result in results:
                self._remember(made, (worker, result.row["task"], result.row["fence"]), result)
            if results:
                found.setdefault(worker, []).extend(results)
            else:
                path.unlink()
        for part in [*self._results.glob("*.part"), *self._blobs.iterdir()]:
            if part.name not in self._wanted:
                part.unlink()
        return sorted(found.items())

    def keep_bytes(self, content: bytes) -> str:
        """Make a large document safe; its SHA-256. Raises OSError.

        It stays until a result that needs it has been written, and then as long as any does.
        """
        digest = sha256(content).hexdigest()
        with self._blobs_at_rest:
            if not self.blob(digest).exists():
                _write(self.blob(digest), content)
            self._fresh[digest] += 1
        return digest

    def keep_file(self, source: Path) -> tuple[str, int]:
        """Make a file safe, for as long as `keep_bytes` does; its SHA-256 and size. Raises OSError.

        One of an attempt's own folder is linked, not copied.
        """
        part = self._blobs / f"{uuid.uuid4().hex}.part"
        try:
            if source.is_relative_to(self.work) and not source.is_symlink():
                os.link(source, part)
            else:
                shutil.copyfile(source, part)
            digest, size = checksum(part)
            fsync(part)
            with self._blobs_at_rest:
                part.replace(self.blob(digest))
                fsync(self._blobs)
                self._fresh[digest] += 1
        finally:
            part.unlink(missing_ok=True)
        return digest, size

    def blob(self, digest: str) -> Path:
        """Where a large document or a file lies."""
        return self._blobs / digest

    def full(self, *, probe: bool) -> str:
        """Why nothing more should be begun; empty if there is room. `probe`: also try to write."""
        if self._limit is not None:
            size = sum(_size(one) for folder in (self._results, self._blobs) for one in folder.iterdir())
            if size >= self._limit:
                return f"the spool {self.folder} has reached its limit of {self._limit:,} bytes"
        if shutil.disk_usage(self.folder).free < RESERVE:
            return f"the disk of the spool {self.folder} is full"
        try:
            if probe:
                _write(self.folder / "probe", b"There is room.")
        except OSError as error:
            return f"the spool {self.folder} cannot be written: {error.strerror}"
        return ""

    def remember_worker(self, worker: int, process: str) -> None:
        """Note who works here from now on. Raises OSError."""
        here = {"worker": worker, "process": process, "lock": (self.folder / "lock").stat().st_ino}
        _write(self.folder / "worker.json", orjson.dumps(here))

    def last_worker(self) -> tuple[int, str, bool] | None:
        """Who worked here last, in which process, and whether it is gone for certain: it had the lock that is ours now.

        A copied spool has another lock, and whoever worked in the first one may still do so.
        """
        try:
            found = orjson.loads((self.folder / "worker.json").read_bytes())
            ours = self._lock is not None and found.get("lock") == (self.folder / "lock").stat().st_ino
            return int(found["worker"]), str(found["process"]), ours
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _remember(self, held: _Set, key: Key, result: Result) -> None:
        held.left.add(key)
        self._sets[key] = held
        self._needs[key] = needs(result)
        with self._blobs_at_rest:
            self._wanted.update(self._needs[key])

    def _read(self, path: Path) -> tuple[int, list[Result]]:
        """A set from disk. Lines that are not what was written are left out, and the whole file is kept aside."""
        worker, results, broken = 0, [], 0
        for number, value in enumerate(_lines(path)):
            try:
                if number == 0:
                    worker = int(value["worker"])
                elif worker:
                    results.append(Result(value["row"], value["documents"]))
                    _ = result_key(results[-1])
            except (TypeError, KeyError, ValueError):
                broken += 1
        if broken or not worker:
            kept = self._aside / f"{path.name}-{uuid.uuid4().hex[:8]}"
            shutil.copyfile(path, kept)
            log.error("a spool file is damaged; what could be read is handed in", kept=str(kept), readable=len(results))
        return worker, results


def result_key(result: Result) -> tuple[int, int]:
    """The attempt that a result is of."""
    return int(result.row["task"]), int(result.row["fence"])


def needs(result: Result) -> list[str]:
    """The SHA-256 of the blobs that a result refers to."""
    documents = [str(one["sha256"]) for one in result.documents if one["location"] == SPOOLED]
    return documents + [str(one["sha256"]) for one in filter(for_delivery, result.row.get("files") or ())]


def _size(path: Path) -> int:
    """Bytes of a file; 0 if it has gone meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _one_less(counts: Counter[str], name: str) -> None:
    if counts[name] > 1:
        counts[name] -= 1
    else:
        counts.pop(name, None)


def _lines(path: Path) -> Iterator[Any]:
    """The values of a file, None for a line that is not what was written."""
    lines = path.read_bytes().split(b"\n")
    for line in lines if lines[-1] else lines[:-1]:  # a last line without an end was cut short
        check, _, text = line.partition(b" ")
        try:
            yield orjson.loads(text) if int(check, 16) == zlib.crc32(text) else None
        except ValueError:
            yield None


def _write(path: Path, content: bytes) -> None:
    """Put a file there wholly, for good, or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    fsync(path.parent)
