"""What a step would be given for an item, to try it out: nothing is recorded."""

from __future__ import annotations

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch, fetch_one
from tidemill.domain import record_document
from tidemill.errors import NotFound
from tidemill.runner import look
from tidemill.runner.entering import record_files
from tidemill.storage.documents import DocumentStore


async def input_for(session: AsyncSession, documents: DocumentStore, name: str, step: str) -> bytes:
    """The document that a step would get for an item now: its record, and what its newest run did before that step.

    Raises NotFound, StorageError.
    """
    item = await fetch_one(session, "look.item", {"name": name})
    if item is None:
        raise NotFound(f"There is no item named {name!r}.")
    (record,) = await fetch(session, "workers.records", {"items": [item["id"]]})
    files = record_files(record["files"])
    tasks = await fetch(session, "items.tasks", {"item": item["id"]})
    if not tasks:
        return record_document.record_document(record, files)
    document = await look.document(session, documents, tasks[0]["document"])
    told = record_document.read(document)
    if told is None:
        return document
    document = record_document.renewed(document, record, files) or document
    told = orjson.loads(document)
    before = told["process"]
    at = next((n for n, entry in enumerate(before) if step in (entry.get("name"), entry.get("app"))), len(before))
    return orjson.dumps(told | {"process": before[:at]}, option=orjson.OPT_SORT_KEYS)
