"""How an item enters a run: with a document made from its record, at the first step that it has not behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tidemill.db.database import Row
from tidemill.db.models import App, AppVersion, Step
from tidemill.domain.mmif import Dialect, Media, dialect_for, source_document
from tidemill.domain.record_document import record_document, steps_behind
from tidemill.errors import InvalidInput
from tidemill.storage.documents import DocumentStore

StepRow = tuple[Step, App, AppVersion | None]


class Entrance:
    """Makes the rows that `runs.enter` takes, for a run with these steps."""

    def __init__(self, documents: DocumentStore, steps: Sequence[StepRow]) -> None:
        self._documents = documents
        self._names = [step.name for step, _, _ in steps]
        self._mmif = _mmif_maker(steps)

    async def entrant(self, row: Row, position: int) -> dict[str, Any]:
        """An item as it enters; `row` is one of `runs.entrants` or `workers.records`.

        An item of which no source document can be made fails by itself, not the whole run. A package enters with its
        plan.
        """
        reason, revision, past = None, None, 0
        if row["plan"] is not None:
            return {**row["plan"], "position": position, "item": row["id"], "reason": None, "revision": None, "past": 0}
        try:
            if self._mmif is not None:
                source = self._mmif(row)
            else:
                revision, past = row["revision"], steps_behind(row["past"], self._names)
                source = record_document(row, record_files(row["files"]))
        except InvalidInput as error:
            source, reason = record_document(row, record_files(row["files"])), error.message
        stored = (await self._documents.keep(source)).as_row()
        return stored | {
            "position": position,
            "item": row["id"],
            "reason": reason,
            "revision": revision,
            "past": past,
        }


def _mmif_maker(steps: Sequence[StepRow]) -> Callable[[Row], bytes] | None:
    """What makes MMIF in the dialect that the chain reads; None where the chain does not begin with a CLAMS app."""
    _, first, _ = steps[0]
    if first.kind != "http" or first.protocol != "clams":
        return None
    about = [version.details if version else {} for _, app, version in steps if app.protocol == "clams"]
    dialect: Dialect = dialect_for(about)
    return lambda row: source_document(row["name"], [_media(file) for file in row["files"]], dialect)


def record_files(files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The files of an item as a record document lists them, with how their stores are reached where that is special."""
    return [
        {"url": location(f["source"], f["key"]), "key": f["key"], "size": f["size"], "attributes": f["attributes"]}
        | ({"reach": f["options"]} if f.get("options") else {})
        for f in files
    ]


def location(source_url: str, key: str) -> str:
    """The URL at which apps find a file: the source's URL with the key, quoted, behind it."""
    base = source_url if "://" in source_url else "file://" + quote(source_url)
    return base.rstrip("/") + "/" + quote(key)


def _media(file: Mapping[str, Any]) -> Media:
    return Media(location=location(file["source"], file["key"]), mime=file["attributes"].get("mime"))
