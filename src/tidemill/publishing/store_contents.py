"""What lies in a store of packages and could be one of ours: finished objects, unfinished uploads, part files.

Only keys as packages have them (`<16 hexadecimal digits>/<file name>`) are ever looked at. How old something is, is
told by the store's own clock, which wrote the time that it bears.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import stat
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError

from tidemill.domain.package_plan import StorePlace
from tidemill.publishing import objects
from tidemill.publishing.package_folder import is_dead
from tidemill.storage.s3 import bucket_of, client
from tidemill.storage.stores import folder_of, open_store
from tidemill.storage.troubles import trouble

Kind = Literal["package", "upload", "part", "trial"]
"""`trial`: an empty object that was to tell whether a store can be written, or its time, and that was not removed."""

CHUNK = 1000
_KEY = re.compile(r"[0-9a-f]{16}/[^/\0\ud800-\udfff]+")
"""No package's name has bytes in it that are no text, as files of a folder may."""
_FOLDER = re.compile(r"[0-9a-f]{16}")
_PART = re.compile(r"[0-9a-f]{16}/\.[0-9a-f]{32}\.part")
_CLOCK = f"{'0' * 16}/.clock-"
_TRIAL = re.compile(rf"{re.escape(objects.TRIED)}|{re.escape(_CLOCK)}[0-9a-f]{{32}}")
_DIGITS = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Lying:
    """Something that lies in a store. `size` in bytes, 0 where nobody says; `upload`: its id, where it is one."""

    kind: Kind
    key: str
    size: int
    at: dt.datetime
    upload: str = ""

    @property
    def name(self) -> str:
        """Of the package."""
        return self.key.partition("/")[2]


async def now_in(place: StorePlace) -> dt.datetime:
    """What time it is by the store's clock. Raises StorageError."""
    with _told(place, "asked for its time"):
        if (folder := folder_of(place.url)) is not None:
            return await asyncio.to_thread(_now_in_folder, folder)
        if urlsplit(place.url).scheme == "s3":
            return await asyncio.to_thread(_now_in_s3, place)
        return await now_as_written(place)


async def now_as_written(place: StorePlace) -> dt.datetime:
    """The same of stores that say it nowhere else than on what is stored: here an empty object, gone again."""
    store, key = open_store(place.url, place.options), _CLOCK + uuid.uuid4().hex
    await obstore.put_async(store, key, b"")
    try:
        return (await obstore.head_async(store, key))["last_modified"]
    finally:
        await obstore.delete_async(store, key)


async def lying(place: StorePlace) -> AsyncIterator[list[Lying]]:
    """What lies there under keys of packages, in chunks. Raises StorageError."""
    folder = folder_of(place.url)
    with _told(place, "listed"):
        if folder is not None or urlsplit(place.url).scheme == "s3":
            chunks = _in_folder(folder) if folder is not None else _in_s3(place)
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield chunk
            return
        async for page in obstore.list(open_store(place.url, place.options), chunk_size=CHUNK):
            yield [_object(one["path"], one["size"], one["last_modified"]) for one in page if _ours(one["path"])]


async def take_away(place: StorePlace, one: Lying) -> bool:
    """Remove it; whether it was there to be removed, and held by nobody. Raises StorageError."""
    if one.kind in ("package", "trial"):
        await objects.remove(place.url, place.options, one.key)
        return True
    with _told(place, "cleared"):
        return await asyncio.to_thread(_drop_part if one.kind == "part" else _abort, place, one)


async def abandoned(place: StorePlace, one: Lying) -> bool:
    """Whether a part file is held by no builder. Raises StorageError where we may not open it."""
    with _told(place, "looked at"):
        return await asyncio.to_thread(is_dead, _part(place, one))


def _ours(key: str) -> bool:
    return _KEY.fullmatch(key) is not None


def _object(key: str, size: int, at: dt.datetime) -> Lying:
    return Lying("trial" if _TRIAL.fullmatch(key) else "package", key, size, at)


def _now_in_folder(folder: Path) -> dt.datetime:
    if not folder.is_dir():  # then nothing lies there that could be old
        return dt.datetime.fromtimestamp(0, dt.UTC)
    with tempfile.TemporaryFile(dir=folder) as file:
        return dt.datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, dt.UTC)


def _in_folder(folder: Path) -> Iterator[list[Lying]]:
    chunk: list[Lying] = []
    for below in os.scandir(folder) if folder.is_dir() else ():
        if not _FOLDER.fullmatch(below.name) or not below.is_dir(follow_symlinks=False):
            continue
        with suppress(FileNotFoundError), os.scandir(below) as files:
            for file in files:
                key = f"{below.name}/{file.name}"
                with suppress(FileNotFoundError):
                    seen = file.stat(follow_symlinks=False)
                    if not (_ours(key) and stat.S_ISREG(seen.st_mode)):
                        continue
                    at = dt.datetime.fromtimestamp(seen.st_mtime, dt.UTC)
                    chunk.append(Lying("part" if _PART.fullmatch(key) else "package", key, seen.st_size, at))
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    yield chunk


def _in_s3(place: StorePlace) -> Iterator[list[Lying]]:
    """Objects are asked for digit by digit: whatever else lies beside packages is not listed."""
    service, bucket, prefix = _s3(place)
    for digit in _DIGITS:
        asked = {"Bucket": bucket, "Prefix": prefix + digit}
        for page in service.get_paginator("list_objects_v2").paginate(**asked):
            found = [(one["Key"].removeprefix(prefix), one) for one in page.get("Contents", [])]
            yield [_object(key, one["Size"], one["LastModified"]) for key, one in found if _ours(key)]
    for page in service.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        begun = [(one["Key"].removeprefix(prefix), one) for one in page.get("Uploads", [])]
        yield [Lying("upload", key, 0, one["Initiated"], one["UploadId"]) for key, one in begun if _ours(key)]


def _now_in_s3(place: StorePlace) -> dt.datetime:
    service, bucket, prefix = _s3(place)
    answer = service.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def _abort(place: StorePlace, one: Lying) -> bool:
    from botocore.exceptions import ClientError

    service, bucket, prefix = _s3(place)
    try:
        service.abort_multipart_upload(Bucket=bucket, Key=prefix + one.key, UploadId=one.upload)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchUpload":
            return False
        raise
    return True


def _drop_part(place: StorePlace, one: Lying) -> bool:
    part = _part(place, one)
    dropped = is_dead(part, remove=True)
    with suppress(OSError):  # there is more in it
        part.parent.rmdir()
    return dropped


def _part(place: StorePlace, one: Lying) -> Path:
    return (folder_of(place.url) or Path()) / one.key


def _s3(place: StorePlace) -> tuple[Any, str, str]:
    return client(place.options), *bucket_of(place.url)


@contextmanager
def _told(place: StorePlace, verb: str) -> Iterator[None]:
    """Put a store's trouble in words."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (OSError, BaseError, BotoCoreError, ClientError) as error:
        raise trouble(place.url, verb, error) from error
