"""The document of a chain that the record drives: the item with its metadata, files, and what each step put out.

`{"item", "revision", "status", "metadata", "files": [{"url", "key", "size", "attributes"}], "process": [entry, …]}`. A
step takes the whole and puts out the same with one entry more: `{"name", "app", "version", "output", "files"}`. Nothing
in it depends on when or where a step ran, so that equal work gives equal documents; times and hosts are the attempt's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

KINDS = frozenset({"python", "command", "transfer"})
"""Engines whose steps take and put out record documents."""


def record_document(row: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> bytes:
    """The first document of an item: its record, with what other systems did before (`past`) as its process.

    `row`: `name, revision, status, metadata` and perhaps `past`; `files`: `url, key, size, attributes`.
    """
    return _written(
        {
            "item": row["name"],
            "revision": row["revision"],
            "status": row["status"],
            "metadata": row["metadata"],
            "files": list(files),
            "process": list(row.get("past") or []),
        }
    )


def renewed(document: bytes, row: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The document with the record as it is now and its process as it was.

    None if it tells of this revision already, or is no record document.
    """
    told = read(document)
    if told is None or told["revision"] == row["revision"]:
        return None
    now = {"revision": row["revision"], "status": row["status"], "metadata": row["metadata"], "files": list(files)}
    return _written(told | now)


def reaches(document: Any) -> dict[str, Mapping[str, Any]]:
    """How its files' stores are reached, by the files' URLs: only where an endpoint, a key or the like is needed."""
    if not is_one(document):
        return {}
    made = [entry.get("files") for entry in document["process"] if isinstance(entry, Mapping)]
    listed = [file for files in [document["files"], *made] if isinstance(files, list) for file in files]
    return {
        file["url"]: file["reach"]
        for file in listed
        if isinstance(file, Mapping) and isinstance(file.get("reach"), Mapping) and isinstance(file.get("url"), str)
    }


def with_step(document: Mapping[str, Any], entry: Mapping[str, Any]) -> bytes:
    """The document that a step puts out: `entry` is what it adds to the process."""
    return _written({**document, "process": [*document["process"], dict(entry)]})


def read(document: bytes) -> dict[str, Any] | None:
    """A record document as a dict; None if it is another kind of document."""
    told = orjson.loads(document)
    return told if is_one(told) else None


def is_one(value: Any) -> bool:
    """Whether a JSON value has the shape of a record document."""
    return isinstance(value, dict) and "revision" in value and isinstance(value.get("process"), list)


def steps_behind(past: Sequence[Mapping[str, Any]], steps: Sequence[str]) -> int:
    """How many of a chain's first steps another system has done already, by their names, in order."""
    names = [entry["name"] for entry in past]
    done = 0
    while done < min(len(names), len(steps)) and names[done] == steps[done]:
        done += 1
    return done


def _written(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
