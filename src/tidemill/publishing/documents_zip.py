"""The documents of a run as one zip, made while it is sent: the memory that it takes does not grow with the documents.

What is missing or fails its checksum is listed in the zip's `manifest.json` with the reason, and spoils nothing else.
"""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

import orjson
import zipstream  # type: ignore[import-untyped]
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row, fetch
from tidemill.domain.mmif import is_mmif, texts
from tidemill.errors import StorageError
from tidemill.publishing.zip_names import Names, safe
from tidemill.storage.documents import DocumentStore

MANIFEST = "manifest.json"
PAGE = 200
"""Tasks per statement."""

AT_ONCE = 8 * 1024 * 1024
"""Bytes of documents in the rows that are fetched at once; a larger one comes alone."""

SMALL = 32 * 1024
"""Bytes of a document that is read and compressed without leaving the event loop."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice:
    """What goes in: the final document of each item, or every step's; their texts too; deflated or stored."""

    every_step: bool = False
    texts: bool = False
    deflate: bool = True


@dataclass(slots=True)
class _Packing:
    """A zip in the making."""

    choice: Choice
    zip: zipstream.ZipStream
    manifest: IO[bytes]
    names: Names = field(default_factory=lambda: Names(MANIFEST))
    files: int = 0
    missing: int = 0
    lines: int = 0
    folder: tuple[int, str] = (-1, "")
    """The task whose folder was made last, and its name."""


def zip_name(run: Row) -> str:
    """A file name for the zip of a run (a row of `runs.get`), in plain ASCII."""
    batch = safe(str(run["batch"])).encode("ascii", "replace").decode().replace("?", "_").replace(";", "_")
    return f"run-{run['id']}-{batch}.zip"


async def documents_zip(
    database: Database, documents: DocumentStore, run: int, choice: Choice | None = None
) -> AsyncIterator[bytes]:
    """The zip, in pieces. Names: `<item>.mmif` (`.json` where it is none), or `<item>/<nn>-<step>.mmif` for every step.

    `manifest.json` is the last file: `{run, steps, files: [{name, run, item, step, step_name, app, version, sha256,
    size, state, text, missing}], packed, missing}`; `missing` of a file says why it is not there, `text` names its
    texts. Transactions are short: the zip of a run that still works holds what was there when each part was packed.
    """
    choice = choice or Choice()
    method = zipfile.ZIP_DEFLATED if choice.deflate else zipfile.ZIP_STORED
    with tempfile.SpooledTemporaryFile(AT_ONCE) as manifest:
        packing = _Packing(choice, zipstream.ZipStream(compress_type=method), manifest)
        manifest.write(
            orjson.dumps({"run": run, "steps": "all" if choice.every_step else "final"})[:-1] + b',"files":['
        )
        async for rows in _pages(database, run, choice):
            for group in _groups(rows):
                stored = await _bodies(database, group)
                for row in group:
                    async for piece in _pack(packing, documents, run, row, stored):
                        yield piece
        manifest.write(f'],"packed":{packing.files},"missing":{packing.missing}}}'.encode())
        manifest.seek(0)
        packing.zip.add(iter(lambda: manifest.read(65536), b""), MANIFEST)
        for piece in packing.zip.finalize():
            yield piece


async def _pages(database: Database, run: int, choice: Choice) -> AsyncIterator[list[Row]]:
    after = -1
    while True:
        name = "publishing.every_step" if choice.every_step else "publishing.final"
        async with database.begin() as session:
            rows = await fetch(session, name, {"run": run, "after": after, "n": PAGE})
        if not rows:
            return
        yield rows
        after = rows[-1]["position"]


def _groups(rows: list[Row]) -> Iterator[list[Row]]:
    """The rows in runs whose documents together are not too large to hold."""
    group: list[Row] = []
    size = 0
    for row in rows:
        if group and size + (row["size"] or 0) > AT_ONCE:
            yield group
            group, size = [], 0
        group.append(row)
        size += row["size"] or 0
    yield group


async def _bodies(database: Database, rows: list[Row]) -> dict[str, Row]:
    wanted = sorted({row["sha256"] for row in rows if row["sha256"]})
    if not wanted:
        return {}
    async with database.begin() as session:
        found = await _fetch_bodies(session, wanted)
    return {row["sha256"]: row for row in found}


async def _fetch_bodies(session: AsyncSession, wanted: list[str]) -> list[Row]:
    return await fetch(session, "publishing.bodies", {"documents": orjson.dumps(wanted).decode()})


async def _pack(
    packing: _Packing, documents: DocumentStore, run: int, row: Row, stored: dict[str, Row]
) -> AsyncIterator[bytes]:
    """One line of the manifest, with its document where there is one."""
    entry = {key: row[key] for key in ("item", "step", "step_name", "app", "version", "sha256", "size", "state")}
    name = None
    try:
        body = await _body(documents, row, stored)
    except StorageError as error:
        entry["missing"] = error.message
        packing.missing += 1
    else:
        shape = await _aside(len(body), lambda: _read_shape(body, packing.choice.texts))
        name = _name(packing, row, shape.suffix)
        async for piece in _added(packing, name, body):
            yield piece
        if shape.text is not None:
            entry["text"] = _text_name(packing, name.removesuffix(shape.suffix))
            async for piece in _added(packing, entry["text"], shape.text):
                yield piece
        packing.files += 1
    line = orjson.dumps({"name": name, "run": run} | entry)
    packing.manifest.write(b"," + line if packing.lines else line)
    packing.lines += 1


async def _body(documents: DocumentStore, row: Row, stored: dict[str, Row]) -> bytes:
    """The document's bytes, checked. Raises StorageError, whose message goes into the manifest."""
    if row["sha256"] is None:
        why = f": {row['reason']}" if row["reason"] else ""
        raise StorageError(f"The item is {row['state']} at step {row['step_name']}{why}.")
    found = stored.get(row["sha256"])
    if found is None:
        raise StorageError("The document's row is missing in the database.")
    return await documents.read(row["sha256"], found["body"], found["location"])


def _name(packing: _Packing, row: Row, suffix: str) -> str:
    if not packing.choice.every_step:
        return packing.names.give(row["item"], suffix)
    if packing.folder[0] != row["id"]:
        packing.folder = (row["id"], packing.names.give(row["item"]))
    # Steps have one name each in a pipeline, and their number stands before it.
    return f"{packing.folder[1]}/{row['step'] + 1:02d}-{safe(row['step_name'])}{suffix}"


def _text_name(packing: _Packing, stem: str) -> str:
    return f"{stem}.txt" if packing.choice.every_step else packing.names.give(stem, ".txt")


@dataclass(frozen=True, slots=True)
class _Shape:
    suffix: str
    text: bytes | None


def _read_shape(body: bytes, with_text: bool) -> _Shape:
    """What a document is, from the document itself."""
    try:
        value: Any = orjson.loads(body)
    except ValueError:
        return _Shape(".json", None)
    if not is_mmif(value):
        return _Shape(".json", None)
    return _Shape(".mmif", "\n\n".join(texts(value)).encode() if with_text else None)


async def _added(packing: _Packing, name: str, body: bytes) -> AsyncIterator[bytes]:
    """The bytes of one more file."""
    packing.zip.add(body, name)
    yield await _aside(len(body), lambda: b"".join(packing.zip.file()))


async def _aside(size: int, work: Callable[[], T]) -> T:
    """Do what takes long in a thread: the event loop has other pages to serve. Small things are not worth the way."""
    return await asyncio.to_thread(work) if size > SMALL else work()
