"""Documents and files of a worker behind a firewall: read through its site, kept in its spool until handed in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import structlog

from tidemill.errors import DatabaseRefused, NotFound, SiteUnavailable, StorageError
from tidemill.executors.contract import KeptFile
from tidemill.runner.remote import RemoteLink
from tidemill.runner.remote_protocol import check_file_name, file_url
from tidemill.runner.spool import SPOOLED
from tidemill.storage.documents import Stored
from tidemill.storage.files import FileStore

log = structlog.get_logger()


class RemoteDocuments:
    """What `DocumentStore` is where there is one."""

    def __init__(self, link: RemoteLink) -> None:
        self._link = link

    async def keep(self, document: bytes) -> Stored:
        """A small document comes along with its result; a large one goes into the spool first."""
        digest = hashlib.sha256(document).hexdigest()
        if len(document) <= self._link.terms.inline_limit:
            return Stored(digest, len(document), document.decode("utf-8"), None)
        await self._link.outbox.keep(lambda: self._link.outbox.spool.keep_bytes(document))
        return Stored(digest, len(document), None, SPOOLED)

    async def read(self, sha256: str, body: str | None, location: str | None) -> bytes:
        """The bytes of a document, checked. Raises StorageError, SiteUnavailable."""
        if body is not None:
            document = body.encode("utf-8")
        else:
            try:
                document = await self._link.client.read(f"/documents/{sha256}", worker=self._link.terms.worker)
            except NotFound as error:  # the lease was lost on the way: nothing to be done here any more
                raise SiteUnavailable(error.message) from error
        if hashlib.sha256(document).hexdigest() != sha256:
            raise StorageError(f"Document {sha256[:12]}… does not match its checksum.")
        return document


@dataclass(slots=True)
class _Version:
    """Of which version of a file something has come."""

    etag: str = ""


class RemoteFiles:
    """What `FileStore` is where there is one."""

    def __init__(self, link: RemoteLink) -> None:
        self._link = link
        self._direct = FileStore("")

    async def keep(self, path: Path, name: str) -> KeptFile:
        """Put a file into the spool; it is delivered before its result. Where it will lie its content says already."""
        outbox = self._link.outbox
        check_file_name(name)
        sha256, size = await outbox.keep(lambda: outbox.spool.keep_file(path))
        return KeptFile(name, size, sha256, file_url(self._link.terms.files_url, sha256, name))

    async def fetch(self, url: str, folder: Path, reach: Mapping[str, Any] | None = None) -> Path:
        """A local copy of a file of an item in hand, by way of the site; of what that knows not, from where it lies.

        A cut is waited for, and what has come stays. Raises StorageError.
        """
        parts = urlsplit(url)
        if parts.scheme == "":
            return await self._direct.fetch(url, folder, reach)
        target = folder / Path(unquote(parts.path)).name
        part = target.with_name(f"{target.name}.part")
        failures, version = 0, _Version()
        while True:
            came = part.stat().st_size if part.exists() else 0
            try:
                await self._some(url, part, came, version)
                return part.replace(target)
            except (SiteUnavailable, httpx2.HTTPError) as error:
                if not failures:
                    log.warning("a file is waited for: the site is out of reach", url=url, error=str(error))
                more = part.exists() and part.stat().st_size > came
                failures = 0 if more else failures + 1
                await asyncio.sleep(self._link.pause(failures))
            except NotFound:  # no file of the item: a side input of this machine, or in a store that we may reach
                part.unlink(missing_ok=True)
                return await self._direct.fetch(url, folder, reach)
            except DatabaseRefused as error:
                raise StorageError(error.message) from error

    async def _some(self, url: str, part: Path, start: int, version: _Version) -> None:
        """Append what comes from `start` on, or begin anew if the file was changed; all has come when this returns."""
        about = {"worker": self._link.terms.worker, "url": url}
        async with self._link.client.stream("/files", start=start, etag=version.etag, **about) as answer:
            version.etag = answer.headers.get("etag", "")
            left = int(answer.headers.get("content-length", -1))
            with part.open("ab" if answer.status_code == 206 else "wb") as file:
                async for chunk in answer.aiter_bytes(1024 * 1024):
                    left -= len(chunk)
                    await _write(file.write, chunk)
        if left > 0:
            raise SiteUnavailable("The answer was cut off.")


async def _write(write: Callable[[bytes], int], chunk: bytes) -> None:
    try:
        await asyncio.to_thread(write, chunk)
    except OSError as error:
        raise StorageError(f"A file cannot be written here: {error.strerror}.") from error
