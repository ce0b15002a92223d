"""What a worker behind a firewall hands in, weighed before it is applied: what the site can vouch for goes through.

From the worker come the outcome and what the step has put out. Everything else in the row, which step of which app this
was, from which document, begun when, is the site's own knowledge of the attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from tidemill.db.database import Row
from tidemill.errors import InvalidInput
from tidemill.runner.remote_protocol import check_file_name, file_url, for_delivery
from tidemill.runner.remote_uploads import Upload, Uploads
from tidemill.storage.documents import DocumentStore, Stored

TAKEN = (
    "outcome", "move", "ran", "output", "error", "reason", "log", "said", "delay", "counted", "down", "origin_task",
    "origin_fence", "revision", "files", "inputs", "record", "status",
)  # fmt: skip
"""What of a result comes from the worker."""

MOVES = {"done": {"next"}, "skipped": {"next"}, "failed": {"retry", "failed"}, "unavailable": {"retry"}}
"""The moves that each outcome may lead to."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A result as it came. `receipts`: for what was uploaded, by SHA-256 (a document) or by URL (a file)."""

    row: Mapping[str, Any]
    receipts: Mapping[str, str]

    @property
    def key(self) -> tuple[int, int]:
        return self.row["task"], self.row["fence"]

    def asked(self) -> dict[str, Any]:
        """What the site looks up of it."""
        return {
            name: self.row.get(name) for name in ("task", "fence", "version", "output", "origin_task", "origin_fence")
        }


@dataclass(slots=True)
class Judged:
    """`rows` and `documents` go to `tasks.finish` and `tasks.store`; the rest goes back to the worker."""

    rows: list[Row] = field(default_factory=list)
    documents: list[Row] = field(default_factory=list)
    known: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)


class _Refused(Exception):
    """This result is not taken; `missing` is what has to be uploaded first, where that is why."""

    def __init__(self, why: str, missing: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.missing = list(missing)


class Judge:
    """Weighs results."""

    def __init__(self, documents: DocumentStore, uploads: Uploads) -> None:
        self._documents = documents
        self._uploads = uploads

    async def judge(
        self, token: int, results: Sequence[Handed], documents: Sequence[Row], vouched: Sequence[Row]
    ) -> Judged:
        """`documents`: those that came along, `{"sha256", "size", "body"}`; without a body: uploaded before.
        `vouched`: the rows of `remote.vouched`."""
        judged = Judged()
        given = {(row["task"], row["fence"]): row for row in vouched}
        brought = await self._brought(documents)
        sizes = {row["sha256"]: row["size"] for row in documents if row.get("body") is None}
        needed: dict[str, Row] = {}
        for handed in results:
            known = given.get(handed.key)
            key = {"task": handed.row["task"], "fence": handed.row["fence"]}
            if known is not None and known["recorded"] not in (None, "lost"):
                judged.known.append(key)
                continue
            try:
                if known is None:
                    raise _Refused("This worker was not given this attempt.")
                uploaded = _Uploaded(self._uploads, token, handed.receipts, sizes)
                judged.rows.append(self._row(handed, known, brought, uploaded, needed))
            except _Refused as error:
                judged.refused.append(key | {"why": str(error), "missing": error.missing})
        judged.documents = list(needed.values())
        return judged

    async def _brought(self, documents: Sequence[Row]) -> dict[str, Stored]:
        """The documents whose text came along, by the SHA-256 that they really have."""
        kept = [await self._documents.keep(row["body"].encode()) for row in documents if row.get("body") is not None]
        return {stored.sha256: stored for stored in kept}

    def _row(
        self, handed: Handed, known: Row, brought: Mapping[str, Stored], uploaded: _Uploaded, needed: dict[str, Row]
    ) -> Row:
        row = handed.row
        if row["move"] not in MOVES[row["outcome"]] or (row["outcome"] == "done" and row.get("output") is None):
            raise _Refused(f"A result that is {row['outcome']} cannot lead to {row['move']!r}.")
        for side in ("input", "output"):
            sha256 = row.get(side)
            if sha256 is None or sha256 == known["input"] or (side == "output" and known["earlier"]):
                continue
            if sha256 in brought:
                needed[sha256] = brought[sha256].as_row()
            elif size := uploaded.document(sha256):
                place = self._documents.location(sha256)
                needed[sha256] = {"sha256": sha256, "size": size, "body": None, "location": place}
            else:
                raise _Refused(f"The document {sha256[:12]}… that it refers to was not delivered.", [sha256])
        if row.get("origin_task") is not None and not known["earlier"]:
            raise _Refused("There is no earlier result such as it refers to.")
        taken = {name: row.get(name) for name in TAKEN}
        host = str(row.get("hostname") or "worker")
        taken["files"] = uploaded.files(row.get("files"), host)
        taken["inputs"] = _elsewhere(row.get("inputs") or (), host) or None
        own_knowledge = {name: known[name] for name in ("step", "app", "pipeline_version", "version", "started")}
        return taken | own_knowledge | {
            "task": row["task"], "fence": row["fence"], "input": row.get("input") or known["input"]
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Uploaded:
    """What one result's receipts prove."""

    uploads: Uploads
    token: int
    receipts: Mapping[str, str]
    sizes: Mapping[str, int]

    def document(self, sha256: str) -> int | None:
        """The size of a document that was uploaded; None if it was not."""
        size = self.sizes.get(sha256)
        receipt = self.receipts.get(sha256)
        if size is None or receipt is None:
            return None
        return size if self.uploads.proves(receipt, Upload(self.token, "document", sha256, size)) else None

    def files(self, files: Sequence[Mapping[str, Any]] | None, host: str) -> list[Row] | None:
        """The files: those that were uploaded, which lie in the site's store, and those that a step put elsewhere."""
        kept = []
        for file in files or ():
            try:
                name = check_file_name(file["name"])
            except InvalidInput as error:
                raise _Refused(error.message) from error
            if not for_delivery(file):
                if str(file["url"]).startswith(self.uploads.files_url):
                    raise _Refused(f"The file {name} does not lie where it says.")
                kept += _elsewhere([file], host)
                continue
            sha256, size = file["sha256"], file["size"]
            url = file_url(self.uploads.files_url, sha256, name)
            receipt = self.receipts.get(file["url"], "")
            if not self.uploads.proves(receipt, Upload(self.token, "file", sha256, size, name)):
                raise _Refused(f"The file {name} was not delivered.", [file["url"]])
            kept.append({"name": name, "size": size, "sha256": sha256, "url": url})
        return kept or None


def _elsewhere(files: Sequence[Mapping[str, Any]], host: str) -> list[Row]:
    """Files that the site does not have; a path of that machine must not be taken for one of the site's."""
    kept = []
    for one in files:
        url, scheme = one["url"], urlsplit(one["url"]).scheme
        if scheme in ("", "file"):
            path = urlsplit(url).path if scheme else quote(url)
            url = f"worker://{quote(host, safe='')}/{path.lstrip('/')}"
        kept.append({"name": one["name"], "size": one["size"], "sha256": one["sha256"], "url": url})
    return kept
