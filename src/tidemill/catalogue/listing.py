"""What lies in a source, as a stream: the files of a folder, or the keys of a bucket."""

from __future__ import annotations

import datetime as dt
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import obstore
import orjson
from obstore.exceptions import BaseError

from tidemill.domain.keys import is_path, printable
from tidemill.errors import InvalidInput, StorageError
from tidemill.storage.s3 import s3_page
from tidemill.storage.stores import SCHEMES, Seen, open_store
from tidemill.storage.troubles import trouble

SHOWN = 1000
"""Keys of one kind that are held in memory; all are counted, and none is lost."""
PARTIAL = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp", "~")
"""Endings of files that somebody is still writing."""
PAGE = 1000
TIMEOUT = "60s"
"""For one page."""
_ODD_KEY = re.compile(r'Path "(.*?)"[ :]', re.DOTALL)
"""How obstore names a key that it has no path for."""


@dataclass(slots=True)
class Listed:
    """Keys of one kind: how many, and the first of them. The others are in a temporary file."""

    count: int = 0
    keys: list[str] = field(default_factory=list)
    _others: IO[bytes] | None = None

    def add(self, key: str) -> None:
        self.count += 1
        if len(self.keys) < SHOWN:
            self.keys.append(key)
            return
        if self._others is None:
            self._others = tempfile.TemporaryFile(prefix="tidemill-keys-")  # noqa: SIM115 - as long as the report
        self._others.write(orjson.dumps(key) + b"\n")

    def all(self) -> Iterator[str]:
        """Every one of them, where they were added one by one."""
        yield from self.keys
        if self._others is not None:
            self._others.seek(0)
            yield from map(orjson.loads, self._others)


@dataclass(slots=True)
class LeftOut:
    """What a listing does not give."""

    skipped: int = 0
    """Hidden and partial files of a folder; directory markers of a bucket."""
    unreadable: Listed = field(default_factory=Listed)
    """Files and folders that could not be read, and keys of which no path or no name can be made."""


def listing(url: str, options: Mapping[str, Any], left_out: LeftOut) -> Iterator[Seen]:
    """The files of a source, in no order. Blocking; memory does not grow with their number.

    Raises StorageError (it cannot be read), InvalidInput (it is no source).
    """
    folder = _folder(url)
    return _of_folder(folder, left_out) if folder is not None else _of_store(url, options, left_out)


def _folder(url: str) -> Path | None:
    """The folder that a source's URL means; None for a store. Raises InvalidInput."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if "://" not in url and url.startswith("/"):
        return Path(url)
    if parts.scheme in SCHEMES and parts.scheme != "file":
        return None
    raise InvalidInput(
        f"A source at {url} cannot be read.",
        hint="A source is a folder (/path/to/it, file:///path/to/it) or a bucket (s3://…, gs://…, az://…).",
    )


def _of_store(url: str, options: Mapping[str, Any], left_out: LeftOut) -> Iterator[Seen]:
    """A store's keys in their order. obstore has no path for some (`..`, `//`), at which it would end, and drops the
    slash of a folder's marker: of S3 such a page is read in another way, and the listing goes on behind it."""
    store, after = open_store(url, options, timeout=TIMEOUT), ""
    is_s3 = url.startswith("s3://")
    while True:
        try:
            for page in obstore.list(store, offset=after or None, chunk_size=PAGE):
                if is_s3 and not all(found["size"] for found in page):
                    break  # what is empty may be a marker
                for found in page:
                    after = found["path"]
                    seen = Seen(after, found["size"], (found["e_tag"] or "").strip('"'), found["last_modified"])
                    if _is_file(seen, left_out):
                        yield seen
            else:
                return
        except (BaseError, OSError, ValueError) as error:
            if "invalid path" not in str(error):
                raise trouble(url, "listed", error) from error
            if not is_s3:
                raise _no_path(url, error) from error
        keys, more = s3_page(url, options, after)
        for seen in keys:
            after = seen.key
            if _is_file(seen, left_out):
                yield seen
        if not more:
            return


def _is_file(seen: Seen, left_out: LeftOut) -> bool:
    """Whether it is one, and a path can be made of its key."""
    if seen.key.endswith("/"):
        left_out.skipped += 1
    elif not is_path(seen.key):
        left_out.unreadable.add(seen.key.replace("\0", "\ufffd"))
    else:
        return True
    return False


def _no_path(url: str, error: Exception) -> StorageError:
    found = _ODD_KEY.search(str(error))
    key = f" '{printable(found[1])}'" if found else ""
    return StorageError(
        f"{url} cannot be listed: it holds a key{key} of which no path can be made.",
        hint="Rename or remove it. Only of S3 are such keys passed over; here they would hide the keys beside them.",
    )


def _of_folder(folder: Path, left_out: LeftOut) -> Iterator[Seen]:
    if not folder.is_dir():
        raise StorageError(f"The folder is not there: {folder}")
    for entry in _walk(str(folder), left_out):
        key = os.path.relpath(entry.path, folder).replace(os.sep, "/")
        try:
            key.encode()
            stat = entry.stat()
        except (UnicodeEncodeError, OSError):
            left_out.unreadable.add(os.fsencode(key).decode("utf-8", "backslashreplace"))
            continue
        if not is_path(key):
            left_out.unreadable.add(key)
            continue
        modified_at = dt.datetime.fromtimestamp(stat.st_mtime, dt.UTC)
        yield Seen(key, stat.st_size, f"{stat.st_mtime_ns:x}-{stat.st_size:x}", modified_at)


def _walk(folder: str, left_out: LeftOut) -> Iterator[os.DirEntry[str]]:
    """Regular files, links to them followed; links to folders are not, so that no walk goes in circles."""
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name.endswith(PARTIAL):
                        left_out.skipped += 1
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file():
                        yield entry
        except OSError as error:
            if here == folder:
                raise StorageError(f"{folder} cannot be read: {error.strerror}") from error
            left_out.unreadable.add(os.path.relpath(here, folder))
