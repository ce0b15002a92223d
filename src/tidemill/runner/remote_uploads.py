"""Large documents and files from workers behind a firewall: in pieces, resumed after a cut, checked at the end.

A piece is appended to a part file of its token; only when all is there and has the SHA-256 that was announced does it
go into the store, and the worker gets a receipt. The receipt proves later, with a result, that this worker has really
delivered these bytes, and does not merely name somebody else's; it is a MAC, so nothing need be remembered.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256 as _sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal
from weakref import WeakValueDictionary

from tidemill.errors import Conflict, InvalidInput, StorageError
from tidemill.executors.workbench import checksum
from tidemill.runner.remote_protocol import LARGEST_DOCUMENT, LARGEST_PIECE, check_file_name, check_sha256, file_url
from tidemill.storage.documents import DocumentStore
from tidemill.storage.files import FileStore

RESERVE = 256 * 1024 * 1024
"""Bytes that uploads leave free on the site's disk."""

FORGOTTEN = 7 * 86400.0
"""Seconds after which a part that nobody went on with is thrown away."""

Kind = Literal["document", "file"]


@dataclass(frozen=True, slots=True)
class Upload:
    """What a worker delivers. `token`: whose worker it is. `name`: of a file; empty for a document."""

    token: int
    kind: Kind
    sha256: str
    size: int
    name: str = ""

    def check(self) -> None:
        """Raises InvalidInput for what can be no upload."""
        check_sha256(self.sha256)
        if self.kind == "file":
            check_file_name(self.name)
        elif self.size > LARGEST_DOCUMENT:
            raise InvalidInput(f"A document may have {LARGEST_DOCUMENT} bytes at most.")


class Uploads:
    """Takes pieces and keeps what is complete. `folder`: for parts; `key`: the site's, to sign receipts with."""

    def __init__(self, folder: Path, key: bytes, documents: DocumentStore, files: FileStore, files_url: str) -> None:
        self._folder = folder
        self._key = key
        self._documents = documents
        self._files = files
        self.files_url = files_url.rstrip("/")
        self._busy: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    def begun(self, upload: Upload) -> int:
        """Bytes of it that are here already."""
        upload.check()
        part = self._part(upload)
        return part.stat().st_size if part.exists() else 0

    async def add(self, upload: Upload, offset: int, pieces: AsyncIterator[bytes]) -> tuple[int, str | None]:
        """Append what comes, which begins at `offset`: (bytes here now, the receipt once all is safe in the store).

        Raises Conflict where it does not join what is here (ask `begun`, go on from there), InvalidInput where more
        comes than was announced or its checksum is wrong, StorageError where there is no room.
        """
        upload.check()
        part = self._part(upload)
        async with self._alone(part):
            here = self.begun(upload)
            if offset != here:
                raise Conflict(f"{here} bytes of this are here: go on from there.")
            self._demand_room(upload.size - here)
            here = await self._append(part, here, upload.size, pieces)
            if here < upload.size:
                return here, None
            await self._complete(upload, part)
            return here, self.receipt(upload)

    def receipt(self, upload: Upload) -> str:
        """Proof that these bytes were delivered by a worker of this token."""
        said = "\n".join((upload.kind, str(upload.token), upload.sha256, str(upload.size), upload.name))
        return hmac.new(self._key, said.encode(), _sha256).hexdigest()

    def proves(self, receipt: str, upload: Upload) -> bool:
        """Whether this is the receipt of that upload."""
        return hmac.compare_digest(receipt.encode("utf-8", "replace"), self.receipt(upload).encode())

    def sweep(self) -> None:
        """Throw away parts that nobody went on with. Blocking."""
        if not self._folder.is_dir():
            return
        with TemporaryFile(dir=self._folder) as new:  # so that only the disk's own clock counts
            now = os.fstat(new.fileno()).st_mtime
        for part in self._folder.glob("*.part"):
            if now - part.stat().st_mtime > FORGOTTEN:
                part.unlink(missing_ok=True)

    async def _append(self, part: Path, here: int, size: int, pieces: AsyncIterator[bytes]) -> int:
        begin = here
        try:
            with part.open("ab") as file:
                async for piece in pieces:
                    here += len(piece)
                    if here > size:
                        raise InvalidInput(f"More came than the {size} bytes that were announced.")
                    if here - begin > LARGEST_PIECE:
                        raise InvalidInput(f"One request may bring {LARGEST_PIECE} bytes at most.")
                    await asyncio.to_thread(file.write, piece)
        except OSError as error:
            raise StorageError(f"The site could not keep what came: {error.strerror}.") from error
        except InvalidInput:
            os.truncate(part, begin)
            raise
        return here

    async def _complete(self, upload: Upload, part: Path) -> None:
        """Check it and put it into the store. What is not what it should be is thrown away."""
        part.touch()
        digest, size = await asyncio.to_thread(checksum, part)
        if (digest, size) != (upload.sha256, upload.size):
            part.unlink()
            raise InvalidInput("What came does not have the SHA-256 that was announced; send it again from the start.")
        if upload.kind == "document":
            await self._documents.keep_file(part, digest)
        else:
            kept = await self._files.keep(part, upload.name)
            if kept.url != file_url(self.files_url, digest, upload.name):
                raise StorageError(f"The file store put {upload.name} where nobody will look for it.")
        part.unlink()

    def _part(self, upload: Upload) -> Path:
        return self._folder / f"{upload.token}-{upload.sha256}.part"

    def _demand_room(self, size: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if size > free - RESERVE:
            raise StorageError(f"The site has no room for {size} more bytes.")

    @asynccontextmanager
    async def _alone(self, part: Path) -> AsyncIterator[None]:
        """One request at a time for a part."""
        lock = self._busy.setdefault(part, asyncio.Lock())
        async with lock:
            yield
