"""What is in a computed file: its members with sizes and checksums, as the builder wrote them into its manifest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch_one
from tidemill.errors import InvalidInput, NotFound
from tidemill.storage.documents import Documents

MOST_ROWS = 1000
AT_ONCE = 2
"""Manifests that are read at the same time."""


@dataclass(frozen=True, slots=True)
class Members:
    """A page of what is in a computed file. `rows`: `{name, size, sha256}` in the order in which they lie in it."""

    file: int
    name: str
    """Of the package."""
    files: int
    """How many are in it; the page may be of fewer, since only some have the words that were looked for."""
    total: int
    size: int
    """Bytes of all of `total`."""
    rows: Sequence[Mapping[str, Any]]
    known: bool = True
    """Whether there is a list at all: another app than Tidemill's need not put one out."""


async def members(
    session: AsyncSession, documents: Documents, file: int, *, search: str = "", limit: int = 100, offset: int = 0
) -> Members:
    """A page of the members of a computed file, replaced or not; with `search` those whose name has it in it, however
    it is written. Who may see them is for the caller to know: a dataset is for those who asked for it.

    Raises NotFound, InvalidInput, StorageError.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise InvalidInput(f"limit is {limit}; it must be from 1 to {MOST_ROWS}.")
    row = await fetch_one(session, "computed_files.manifest", {"id": file})
    if row is None:
        raise NotFound(f"There is no computed file {file}.")
    unknown = Members(file, row["name"], row["files"], 0, 0, [], known=False)
    if row["sha256"] is None:
        return unknown
    document = await documents.read(row["sha256"], row["body"], row["location"])
    part = slice(max(0, offset), max(0, offset) + limit)
    page = await asyncio.get_running_loop().run_in_executor(_threads(), _page, document, search.casefold(), part)
    return replace(unknown, total=page[0], size=page[1], rows=page[2], known=True) if page is not None else unknown


@cache
def _threads() -> ThreadPoolExecutor:
    """Where manifests are read, beside the site's loop: one may be of many megabytes, and anybody may ask."""
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="members")


def _page(document: bytes, words: str, part: slice) -> tuple[int, int, list[Mapping[str, Any]]] | None:
    """How many members have these words in their names, their bytes, and a part of them; None: it lists none."""
    listed = _manifest(document)
    if listed is None:
        return None
    found = [one for one in listed if words in one["name"].casefold()] if words else listed
    return len(found), sum(one["size"] for one in found), [*found[part]]


def _manifest(document: bytes) -> Sequence[Mapping[str, Any]] | None:
    """The members that an output document of a packing step names; None where it names none."""
    try:
        listed = orjson.loads(document).get("manifest")
        return [{"name": str(one["name"]), "size": int(one["size"]), "sha256": str(one["sha256"])} for one in listed]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
