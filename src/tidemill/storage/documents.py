"""Documents by their SHA-256: small ones go into the row, large ones into an object store."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from tidemill.errors import StorageError


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a document's bytes are: `body` (text) or `location` (key in the store), never both."""

    sha256: str
    size: int
    body: str | None
    location: str | None

    def as_row(self) -> dict[str, Any]:
        return {"sha256": self.sha256, "size": self.size, "body": self.body, "location": self.location}


class Documents(Protocol):
    """Where documents are kept and read; see `DocumentStore`."""

    async def keep(self, document: bytes) -> Stored: ...

    async def read(self, sha256: str, body: str | None, location: str | None) -> bytes: ...


class DocumentStore:
    """The store of large documents at a URL; a folder is made at the first write."""

    def __init__(self, url: str, inline_limit: int) -> None:
        self._url = url
        self.inline_limit = inline_limit
        self._store: ObjectStore | None = None

    async def keep(self, document: bytes) -> Stored:
        """Make the bytes safe before any row speaks of them. Raises StorageError; repeating it is harmless."""
        digest = hashlib.sha256(document).hexdigest()
        if len(document) <= self.inline_limit:
            return Stored(digest, len(document), document.decode("utf-8"), None)
        location = self.location(digest)
        try:
            await self._opened().put_async(location, document)
        except (BaseError, OSError) as error:
            raise StorageError(f"Document {digest[:12]}… could not be stored: {error}") from error
        return Stored(digest, len(document), None, location)

    async def keep_file(self, path: Path, sha256: str) -> str:
        """Put the document in a local file, which has this checksum, into the store, however small; its location there.

        Raises StorageError; repeating it is harmless.
        """
        try:
            await obstore.put_async(self._opened(), self.location(sha256), path)
        except (BaseError, OSError) as error:
            raise StorageError(f"Document {sha256[:12]}… could not be stored: {error}") from error
        return self.location(sha256)

    @staticmethod
    def location(sha256: str) -> str:
        """Where the store keeps a document that is not in its row."""
        return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"

    async def read(self, sha256: str, body: str | None, location: str | None) -> bytes:
        """The bytes of a document, checked against their SHA-256. Raises StorageError if lost or changed."""
        if body is not None:
            document = body.encode("utf-8")
            digest = hashlib.sha256(document)
        else:
            document = await self._fetch(sha256, location or "")
            digest = await asyncio.to_thread(hashlib.sha256, document)  # it may be of many megabytes
        if digest.hexdigest() != sha256:
            raise StorageError(f"Document {sha256[:12]}… does not match its checksum: the stored copy has changed.")
        return document

    async def _fetch(self, sha256: str, location: str) -> bytes:
        try:
            found = await self._opened().get_async(location)
            return bytes(await found.bytes_async())
        except (BaseError, OSError) as error:
            raise StorageError(f"Document {sha256[:12]}… could not be read from the store: {error}") from error

    def _opened(self) -> ObjectStore:
        if self._store is None:
            parts = urlsplit(self._url)
            if parts.scheme == "file":
                folder = Path(unquote(parts.path))
                folder.mkdir(parents=True, exist_ok=True)
                self._store = LocalStore(folder)
            else:
                self._store = from_url(self._url)
        return self._store
