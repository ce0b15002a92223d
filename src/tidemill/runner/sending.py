"""Sending what is too large to come along with a result: in pieces, from where the site has it; each once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill.db.database import Row
from tidemill.errors import Conflict, DatabaseRefused, StorageError
from tidemill.executors.workbench import checksum
from tidemill.runner.remote_client import SiteClient, TooLarge
from tidemill.runner.remote_protocol import PIECE, for_delivery
from tidemill.runner.results import Result
from tidemill.runner.spool import SPOOLED, Spool

AT_ONCE = 3
SMALLEST_PIECE = 64 * 1024


class Sender:
    """Sends blobs of a spool, and remembers the receipts."""

    def __init__(self, client: SiteClient, spool: Spool) -> None:
        self._client = client
        self._spool = spool
        self._receipts: dict[str, str] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._piece = PIECE

    async def send(self, worker: int, result: Result, *, anew: bool = False) -> None:
        """Send all that a result refers to, unless the site has it; `anew`: also if we think so.

        Raises SiteUnavailable, AccessRefused; DatabaseRefused where the site does not take it, StorageError or OSError
        where the spool does not have it.
        """
        for one in result.documents:
            if one["location"] == SPOOLED and (anew or one["sha256"] not in self._receipts):
                self._receipts[one["sha256"]] = await self._send(worker, "document", one["sha256"], one["size"], "")
        for file in filter(for_delivery, result.row.get("files") or ()):
            if anew or file["url"] not in self._receipts:
                receipt = await self._send(worker, "file", file["sha256"], file["size"], file["name"])
                self._receipts[file["url"]] = receipt

    def receipts(self, result: Result) -> dict[str, str]:
        """What proves that what a result refers to was sent: by SHA-256 for a document, by URL for a file."""
        names = [one["sha256"] for one in result.documents if one["location"] == SPOOLED]
        names += [file["url"] for file in filter(for_delivery, result.row.get("files") or ())]
        return {name: self._receipts[name] for name in names if name in self._receipts}

    def forget(self, results: Sequence[Result]) -> None:
        """These were taken: their receipts have served."""
        for result in results:
            for name in self.receipts(result):
                self._receipts.pop(name, None)

    async def _send(self, worker: int, kind: str, sha256: str, size: int, name: str) -> str:
        path, about = f"/uploads/{kind}/{sha256}", {"worker": worker, "size": size, "name": name}
        blob = self._spool.blob(sha256)
        async with self._room:
            again = False
            offset = await self._there(path, about) if size > self._piece else 0
            while True:
                piece = await asyncio.to_thread(_piece, blob, offset, self._piece)
                if not piece and offset < size:
                    raise StorageError(f"{blob} is shorter than it was.")
                try:
                    answer = await self._client.put(path, piece, offset=offset, **about)
                except TooLarge:
                    if self._piece <= SMALLEST_PIECE:
                        raise
                    self._piece //= 2
                except DatabaseRefused:  # perhaps what the site had kept of it was damaged, and is thrown away by now
                    if again or not await asyncio.to_thread(_whole, blob, sha256):
                        raise
                    again, offset = True, await self._there(path, about)
                except Conflict:  # more or less of it is there than we thought
                    offset = await self._there(path, about)
                else:
                    offset = int(answer["offset"])
                    if answer["receipt"] is not None:
                        return str(answer["receipt"])

    async def _there(self, path: str, about: Mapping[str, Any]) -> int:
        """How much of it the site has."""
        answer: Row = await self._client.get(path, **about)
        return int(answer["offset"])


def _piece(blob: Path, offset: int, size: int) -> bytes:
    with blob.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _whole(blob: Path, sha256: str) -> bool:
    return checksum(blob)[0] == sha256
